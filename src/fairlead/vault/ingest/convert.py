"""Plain checkpoints to safetensors: from what the walk of the pickle found, without unpickling.

Tensors are written one by one, row by row, in bounded memory, and read back
and compared before the result counts. Values that are not tensors are named
and left out. Two names of one tensor become two tensors of equal bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from fairlead.vault.ingest import inspection, known, safetensors, sniff, torchfile, zips
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.pickles import Pickle
from fairlead.vault.ingest.torchfile import Checkpoint
from fairlead.vault.ingest.values import Listing, Mapping, Tensor, Value
from fairlead.vault.ingest.verdict import Approval, Report, Stopped, approve, shown
from fairlead.vault.ingest.window import Window, file_window

_MAX_DEPTH: Final = 32
_MAX_TENSORS: Final = 1_000_000
_MAX_LEFT_OUT: Final = 256
_STEP_BYTES: Final = 4 << 20
_MAX_GATHERED_BYTES: Final = 512 << 20
_FORMATS: Final[dict[int, Literal["B", "H", "I", "Q"]]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    tensors: int = 0
    size_bytes: int = 0
    sha256_of_source: str = ""
    left_out: tuple[str, ...] = ()
    """Names of values that are no tensors, at most 256."""
    refused: str = ""
    """Why nothing was written; empty when it was."""


class _Found(NamedTuple):
    name: str
    tensor: Tensor
    dtype: str
    item_bytes: int

    @property
    def size(self) -> int:
        size = self.item_bytes
        for one in self.tensor.shape:
            size *= one
        return size


def run(
    window: Window, target: int, name: str, limits: Limits, approvals: tuple[Approval, ...] = ()
) -> Converted:
    """Convert an open file into another. Inspects it first; only what is accepted is converted."""
    verdict = approve(inspection.inspect(window, name, limits), approvals)
    if verdict.decision != "accepted":
        first = next(
            one for one in verdict.findings if one.decision == verdict.decision and not one.approved_by
        )
        return Converted(refused=f"it is {verdict.decision}: {first.where}: {first.why} ({first.rule})")
    try:
        checkpoint = load(window, limits)
        if checkpoint.big_endian:
            return Converted(refused="its numbers are big-endian")
        found, left_out = collect(checkpoint.value)
        if not found:
            return Converted(refused="it holds no tensors")
        size = _write(target, found, checkpoint)
        _compare(target, found, checkpoint)
    except Stopped as stopped:
        return Converted(refused=f"{stopped.finding.where}: {stopped.finding.why}")
    return Converted(
        tensors=len(found),
        size_bytes=size,
        sha256_of_source=verdict.sha256,
        left_out=tuple(left_out[:_MAX_LEFT_OUT]),
    )


def load(window: Window, limits: Limits) -> Checkpoint:
    """Walk a checkpoint again, for its values.

    Raises:
        Stopped: it is no PyTorch checkpoint.
    """
    kind = sniff.kind_of(window)
    report = Report()
    if kind == "zip":
        members = zips.read(window, limits.unpacked_bytes)
        if torchfile.is_torch(members):
            return torchfile.read_zip(members, report)
    elif kind == "pickle":
        first = Pickle(window, 0, report, "")
        if first.walk() == torchfile.MAGIC:
            return torchfile.read_legacy(window, first.end, report)
    raise Stopped("extension", "", "only PyTorch's checkpoints are converted")


def collect(value: Value) -> tuple[list[_Found], list[str]]:
    """The tensors in nested mappings and lists, by keys joined with dots, and the names of everything else.

    Raises:
        Stopped: a tensor has no form in safetensors, or two have one name.
    """
    found: dict[str, _Found] = {}
    left_out: list[str] = []
    for name, item in _leaves(value, "", 0):
        if not isinstance(item, Tensor):
            left_out.append(name[:200])
            continue
        dtype, item_bytes = known.DTYPES[item.dtype] if item.dtype else known.STORAGES[item.storage.kind]
        if not dtype:
            raise Stopped(
                "pickle-torch-rare",
                shown(name),
                f"safetensors has no form for {item.dtype or item.storage.kind}",
            )
        if not name or name == "__metadata__" or name in found:
            raise Stopped("pickle-shape", shown(name), "the tensor has no name of its own")
        if len(found) >= _MAX_TENSORS:
            raise Stopped("limits", "", f"more than {_MAX_TENSORS} tensors")
        found[name] = _Found(name, item, dtype, item_bytes)
    # Wide types first and by name, as the reference implementation does: every tensor is aligned.
    return sorted(found.values(), key=lambda one: (-one.item_bytes, one.name)), left_out


def _leaves(value: Value, name: str, depth: int) -> Iterator[tuple[str, Value]]:
    if depth > _MAX_DEPTH:
        raise Stopped("limits", shown(name), f"values nested deeper than {_MAX_DEPTH}, or inside themselves")
    pairs: list[tuple[Value, Value]]
    match value:
        case Mapping(pairs=pairs):
            # Set twice, the later counts, as it does in a dict.
            kept: dict[str, Value] = {}
            for key, item in pairs:
                if not isinstance(key, str | int):
                    raise Stopped("pickle-shape", shown(name), "a key is neither text nor number")
                kept[str(key)] = item
            inner: list[tuple[str, Value]] = list(kept.items())
        case Listing(items=items):
            inner = [(str(index), item) for index, item in enumerate(items)]
        case tuple():
            inner = [(str(index), item) for index, item in enumerate(value)]
        case _:
            yield name, value
            return
    for key, item in inner:
        yield from _leaves(item, f"{name}.{key}" if name else key, depth + 1)


def _write(target: int, found: list[_Found], checkpoint: Checkpoint) -> int:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for one in found:
        shape = list(one.tensor.shape)
        header[one.name] = {
            "dtype": one.dtype,
            "shape": shape,
            "data_offsets": [position, position + one.size],
        }
        position += one.size
    try:
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Stopped("pickle-shape", "", "a tensor's name is not Unicode") from None
    text += b" " * (-len(text) % 8)
    with os.fdopen(os.dup(target), "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for one in found:
            for piece in pieces(one.tensor, one.item_bytes, checkpoint.storages[one.tensor.storage.key]):
                out.write(piece)
    return 8 + len(text) + position


def _compare(target: int, found: list[_Found], checkpoint: Checkpoint) -> None:
    """Read back what was written, with the format's own reader, against the source."""
    written = file_window(target)
    header = safetensors.read_header(written)
    places = {entry.name: entry for entry in header.tensors}
    for one in found:
        entry = places.get(one.name)
        if entry is None or (entry.dtype, entry.shape, entry.end - entry.start) != (
            one.dtype,
            one.tensor.shape,
            one.size,
        ):
            raise Stopped("scanner-failed", shown(one.name), "it was not written as it should be")
        at = header.data_at + entry.start
        for piece in pieces(one.tensor, one.item_bytes, checkpoint.storages[one.tensor.storage.key]):
            if written.read(at, len(piece)) != bytes(piece):
                raise Stopped("scanner-failed", shown(one.name), "other bytes were written than read")
            at += len(piece)


def pieces(tensor: Tensor, item_bytes: int, storage: Window) -> Iterator[bytes]:
    """A tensor's bytes in row-major order, whatever its strides, in pieces of a few mebibytes."""
    if 0 in tensor.shape:
        return
    shape, stride = _merged(tensor)
    if not shape or stride[-1] == 1:
        length = shape[-1] if shape else 1
        for start in _starts(shape[:-1], stride[:-1], tensor.offset):
            for at in range(0, length * item_bytes, _STEP_BYTES):
                yield storage.read(start * item_bytes + at, min(_STEP_BYTES, length * item_bytes - at))
        return
    yield from _gathered(shape, stride, tensor.offset, item_bytes, storage)


def _merged(tensor: Tensor) -> tuple[list[int], list[int]]:
    """Shape and strides without dimensions of one, neighbours that lie in one run taken together."""
    shape: list[int] = []
    stride: list[int] = []
    for size, step in zip(tensor.shape, tensor.stride, strict=True):
        if size == 1:
            continue
        if stride and stride[-1] == size * step:
            shape[-1] *= size
            stride[-1] = step
        else:
            shape.append(size)
            stride.append(step)
    return shape, stride


def _starts(shape: list[int], stride: list[int], offset: int) -> Iterator[int]:
    """The offsets of every row."""
    if not shape:
        yield offset
        return
    for index in range(shape[0]):
        yield from _starts(shape[1:], stride[1:], offset + index * stride[0])


def _gathered(
    shape: list[int], stride: list[int], offset: int, item_bytes: int, storage: Window
) -> Iterator[bytes]:
    """Rows whose elements lie apart, out of the part of the storage that the tensor reaches."""
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if (last - offset + 1) * item_bytes > _MAX_GATHERED_BYTES:
        raise Stopped("limits", "", "a transposed tensor is larger than fits in memory; save it contiguously")
    data = memoryview(storage.read(offset * item_bytes, (last - offset + 1) * item_bytes)).cast(
        _FORMATS[item_bytes]
    )
    collected = bytearray()
    for start in _starts(shape[:-1], stride[:-1], 0):
        if stride[-1]:
            collected += data[start : start + (shape[-1] - 1) * stride[-1] + 1 : stride[-1]].tobytes()
        else:
            collected += data[start : start + 1].tobytes() * shape[-1]
        if len(collected) >= _STEP_BYTES:
            yield bytes(collected)
            collected.clear()
    yield bytes(collected)

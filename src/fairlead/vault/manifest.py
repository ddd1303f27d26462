"""What a version consists of: its files with their digests and tensors, and where it comes from.

A manifest is canonical JSON (`strict_json.canonical`, default values left out)
and is read back only when it is exactly that. It names every file of the
version; what it does not name does not belong to it. It is signed, then sealed
(`sealed_manifest`), so that names and sizes are as secret as contents.

`model_digest` identifies the content apart from how it is stored: it binds names
to contents, which the root digest of OpenSSF Model Signing does not. Pure.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest
from fairlead.vault.ingest.names import collision
from fairlead.vault.ref import Ref, check_file_path
from fairlead.vault.strict_json import MAX_INTEGER, canonical, parse
from fairlead.vault.tensor_header import DTYPE_BITS, MAX_DIMENSIONS, TensorInfo

FORMAT: Final = "fairlead.dev/vault/manifest/v1"
MAX_MANIFEST_BYTES: Final = 64 << 20
MAX_FILES: Final = 100_000
MAX_TENSORS: Final = 1_000_000
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_DTYPE: Final = re.compile(r"[A-Za-z0-9_]{1,32}")
OWN_PREFIX: Final = ".fairlead"
"""Of files and folders that the vault itself lays beside a version's."""

Word = Annotated[str, Meta(max_length=256)]
Line = Annotated[str, Meta(max_length=2048)]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
# `$` would also match before a line break at the end.
Hex256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
MaybeHex256 = Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One file of a version.

    Raises:
        InvalidRequest: its path is unsafe somewhere, or a tensor does not fit into it.
    """

    path: str
    size_bytes: Count
    sha256: Hex256
    blake3: MaybeHex256 = ""
    kind: Word = ""
    """What the ingest gate found it to be, such as `safetensors`."""
    tensors: Mapping[Line, TensorInfo] = {}
    """By name. Offsets count from the start of the file."""

    def __post_init__(self) -> None:
        """Check what one field's type cannot."""
        check_file_path(self.path)
        for segment in self.path.split("/"):
            if _DEVICES.fullmatch(segment):
                raise _refused(f"{self.path!r} is the name of a device on Windows")
        if self.path.casefold().startswith(OWN_PREFIX):
            raise _refused(f"{self.path!r} is a name that the vault keeps for itself")
        for name, tensor in self.tensors.items():
            _check_tensor(f"tensor {ascii(name)[:80]} of {self.path}", tensor, self.size_bytes)


class Parent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A version that this one was made from."""

    ref: Line
    """A vault reference, or how it is called elsewhere."""
    digest: MaybeHex256 = ""
    """Its model digest."""
    relation: Literal[
        "base", "finetune", "adapter", "quantized", "merge", "converted", "dataset", "other"
    ] = "base"


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a version comes from, as its publisher says."""

    source: Line = ""
    """A URI: a repository, a training run."""
    revision: Word = ""
    author: Line = ""
    tool: Line = ""
    note: Line = ""


class ApprovedFinding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finding of the ingest gate that somebody let pass."""

    path: Line
    rule: Word
    approved_by: Word


class IngestVerdict(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """That the ingest gate let these files in. There is no manifest of files that it did not."""

    scanner: Word
    """Which gate: its name and version."""
    at_ms: Count
    """Unix milliseconds."""
    approved: Annotated[tuple[ApprovedFinding, ...], Meta(max_length=1024)] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One version of a model or dataset. Impossible to build with unsafe, colliding or unsorted paths.

    Raises:
        InvalidRequest: the files break a rule; the message says which.
    """

    format: Literal["fairlead.dev/vault/manifest/v1"]
    ref: Ref
    kind: Literal["model", "dataset"]
    created_at_ms: Count
    """Unix milliseconds."""
    files: Annotated[tuple[ManifestFile, ...], Meta(min_length=1, max_length=MAX_FILES)]
    """In the order of their paths' code points."""
    ingest: IngestVerdict
    licence: Word = ""
    """An SPDX expression, or a name."""
    provenance: Provenance | None = None
    parents: Annotated[tuple[Parent, ...], Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        """Check what files together must keep."""
        paths = [file.path for file in self.files]
        if any(one >= following for one, following in itertools.pairwise(paths)):
            raise _refused("files are not in the order of their paths, or one is there twice")
        if again := collision(paths):
            raise _refused(
                f"{again!r} is the same as another file where case or Unicode's forms do not count"
            )
        if sum(len(file.tensors) for file in self.files) > MAX_TENSORS:
            raise _refused(f"there are more than {MAX_TENSORS} tensors")

    @property
    def digest(self) -> str:
        """The model digest of its files, in hexadecimal."""
        return model_digest((file.path, file.sha256) for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)

    def file(self, path: str) -> ManifestFile | None:
        """The file of this path; None when it does not belong to the version."""
        return next((file for file in self.files if file.path == path), None)


def build(
    ref: Ref,
    files: Iterable[ManifestFile],
    *,
    kind: Literal["model", "dataset"] = "model",
    created_at_ms: int,
    ingest: IngestVerdict,
    licence: str = "",
    provenance: Provenance | None = None,
    parents: tuple[Parent, ...] = (),
) -> Manifest:
    """A manifest of these files, in any order.

    Raises:
        InvalidRequest: something breaks a rule; the message says which.
    """
    made = Manifest(
        format=FORMAT,
        ref=ref,
        kind=kind,
        created_at_ms=created_at_ms,
        files=tuple(sorted(files, key=lambda file: file.path)),
        ingest=ingest,
        licence=licence,
        provenance=provenance,
        parents=parents,
    )
    return decode(encode(made))  # a type's bounds are checked when it is read, not when it is built


def encode(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest.

    Raises:
        InvalidRequest: something in it has no canonical form, or it is too long.
    """
    raw = canonical(msgspec.to_builtins(manifest))
    if len(raw) > MAX_MANIFEST_BYTES:
        raise _refused(f"it is longer than {MAX_MANIFEST_BYTES} bytes")
    return raw


def decode(raw: bytes) -> Manifest:
    """The manifest of canonical bytes.

    Raises:
        InvalidRequest: they are not what `encode` writes.
    """
    value = parse(raw, max_bytes=MAX_MANIFEST_BYTES, what="the manifest")
    try:
        manifest = msgspec.convert(value, Manifest)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    if encode(manifest) != raw:
        raise _refused("it is not in its canonical spelling")
    return manifest


def model_digest(files: Iterable[tuple[str, str]]) -> str:
    """The digest of a set of files, given as path and SHA-256 in hexadecimal.

    SHA-256 over the lines `<hex>  <path>`, sorted, joined by line breaks. A path
    with a line break could stand for two files; callers have checked their paths.
    """
    lines = sorted(f"{digest}  {path}" for path, digest in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _check_tensor(called: str, tensor: TensorInfo, file_bytes: int) -> None:
    if not _DTYPE.fullmatch(tensor.dtype) or len(tensor.shape) > MAX_DIMENSIONS:
        raise _refused(f"{called} has no valid dtype or shape")
    if not 0 <= tensor.begin <= tensor.end <= file_bytes:
        raise _refused(f"{called} lies outside its file")
    bits = DTYPE_BITS.get(tensor.dtype, 0)
    count = 1
    for size in tensor.shape:
        if not 0 <= size <= MAX_INTEGER or (count := count * size) > MAX_INTEGER:
            raise _refused(f"{called} has a size that no tensor has")
    # A dtype of blocks, as GGUF has, says nothing about single elements.
    if bits and bits * count != 8 * (tensor.end - tensor.begin):
        raise _refused(f"{called} is not as long as its shape says")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"not a valid manifest: {why[:300]}")

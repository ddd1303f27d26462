"""GGUF headers: counts, types and lengths bounded; tensors inside the file, aligned, none over another."""

from __future__ import annotations

from typing import Final, NamedTuple

from fairlead.vault.ingest import templates
from fairlead.vault.ingest.verdict import Report, Stopped, shown
from fairlead.vault.ingest.window import Cursor, Window

MAGIC: Final = b"GGUF"
_MAX_KEYS: Final = 65_536
_MAX_TENSORS: Final = 1_000_000
_MAX_ITEMS: Final = 64_000_000
_MAX_KEY_BYTES: Final = 65_535
_MAX_TEXT_BYTES: Final = 16 << 20
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UNSIGNED: Final = frozenset({0, 2, 4, 10})
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256,
    74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1),
    25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Elements and bytes of a block, by type."""


class _Tensor(NamedTuple):
    name: str
    at: int
    size: int


def read(window: Window, report: Report) -> None:
    """Check a file.

    Raises:
        Stopped: a rule of the format is broken.
    """
    cursor = Cursor(window)
    if cursor.take(4) != MAGIC:
        raise Stopped("gguf-header", "byte 0", "not GGUF")
    version = cursor.number(4)
    if version not in (2, 3):
        raise Stopped("gguf-header", "byte 4", f"version {version} is not known, or of the other byte order")
    tensors, keys = cursor.number(8), cursor.number(8)
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise Stopped("gguf-header", "byte 8", f"{tensors} tensors and {keys} keys")
    alignment = _read_keys(cursor, keys, report)
    _read_tensors(cursor, tensors, alignment, window.size)


def _read_keys(cursor: Cursor, count: int, report: Report) -> int:
    alignment = 32
    seen: set[str] = set()
    for _ in range(count):
        key = _text(cursor, _MAX_KEY_BYTES)
        if key in seen:
            raise Stopped("gguf-header", shown(key), "the key occurs twice")
        seen.add(key)
        kind = cursor.number(4)
        if key == "general.alignment":
            alignment = _alignment(cursor, kind)
        elif key.startswith("tokenizer.chat_template") and kind == _STRING:
            templates.check(_text(cursor, _MAX_TEXT_BYTES), key, report)
        else:
            _skip(cursor, kind, key)
    return alignment


def _alignment(cursor: Cursor, kind: int) -> int:
    value = cursor.number(4) if kind == 4 else 0
    if value < 8 or value > 1 << 20 or value & (value - 1):
        raise Stopped("gguf-header", "general.alignment", "no power of two from 8 to 2^20")
    return value


def _skip(cursor: Cursor, kind: int, key: str) -> None:
    """Pass over a value, checked."""
    if kind == _STRING:
        _text(cursor, _MAX_TEXT_BYTES)
        return
    if kind == _ARRAY:
        inner, count = cursor.number(4), cursor.number(8)
        if count > _MAX_ITEMS:
            raise Stopped("gguf-header", shown(key), f"an array of {count} values")
        if inner in _SIZES:
            cursor.skip(count * _SIZES[inner])
            return
        if inner == _STRING:
            for _ in range(count):
                _text(cursor, _MAX_TEXT_BYTES)
            return
        raise Stopped("gguf-header", shown(key), f"an array of type {inner}")
    if kind not in _SIZES:
        raise Stopped("gguf-header", shown(key), f"type {kind} is not known")
    cursor.skip(_SIZES[kind])


def _text(cursor: Cursor, limit: int) -> str:
    size = cursor.number(8)
    if size > limit:
        raise Stopped("gguf-header", f"byte {cursor.at}", f"a text of {size} bytes")
    # Tokens need not be UTF-8; names and templates that are not will not match anything.
    return cursor.take(size).decode("utf-8", "replace")


def _read_tensors(cursor: Cursor, count: int, alignment: int, size: int) -> None:
    tensors = []
    names: set[str] = set()
    for _ in range(count):
        name = _text(cursor, 1024)
        if name in names:
            raise Stopped("gguf-layout", shown(name), "the tensor occurs twice")
        names.add(name)
        tensors.append(_tensor(cursor, name, alignment))
    start = -(-cursor.at // alignment) * alignment
    position = 0
    for tensor in sorted(tensors, key=lambda one: (one.at, one.size)):
        if tensor.at < position:
            raise Stopped("gguf-layout", shown(tensor.name), "it lies over another tensor")
        if tensor.at - position >= alignment:
            raise Stopped("gguf-layout", shown(tensor.name), "more than padding lies before it")
        position = tensor.at + tensor.size
    end = start + position if count else cursor.at
    padded = start + -(-position // alignment) * alignment
    if size < end or size > padded:
        raise Stopped("gguf-layout", "end", "the file is longer or shorter than its tensors")


def _tensor(cursor: Cursor, name: str, alignment: int) -> _Tensor:
    dimensions = cursor.number(4)
    if not 0 <= dimensions <= 4:
        raise Stopped("gguf-layout", shown(name), f"{dimensions} dimensions")
    shape = [cursor.number(8) for _ in range(dimensions)]
    kind, at = cursor.number(4), cursor.number(8)
    if kind not in _BLOCKS:
        raise Stopped("gguf-layout", shown(name), f"type {kind} is not known")
    elements, block_bytes = _BLOCKS[kind]
    count = 1
    for one in shape:
        count *= one
        if count >= 1 << 56:
            raise Stopped("gguf-layout", shown(name), "more elements than there can be")
    if (shape and shape[0] % elements) or at % alignment:
        raise Stopped("gguf-layout", shown(name), "rows of broken blocks, or an offset off its alignment")
    return _Tensor(name, at, count // elements * block_bytes)

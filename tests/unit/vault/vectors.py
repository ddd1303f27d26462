"""Makes the published vectors of docs/vault-format.md, `tests/golden/vault/vectors.json`.

Nothing here is random: draw n of random bytes is SHA-256("fairlead vector" || n as 4 bytes, big-endian), cut
to the length asked for, counting from 0 in every vector.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from fairlead.vault.chunk_index import ChunkedFile, ChunkIndex, encode_index, encode_references
from fairlead.vault.chunks import Chunk, chunk_id, seal_chunk
from fairlead.vault.context import Context, Purpose
from fairlead.vault.floe import HEADER_BYTES, VAULT, Params, Sealer

KEY = bytes(range(32))
TENANT_KEY = bytes(range(32, 64))
CHUNK_KEY = bytes(range(64, 96))
PLACE = Context(tenant="acme", name="fraud/scorer", version="7", file="model.safetensors")


def draws() -> Callable[[int], bytes]:
    """A stand-in for random bytes."""
    numbers = itertools.count()
    return lambda length: hashlib.sha256(b"fairlead vector" + next(numbers).to_bytes(4, "big")).digest()[
        :length
    ]


def pattern(size: int) -> bytes:
    """A plaintext of any size: byte i is i modulo 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def sealed(
    plain: bytes, place: Context = PLACE, params: Params = VAULT, aad_size: int | None = None
) -> bytes:
    """A sealed file whose random bytes are known."""
    size = len(plain) if aad_size is None else aad_size
    sealer = Sealer(KEY, place.aad(size), len(plain), params=params, random=draws())
    out = bytearray(sealer.layout.sealed_size)
    out[:HEADER_BYTES] = sealer.header
    for position in range(sealer.layout.segments):
        start = position * params.plain_bytes
        piece = plain[start : start + sealer.layout.plain_bytes(position)]
        sealer.seal(position, piece, memoryview(out)[sealer.layout.offset(position) :])
    return bytes(out)


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def files() -> Iterator[dict[str, Any]]:
    """Sealed files: those that open, and those that must be refused."""
    for size in (0, 1, 40, VAULT.plain_bytes, VAULT.plain_bytes + 1):
        data = sealed(pattern(size))
        shown = {"sealed": data.hex()} if size <= 40 else {"sealed_sha256": hashlib.sha256(data).hexdigest()}
        yield {
            "name": f"{size} bytes",
            "place": msgspec.to_builtins(PLACE),
            "size": size,
            "opens": True,
        } | shown
    good = sealed(pattern(40))
    bad = {
        "another AEAD": _flipped(good, 0),
        "another KDF": _flipped(good, 1),
        "another segment length, properly sealed": sealed(pattern(40), params=Params(segment_bytes=1 << 20)),
        "another length of the IV": _flipped(good, 9),
        "a bit of the IV": _flipped(good, 10),
        "a bit of the header's tag": _flipped(good, 73),
        "a bit of the last segment's length": _flipped(good, 77),
        "the last segment marked as not the last": good[:74] + b"\xff" * 4 + good[78:],
        "a bit of the segment's IV": _flipped(good, 78),
        "a bit of the ciphertext": _flipped(good, 90),
        "a bit of the segment's tag": _flipped(good, len(good) - 1),
        "cut by one byte": good[:-1],
        "one byte more": good + b"\0",
        "header only": good[:74],
        "nothing": b"",
        "another size in the additional data": sealed(pattern(40), aad_size=41),
    }
    for name, data in bad.items():
        yield {"name": name, "place": msgspec.to_builtins(PLACE), "sealed": data.hex(), "opens": False}
    for changes in (
        {"tenant": "other"}, {"name": "fraud"}, {"version": "8"}, {"file": "other"},
        {"purpose": Purpose.MANIFEST}, {"name": "fraud", "file": "scorer/model.safetensors"},
    ):  # fmt: skip
        place = msgspec.to_builtins(replace(PLACE, **changes))
        name = f"opened at another place: {', '.join(changes)}"
        yield {"name": name, "place": place, "sealed": good.hex(), "opens": False}


def chunks() -> dict[str, Any]:
    """A chunk, its index and its list of references."""
    plain = pattern(40)
    chunk = Chunk(length=40, id=chunk_id(TENANT_KEY, plain), key=CHUNK_KEY)
    index = ChunkIndex(files={PLACE.file: ChunkedFile(size_bytes=40, chunks=(chunk,))})
    return {
        "tenant": "acme",
        "tenant_key": TENANT_KEY.hex(),
        "chunk_key": CHUNK_KEY.hex(),
        "size": 40,
        "id": chunk.id.hex(),
        "object_name": chunk.name,
        "object": seal_chunk(chunk, "acme", plain, random=draws()).hex(),
        "index": encode_index(index).hex(),
        "references": encode_references(index.names()).decode(),
    }


def everything() -> dict[str, Any]:
    """The whole file."""
    return {"about": __doc__, "key": KEY.hex(), "files": list(files()), "chunks": chunks()}

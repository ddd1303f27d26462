"""Our own vectors: they do not change, and what they say of opening and refusing holds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.vault.vectors import KEY, everything, pattern, sealed

from fairlead.errors import Tampered
from fairlead.vault.chunk_index import decode_index, decode_references
from fairlead.vault.chunks import chunk_id, open_chunk
from fairlead.vault.context import Context
from fairlead.vault.opening import open_bytes

PAGE = Path(__file__).parents[2] / "golden" / "vault" / "vectors.json"
if os.environ.get("UPDATE_GOLDEN"):
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(json.dumps(everything(), indent=1) + "\n")
VECTORS = json.loads(PAGE.read_text())


def test_what_is_written_today_is_what_was_published() -> None:
    assert everything() == VECTORS


@pytest.mark.parametrize("vector", VECTORS["files"], ids=lambda vector: vector["name"])
def test_files_open_or_are_refused(vector: dict[str, Any]) -> None:
    place = msgspec.convert(vector["place"], Context)
    data = bytes.fromhex(vector["sealed"]) if "sealed" in vector else sealed(pattern(vector["size"]))
    if vector["opens"]:
        assert open_bytes(KEY, place, data) == pattern(vector["size"])
    else:
        with pytest.raises(Tampered):
            open_bytes(KEY, place, data)


def test_the_chunk_is_read_from_its_index() -> None:
    vector = VECTORS["chunks"]
    (chunk,) = decode_index(bytes.fromhex(vector["index"])).files["model.safetensors"].chunks
    out = bytearray(vector["size"])

    open_chunk(chunk, vector["tenant"], bytes.fromhex(vector["object"]), memoryview(out))

    assert out == pattern(vector["size"])
    assert chunk.id == chunk_id(bytes.fromhex(vector["tenant_key"]), out)
    assert decode_references(vector["references"].encode()) == {chunk.name} == {vector["object_name"]}

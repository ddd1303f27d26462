from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vault.manifest_cases import ACCEPTED, REF, example, file

from fairlead.errors import InvalidRequest
from fairlead.vault.manifest import Manifest, ManifestFile, build, decode, encode, model_digest
from fairlead.vault.strict_json import canonical
from fairlead.vault.tensor_header import TensorInfo

RAW = encode(example())
SEGMENTS = st.text(st.sampled_from("abcé-_.Z0"), min_size=1, max_size=4)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


def manifest_of(*paths: str) -> Manifest:
    return build(REF, [file(path) for path in paths], created_at_ms=0, ingest=ACCEPTED)


def changed(**change: object) -> bytes:
    return canonical({**json.loads(RAW), **change})


def test_a_manifest_is_the_same_after_a_file() -> None:
    assert decode(RAW) == example()
    assert example().size_bytes == 91
    assert example().file("config.json") == file("config.json")
    assert example().file("other") is None


def test_the_bytes_are_canonical() -> None:
    raw = encode(manifest_of("b", "a"))

    assert raw == (
        b'{"created_at_ms":0,"files":[{"path":"a","sha256":"%b","size_bytes":3},'
        b'{"path":"b","sha256":"%b","size_bytes":3}],"format":"fairlead.dev/vault/manifest/v1",'
        b'"ingest":{"approved":[{"approved_by":"key:1","path":"old.bin","rule":"pickle-global"}],'
        b'"at_ms":1764000000000,"scanner":"fairlead 0.1.0"},"kind":"model",'
        b'"ref":{"name":"fraud/scorer","tenant":"acme","version":"7"}}'
    ) % (b"a" * 64, b"a" * 64)


def test_the_model_digest_binds_names() -> None:
    one = model_digest([("config.json", "a" * 64), ("b", "0" * 64)])

    assert one == hashlib.sha256(f"{'0' * 64}  b\n{'a' * 64}  config.json".encode()).hexdigest()
    assert one == model_digest([("b", "0" * 64), ("config.json", "a" * 64)])
    assert one != model_digest([("config.py", "a" * 64), ("b", "0" * 64)])
    assert one != model_digest([("config.json", "0" * 64), ("b", "a" * 64)])


def test_the_digest_is_that_of_the_files_alone() -> None:
    assert example().digest == model_digest([("model.safetensors", "b" * 64), ("config.json", "a" * 64)])
    assert msgspec.structs.replace(example(), licence="MIT").digest == example().digest


@given(st.lists(PATHS, min_size=1, max_size=6))
def test_any_paths_make_a_manifest_or_are_refused(paths: list[str]) -> None:
    try:
        made = manifest_of(*paths)
    except InvalidRequest:
        return
    assert [one.path for one in made.files] == sorted(paths)
    assert len({one.path.casefold() for one in made.files}) == len(paths)
    assert decode(encode(made)) == made


@given(st.data())
def test_one_byte_changed_is_refused_or_another_canonical_manifest(data: st.DataObject) -> None:
    raw = bytearray(RAW)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        read = decode(bytes(raw))
    except InvalidRequest:
        return
    assert encode(read) == bytes(raw)
    assert read != example()


@given(st.integers(0, len(RAW) - 1))
def test_a_cut_manifest_is_refused(length: int) -> None:
    with pytest.raises(InvalidRequest):
        decode(RAW[:length])


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../x", "a/../b", "./a", "a//b", "a/", "a\\b", "C:/x", "a\0b", "a\nb", "e\u0301",
        "a.", "a ", "CON", "con.txt", "a/NUL", "aux/b", "COM1.safetensors", "lpt9", "CONIN$", "com²",
        "nul .txt", ".fairlead", ".Fairlead/x", ".fairlead-receipt.json", "\ud800", "a\u202eb",
    ],
)  # fmt: skip
def test_unsafe_and_reserved_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        manifest_of(path)


@pytest.mark.parametrize(
    "path", ["console.txt", "con1", "a/nullable", ".gitignore", "com10", "é/ü", "A", "x.fairlead"]
)
def test_paths_that_look_like_reserved_ones_are_accepted(path: str) -> None:
    assert manifest_of(path).files[0].path == path


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "a"),
        ("a", "A"),
        ("straße", "strasse"),
        ("a", "a/b"),
        ("A/x", "a/y"),
        ("ﬁ", "fi"),
        ("K", "\u212a"),
    ],
)
def test_paths_that_are_the_same_somewhere_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        manifest_of(*paths)


def test_files_in_another_order_are_refused() -> None:
    files = json.loads(RAW)["files"]

    with pytest.raises(InvalidRequest, match="order"):
        decode(changed(files=files[::-1]))


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": (2,), "begin": 0, "end": 4},
        {"dtype": "F32", "shape": (2,), "begin": 96, "end": 104},
        {"dtype": "F32", "shape": (0,), "begin": 5, "end": 4},
        {"dtype": "F32", "shape": (-2, -1), "begin": 0, "end": 8},
        {"dtype": "F32", "shape": (1 << 40, 1 << 40), "begin": 0, "end": 8},
        {"dtype": "F32", "shape": (1,) * 65, "begin": 0, "end": 4},
        {"dtype": "", "shape": (), "begin": 0, "end": 0},
        {"dtype": "Q4 K", "shape": (), "begin": 0, "end": 0},
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensor: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ManifestFile(path="m", size_bytes=100, sha256="a" * 64, tensors={"t": TensorInfo(**tensor)})


def test_tensors_of_blocks_have_any_length() -> None:
    block = TensorInfo(dtype="Q4_K", shape=(256,), begin=0, end=144)
    weights = ManifestFile(path="m.gguf", size_bytes=144, sha256="a" * 64, tensors={"t": block})

    made = build(REF, [weights], created_at_ms=0, ingest=ACCEPTED)
    assert decode(encode(made)).files[0].tensors == {"t": block}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "fairlead.dev/vault/manifest/v2"},
        {"files": []},
        {"more": 1},
        {"licence": ""},
        {"parents": []},
        {"created_at_ms": -1},
        {"created_at_ms": True},
        {"kind": "code"},
        {"ref": {"tenant": "acme", "name": "../x", "version": "7"}},
        {"ref": {"tenant": "acme", "name": "x", "version": "7", "more": 1}},
        {"licence": "x" * 300},
        {"ingest": None},
        {"files": [{"path": "a", "sha256": "A" * 64, "size_bytes": 3}]},
        {"files": [{"path": "a", "sha256": "a" * 64 + "\n", "size_bytes": 3}]},
        {"files": [{"path": "a", "sha256": "a" * 64, "size_bytes": 3, "mode": 1}]},
        {"files": [{"path": "a", "sha256": "a" * 64, "size_bytes": 3, "tensors": {}}]},
    ],
)
def test_other_fields_and_values_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        decode(changed(**change))


@pytest.mark.parametrize(
    "raw",
    [RAW + b"\n", b" " + RAW, RAW.replace(b":", b": ", 1),
     RAW.replace(b'"kind":"m', b'"kind":"model","kind":"m', 1),
     RAW.replace(b"size_bytes\":3", b"size_bytes\":3.0", 1), RAW.replace(b'"ml"', b'"\\u006dl"', 1),
     RAW.replace("é".encode(), b"\\u00e9"), b"[]", b"null", b"{}"],
)  # fmt: skip
def test_other_spellings_are_refused(raw: bytes) -> None:
    assert raw != RAW
    with pytest.raises(InvalidRequest):
        decode(raw)


def test_bounds_of_types_hold_when_a_manifest_is_built() -> None:
    with pytest.raises(InvalidRequest):
        build(REF, [file("a", digest="short")], created_at_ms=0, ingest=ACCEPTED)
    with pytest.raises(InvalidRequest):
        build(REF, [], created_at_ms=0, ingest=ACCEPTED)

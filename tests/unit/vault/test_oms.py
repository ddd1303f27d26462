from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vault.oms_cases import vector

from fairlead.errors import InvalidRequest
from fairlead.vault.manifest import model_digest
from fairlead.vault.oms import Span, decode_bundle, decode_statement, encode_bundle, encode_statement
from fairlead.vault.signing_keys import SigningKey

KEY = SigningKey.generate("p256")
DIGESTS = {"config.json": "a" * 64, "a/model.bin": "b" * 64, ".gitignore": "c" * 64}
STATEMENT = encode_statement("model", DIGESTS, ignore_paths=["model.sig"])
BUNDLE = encode_bundle(STATEMENT, KEY)


def statement(
    resources: list[tuple[str, str]],
    *,
    method: str = "files",
    hash_type: str = "sha256",
    root: str | None = None,
    **more: object,
) -> bytes:
    """A statement as somebody else could have written it."""
    try:
        computed = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in resources)).hexdigest()
    except ValueError:
        computed = ""
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "m", "digest": {"sha256": root or computed}}],
            "predicateType": "https://model_signing/signature/v1.0",
            "predicate": {
                "resources": [
                    {"name": name, "algorithm": hash_type, "digest": digest} for name, digest in resources
                ],
                "serialization": {"method": method, "hash_type": hash_type, "allow_symlinks": False, **more},
            },
        },
        indent=2,
    ).encode()


@pytest.mark.parametrize("name", ["key", "certificate", "sigstore"])
def test_valid_published_bundles_are_read(name: str) -> None:
    bundle = decode_bundle(vector(f"valid/{name}.bundle.json"))
    read = decode_statement(bundle.envelope.payload)

    assert set(read.files) == {"signme-1", "signme-2"}
    assert (bundle.hint is None) is (name != "key")
    assert len(bundle.certificates) == {"key": 0, "certificate": 2, "sigstore": 1}[name]


@pytest.mark.parametrize(
    "name", ["empty", "missing-envelope", "missing-tlog-entries", "missing-verification-material"]
)
def test_invalid_published_bundles_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_bundle(vector(f"invalid/{name}.bundle.json"))


def test_the_published_bundle_with_another_predicate_is_read_and_its_payload_refused() -> None:
    bundle = decode_bundle(vector("invalid-payload/wrong-predicate.bundle.json"))

    with pytest.raises(InvalidRequest, match="predicateType"):
        decode_statement(bundle.envelope.payload)


def test_a_statement_is_read_as_it_was_written() -> None:
    read = decode_statement(STATEMENT)

    assert list(read.files) == [".gitignore", "a/model.bin", "config.json"]
    assert read.files["config.json"] == (Span(begin=0, end=None, digest="a" * 64),)
    assert read.serialization.ignore_paths == ("model.sig",)
    assert read.model_digest == model_digest(DIGESTS.items())
    assert encode_statement("model", DIGESTS, ignore_paths=["model.sig"]) == STATEMENT


def test_equal_contents_under_other_names_have_the_same_root_and_another_model_digest() -> None:
    one, other = (encode_statement("m", {name: "a" * 64}) for name in ("config.json", "config.py"))

    assert json.loads(one)["subject"] == json.loads(other)["subject"]
    assert decode_statement(one).model_digest != decode_statement(other).model_digest


@given(
    st.dictionaries(
        st.text("aB.-/é", min_size=1, max_size=6), st.sampled_from(["0" * 64, "a" * 64]), max_size=5
    )
)
def test_any_names_make_a_statement_or_are_refused(digests: dict[str, str]) -> None:
    try:
        raw = encode_statement("m", digests)
    except InvalidRequest:
        return
    assert {path: spans[0].digest for path, spans in decode_statement(raw).files.items()} == digests


def test_both_orders_of_names_are_accepted_and_no_other() -> None:
    by_code_point = [("a-b", "0" * 64), ("a/c", "1" * 64), ("b", "2" * 64)]
    by_segment = [by_code_point[1], by_code_point[0], by_code_point[2]]

    assert set(decode_statement(statement(by_code_point)).files) == {"a-b", "a/c", "b"}
    assert set(decode_statement(statement(by_segment)).files) == {"a-b", "a/c", "b"}
    with pytest.raises(InvalidRequest, match="order"):
        decode_statement(statement(by_code_point[::-1]))


def test_shards_cover_their_files() -> None:
    names = ["b:0:10", "b:10:20", "b:20:25", "c:0:1"]
    raw = statement([(name, "0" * 64) for name in names], method="shards", shard_size=10)
    read = decode_statement(raw)

    assert [(span.begin, span.end) for span in read.files["b"]] == [(0, 10), (10, 20), (20, 25)]
    assert read.model_digest is None


def test_shards_as_the_reference_writes_them_are_read() -> None:
    raw = statement([("b:0:10", "0" * 64)], method="shards", shard_size=10.0)
    theirs = raw.replace(b'"algorithm": "sha256"', b'"algorithm": "sha256-sharded-10"')

    assert decode_statement(theirs).files == decode_statement(raw).files
    for other in (b"sha256-sharded-9", b"sha256-sharded-10 ", b"sha256-sharded-None"):
        with pytest.raises(InvalidRequest):
            decode_statement(theirs.replace(b"sha256-sharded-10", other))


def test_shards_may_be_ordered_by_offset_or_by_text() -> None:
    by_offset = [f"b:{at}:{at + 5}" for at in range(0, 20, 5)]
    for names in (by_offset, sorted(by_offset)):
        read = decode_statement(statement([(one, "0" * 64) for one in names], method="shards", shard_size=5))
        assert [span.begin for span in read.files["b"]] == [0, 5, 10, 15]


@pytest.mark.parametrize(
    "names",
    [
        ["b:0:10", "b:20:25"], ["b:10:20"], ["b:0:5", "b:5:10"], ["b:0:10", "b:5:15"], ["b:0:0"], ["b:0:11"],
        ["b"], ["b:00:10"], ["b:0:+9"], ["b:-1:9"], ["b:0:10:20"], [":0:10"], ["b:0:\u0661"],
        ["../b:0:10"], ["b:0:10\n"],
    ],
)  # fmt: skip
def test_shards_with_gaps_overlaps_or_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        decode_statement(statement([(one, "0" * 64) for one in names], method="shards", shard_size=10))


@pytest.mark.parametrize(
    "raw",
    [
        statement([]),
        statement([("a", "0" * 64)] * 2),
        statement([("A", "0" * 64), ("a", "0" * 64)]),
        statement([("a", "0" * 64), ("a/b", "0" * 64)]),
        statement([("../a", "0" * 64)]),
        statement([("/a", "0" * 64)]),
        statement([("./a", "0" * 64)]),
        statement([(".", "0" * 64)]),
        statement([("a", "0" * 62)]),
        statement([("a", "A" * 64)]),
        statement([("a", " " + "0" * 63)]),
        statement([("a", "0" * 64)], root="0" * 64),
        statement([("a", "0" * 64)], hash_type="blake2b"),
        statement([("a", "0" * 64)], hash_type="md5"),
        statement([("a", "0" * 64)], method="tar"),
        statement([("a", "0" * 64)], shard_size=10),
        statement([("a:0:1", "0" * 64)], method="shards"),
        statement([("a:0:1", "0" * 64)], method="shards", shard_size=0),
        statement([("a", "0" * 64)], more=1),
        b"",
        b"[]",
    ],
)
def test_statements_that_do_not_agree_with_themselves_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_statement(raw)


def test_a_resource_of_another_algorithm_is_refused() -> None:
    value = json.loads(STATEMENT)
    value["predicate"]["resources"][0]["algorithm"] = "blake3"

    with pytest.raises(InvalidRequest):
        decode_statement(json.dumps(value).encode())


def test_a_bundle_names_the_key_as_the_reference_does() -> None:
    bundle = decode_bundle(BUNDLE)

    assert bundle.hint == hashlib.sha256(KEY.public.pem).hexdigest()
    assert bundle.envelope.payload == STATEMENT
    assert bundle.envelope.signatures[0].keyid == ""


def set_material(**material: object) -> Callable[[dict[str, Any]], None]:
    return lambda bundle: bundle.update(verificationMaterial={"tlogEntries": [], **material})


CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    lambda bundle: bundle.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
    lambda bundle: bundle.update(messageSignature={}),
    lambda bundle: bundle.pop("dsseEnvelope"),
    lambda bundle: bundle["verificationMaterial"].pop("tlogEntries"),
    lambda bundle: bundle["dsseEnvelope"]["signatures"].append({"sig": "QQ=="}),
    lambda bundle: bundle["dsseEnvelope"]["signatures"].clear(),
    lambda bundle: bundle["dsseEnvelope"].update(more=1),
    set_material(),
    set_material(publicKey={"hint": "x"}, certificate={"rawBytes": "QQ=="}),
    set_material(publicKey={"hint": 1}),
    set_material(publicKey={"rawBytes": "QQ=="}),
    set_material(x509CertificateChain={"certificates": []}),
    set_material(x509CertificateChain={"certificates": [{"rawBytes": "QR=="}]}),
    set_material(x509CertificateChain={"certificates": [{"rawBytes": "QQ=="}] * 9}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_bundles_of_another_shape_are_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    value = copy.deepcopy(json.loads(BUNDLE))
    change(value)

    with pytest.raises(InvalidRequest):
        decode_bundle(json.dumps(value).encode())


def test_certificates_go_with_the_bundle() -> None:
    bundle = decode_bundle(encode_bundle(STATEMENT, KEY, [b"leaf", b"middle"]))

    assert bundle.certificates == (b"leaf", b"middle")
    assert bundle.hint is None


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "QQ==", "a:0:1", "files"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["mediaType", "verificationMaterial", "dsseEnvelope", "_type", "subject"]),
        inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_bundle(raw)
    with pytest.raises(InvalidRequest):
        decode_statement(raw)


@given(st.data())
def test_a_bundle_with_one_byte_changed_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(BUNDLE)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        bundle = decode_bundle(bytes(raw))
        decode_statement(bundle.envelope.payload)
    except InvalidRequest:
        return
    assert base64.b64encode(bundle.envelope.payload) in raw

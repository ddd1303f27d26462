"""OpenSSF Model Signing 1.0: what is signed about a folder of files, and the bundle around it.

A bundle is Sigstore's JSON of version 0.3 with one DSSE envelope over an in-toto
statement that lists the model's files. `oms_folder` makes statements of folders
and holds folders against them; `oms_verify` decides whom to believe.

Stricter than the specification asks: every name is a path that is safe on every
platform, in one of the two orders that writers use, once; a file's shards
cover it without gap; unknown fields, repeated keys and other spellings of base64
are refused. What a statement says to ignore is kept and never obeyed. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest
from fairlead.vault import dsse
from fairlead.vault.ingest.names import collision
from fairlead.vault.manifest import model_digest
from fairlead.vault.ref import check_file_path
from fairlead.vault.signing_keys import Signer
from fairlead.vault.strict_json import base64_bytes, canonical, parse

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
MAX_BUNDLE_BYTES: Final = 96 << 20
MAX_RESOURCES: Final = 1_000_000

HashType = Literal["sha256", "blake2b", "blake3"]
_HEX_DIGITS: Final[Mapping[str, int]] = {"sha256": 64, "blake2b": 128, "blake3": 64}
_HEX: Final = re.compile(r"([0-9a-f]{2})+")
_SHARD: Final = re.compile(r"(.+):(0|[1-9][0-9]{0,15}):([1-9][0-9]{0,15})", re.DOTALL)


class Resource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file, or one shard of one."""

    name: str
    algorithm: Annotated[str, Meta(max_length=64)]
    digest: str
    """In hexadecimal."""


class Serialization(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """How the signer made resources of files."""

    method: Literal["files", "shards"]
    hash_type: HashType
    allow_symlinks: bool
    ignore_paths: Annotated[tuple[str, ...], Meta(max_length=10_000)] = ()
    shard_size: Annotated[int, Meta(ge=1, le=1 << 50)] | None = None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a file and its digest; `end` is None for a whole file of a size that nobody signed."""

    begin: int
    end: int | None
    digest: str


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What was signed: these files and no others."""

    name: str
    serialization: Serialization
    files: Mapping[str, tuple[Span, ...]]
    """By path, in the statement's order; the spans of a file in the order of their bytes."""

    @property
    def model_digest(self) -> str | None:
        """The digest that a vault manifest of these files has, which unlike the subject's binds names.

        None when the files were not hashed whole and by SHA-256.
        """
        if self.serialization.method != "files" or self.serialization.hash_type != "sha256":
            return None
        return model_digest((path, spans[0].digest) for path, spans in self.files.items())


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that nobody has verified yet."""

    envelope: dsse.Envelope
    hint: str | None
    """What the signer calls the key, in key mode."""
    certificates: tuple[bytes, ...]
    """In DER, the signer's first; empty in key mode."""


class _Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=1024)]
    digest: dict[str, str]


class _Predicate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    resources: Annotated[tuple[Resource, ...], Meta(min_length=1, max_length=MAX_RESOURCES)]
    serialization: Serialization


class _Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[tuple[_Subject, ...], Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"] = msgspec.field(name="predicateType")
    predicate: _Predicate


class _Raw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    raw: Annotated[str, Meta(max_length=131_072)] = msgspec.field(name="rawBytes")


class _Chain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    certificates: Annotated[tuple[_Raw, ...], Meta(min_length=1, max_length=8)]


class _PublicKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hint: Annotated[str, Meta(max_length=256)] = ""


class _Material(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    # Transparency logs and time stamps need Sigstore's trusted root; they are kept out of the decision.
    tlog_entries: Annotated[list[Any], Meta(max_length=32)] = msgspec.field(name="tlogEntries")
    timestamps: dict[str, Any] | None = msgspec.field(name="timestampVerificationData", default=None)
    public_key: _PublicKey | None = msgspec.field(name="publicKey", default=None)
    chain: _Chain | None = msgspec.field(name="x509CertificateChain", default=None)
    certificate: _Raw | None = None


class _BundleWire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = msgspec.field(name="mediaType")
    material: _Material = msgspec.field(name="verificationMaterial")
    envelope: dict[str, Any] = msgspec.field(name="dsseEnvelope")


def encode_statement(name: str, digests: Mapping[str, str], *, ignore_paths: Sequence[str] = ()) -> bytes:
    """The payload of a folder whose files have these SHA-256 digests.

    Args:
        name: what the model is called; informative, nobody binds it.
        digests: by path, in hexadecimal.
        ignore_paths: files that other verifiers must leave out, such as the signature itself.

    Raises:
        InvalidRequest: a path is unsafe, two are the same somewhere, or there is none.
    """
    resources = [{"name": path, "algorithm": "sha256", "digest": digests[path]} for path in sorted(digests)]
    serialization = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": sorted(ignore_paths),
    }
    root = hashlib.sha256(b"".join(bytes.fromhex(digests[path]) for path in sorted(digests))).hexdigest()
    raw = canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": root}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"resources": resources, "serialization": serialization},
        }
    )
    decode_statement(raw)
    return raw


def decode_statement(raw: bytes) -> Statement:
    """Read a payload. The caller has verified it, or uses it for nothing that matters.

    Raises:
        InvalidRequest: it is not a statement of model signing 1.0, or does not agree with itself.
    """
    value = parse(raw, max_bytes=MAX_BUNDLE_BYTES, what="the signed statement", whole_floats=True)
    try:
        payload = msgspec.convert(value, _Payload)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a statement of model signing 1.0: {error}") from None
    predicate, subject = payload.predicate, payload.subject[0]
    if (predicate.serialization.shard_size is None) == (predicate.serialization.method == "shards"):
        raise _refused("`shard_size` belongs to shards, and to nothing else")
    hash_type = predicate.serialization.hash_type
    # The reference calls the hash of a shard `sha256-sharded-1000000000`.
    algorithms = {hash_type, f"{hash_type}-sharded-{predicate.serialization.shard_size}"}
    for one in predicate.resources:
        if one.algorithm not in algorithms or len(one.digest) != _HEX_DIGITS[hash_type]:
            raise _refused(f"resource {ascii(one.name)[:80]} has a digest of another kind")
        if not _HEX.fullmatch(one.digest):
            raise _refused(f"resource {ascii(one.name)[:80]} has a digest that is not lower-case hexadecimal")
    root = hashlib.sha256(b"".join(bytes.fromhex(one.digest) for one in predicate.resources)).hexdigest()
    if subject.digest != {"sha256": root}:
        raise _refused("the subject's digest is not that of the resources")
    files = _files(predicate.resources, predicate.serialization)
    return Statement(name=subject.name, serialization=predicate.serialization, files=files)


def encode_bundle(payload: bytes, signer: Signer, certificates: Sequence[bytes] = ()) -> bytes:
    """Sign a statement.

    Args:
        payload: from `encode_statement`.
        signer: P-256 where others are to verify it; model signing knows no Ed25519.
        certificates: the signer's and its issuers' in DER, to be verified by their root; none for key mode.
    """
    envelope = dsse.sign(PAYLOAD_TYPE, payload, [signer], keyids=False)
    chain = {"certificates": [{"rawBytes": base64.b64encode(one).decode()} for one in certificates]}
    who = {"x509CertificateChain": chain} if certificates else {"publicKey": {"hint": signer.public.hints[0]}}
    return canonical(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {**who, "tlogEntries": []},
            "dsseEnvelope": envelope.to_builtins(),
        }
    )


def decode_bundle(raw: bytes) -> Bundle:
    """Read a bundle; nothing of it is verified.

    Raises:
        InvalidRequest: it is not a Sigstore bundle of version 0.3 with one envelope and one signer.
    """
    value = parse(raw, max_bytes=MAX_BUNDLE_BYTES, what="the bundle")
    try:
        wire = msgspec.convert(value, _BundleWire)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a Sigstore bundle of version 0.3: {error}") from None
    material = wire.material
    kinds = [one for one in (material.public_key, material.chain, material.certificate) if one is not None]
    if len(kinds) != 1:
        raise InvalidRequest("the bundle says in no way, or in several, who signed it")
    envelope = dsse.from_builtins(wire.envelope)
    if len(envelope.signatures) != 1:
        raise InvalidRequest("a bundle has exactly one signature; several signers make several bundles")
    encoded: Iterable[_Raw] = ()
    if material.chain is not None:
        encoded = material.chain.certificates
    elif material.certificate is not None:
        encoded = (material.certificate,)
    return Bundle(
        envelope=envelope,
        hint=material.public_key.hint if material.public_key is not None else None,
        certificates=tuple(base64_bytes(one.raw, "a certificate") for one in encoded),
    )


def _files(resources: Sequence[Resource], how: Serialization) -> dict[str, tuple[Span, ...]]:
    found: dict[str, list[Span]] = {}
    order: list[tuple[str, int]] = []
    for one in resources:
        path, begin, end = one.name, 0, None
        if how.method == "shards":
            match = _SHARD.fullmatch(one.name)
            if match is None:
                raise _refused(f"{ascii(one.name)[:80]} is not the name of a shard")
            path, begin, end = match[1], int(match[2]), int(match[3])
        check_file_path(path)
        order.append((path, begin))
        found.setdefault(path, []).append(Span(begin=begin, end=end, digest=one.digest))
    _check_order(resources, order)
    files: dict[str, tuple[Span, ...]] = {}
    for path, spans in found.items():
        files[path] = tuple(sorted(spans, key=lambda span: span.begin))
        if how.shard_size is not None:
            _check_shards(path, files[path], how.shard_size)
    if again := collision(files):
        raise _refused(f"{again!r} is the same as another file where case or Unicode's forms do not count")
    return files


def _check_order(resources: Sequence[Resource], places: Sequence[tuple[str, int]]) -> None:
    """The specification sorts names by code point; the reference sorts by path segment, then by offset."""
    names = [one.name for one in resources]
    if len(set(names)) != len(names):
        raise _refused("a resource is there twice")
    segments = [(path.split("/"), begin) for path, begin in places]
    if names != sorted(names) and segments != sorted(segments):
        raise _refused("the resources are in no order")


def _check_shards(path: str, spans: Sequence[Span], size: int) -> None:
    at = 0
    for number, span in enumerate(spans):
        last = number + 1 == len(spans)
        assert span.end is not None
        length = span.end - span.begin
        if span.begin != at or not 0 < length <= size or (length != size and not last):
            raise _refused(f"the shards of {path!r} do not cover it")
        at = span.end


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"not a valid statement of model signing: {why}")

"""Manifests to test with."""

from __future__ import annotations

from fairlead.vault.manifest import (
    ApprovedFinding,
    IngestVerdict,
    Manifest,
    ManifestFile,
    Parent,
    Provenance,
    build,
)
from fairlead.vault.ref import Ref
from fairlead.vault.tensor_header import TensorInfo

REF = Ref(tenant="acme", name="fraud/scorer", version="7")
ACCEPTED = IngestVerdict(
    scanner="fairlead 0.1.0",
    at_ms=1_764_000_000_000,
    approved=(ApprovedFinding(path="old.bin", rule="pickle-global", approved_by="key:1"),),
)


def file(path: str, digest: str = "a" * 64, size_bytes: int = 3) -> ManifestFile:
    """A small file."""
    return ManifestFile(path=path, size_bytes=size_bytes, sha256=digest)


def example() -> Manifest:
    """A manifest that uses every field."""
    weights = ManifestFile(
        path="model.safetensors",
        size_bytes=88,
        sha256="b" * 64,
        blake3="c" * 64,
        kind="safetensors",
        tensors={
            "b": TensorInfo(dtype="F32", shape=(2, 2), begin=72, end=88),
            "a": TensorInfo(dtype="BF16", shape=(), begin=70, end=72),
        },
    )
    return build(
        REF,
        [weights, file("config.json")],
        created_at_ms=1_764_000_000_001,
        ingest=ACCEPTED,
        licence="Apache-2.0",
        provenance=Provenance(
            source="git+https://example.com/fraud", revision="abc", author="ml", tool="t", note="é"
        ),
        parents=(Parent(ref="vault://acme/base@1", digest="d" * 64, relation="finetune"),),
    )

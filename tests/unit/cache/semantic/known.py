"""Entries of the semantic tier, for tests."""

from __future__ import annotations

from fairlead.cache.semantic.embed import Vector, unit
from fairlead.cache.semantic.store import Known


def known(number: int, **more: object) -> Known:
    fields: dict[str, object] = {
        "key": number.to_bytes(32, "big"),
        "fingerprint": b"f" * 32,
        "embedder": "e",
        "scope": "tenant:acme",
        "tenant": "acme",
        "model": "gpt",
        "created_at": 1000.0,
        "expires_at": 2000.0,
        "text": f"question {number}",
    }
    return Known(**{**fields, **more})  # type: ignore[arg-type]  # of the fields' own types


def vector(*values: float) -> Vector:
    return unit(values)

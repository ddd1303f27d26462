"""Fingerprints: any part changes them, and no two contexts run together."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.semantic.fingerprint import Context, Turn, fingerprint, unsuitable

TURN = Turn(text="how?", temperature=0.0)
contexts = st.builds(
    Context,
    scope=st.text(max_size=5),
    route=st.text(max_size=5),
    target_group=st.text(max_size=5),
    policy_version=st.text(max_size=5),
    embedder=st.text(max_size=5),
    request=st.binary(max_size=8),
)


@given(contexts, contexts)
def test_equal_contexts_and_only_they_have_equal_fingerprints(one: Context, other: Context) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
    assert len(fingerprint(one)) == 32


@given(contexts, st.sampled_from(["scope", "route", "target_group", "policy_version", "embedder"]))
def test_every_part_counts(context: Context, name: str) -> None:
    changed = msgspec.structs.replace(context, **{name: getattr(context, name) + "x"})

    assert fingerprint(changed) != fingerprint(context)


def test_parts_do_not_run_together() -> None:
    one = Context(scope="ab", route="c", target_group="", policy_version="", embedder="", request=b"")

    assert fingerprint(one) != fingerprint(msgspec.structs.replace(one, scope="a", route="bc"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"text": None}, "no_text"),
        ({"text": "  "}, "no_text"),
        ({"has_tool_results": True}, "tool_results"),
        ({"has_images": True}, "images"),
        ({"personalised": True}, "personalised"),
        ({"choices": 2}, "choices"),
        ({"temperature": 0.3}, None),
        ({"temperature": 0.31}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
    ],
)
def test_what_a_digest_cannot_hold_is_unsuitable(change: dict[str, object], reason: str | None) -> None:
    assert unsuitable(msgspec.structs.replace(TURN, **change), max_temperature=0.3) == reason

"""Entries have one spelling, and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest, Tampered
from fairlead.vault.audit.event import NO_HASH, Entry, Event, clipped, decode, encode

ENTRY = Entry(seq=3, prev="ab" * 32, event=Event(kind="grant", at_ms=5, principal="key:1", detail={"a": "ä"}))


def test_an_entry_is_canonical_json() -> None:
    assert (
        encode(ENTRY)
        == (
            '{"event":{"at_ms":5,"detail":{"a":"ä"},"kind":"grant","principal":"key:1"},'
            f'"prev":"{"ab" * 32}","seq":3}}'
        ).encode()
    )
    assert decode(encode(ENTRY)) == ENTRY


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b":", b": ", 1),
        lambda raw: raw + b" ",
        lambda raw: raw.replace(b"\xc3\xa4", b"\\u00e4"),
        lambda raw: raw.replace(b'"at_ms":5', b'"at_ms":5.0'),
        lambda raw: raw.replace(b'"at_ms":5', b'"at_ms":-5'),
        lambda raw: raw.replace(b'"at_ms":5', b'"at_ms":5,"at_ms":5'),
        lambda raw: raw.replace(b'"at_ms":5', b'"at_ms":5,"x":5'),
        lambda raw: raw.replace(b"grant", b"gront"),
        lambda raw: raw.replace(b"ab", b"AB"),
        lambda raw: raw[:-1],
        lambda raw: b"[" * 100_000,
        lambda raw: b"\xff",
    ],
)
def test_another_spelling_is_refused(change) -> None:  # type: ignore[no-untyped-def]  # lambdas above
    with pytest.raises(Tampered):
        decode(change(encode(ENTRY)))


@pytest.mark.parametrize(
    "event",
    [
        Event(kind="read", at_ms=-1),
        Event(kind="read", at_ms=1 << 53),
        Event(kind="read", at_ms=1, principal="x" * 257),
        Event(kind="read", at_ms=1, reasons=("x",) * 17),
        Event(kind="read", at_ms=1, principal="\ud800"),
        Event(kind="nothing", at_ms=1),  # type: ignore[arg-type]  # the point
    ],
)
def test_what_breaks_a_bound_is_not_recorded(event: Event) -> None:
    with pytest.raises(InvalidRequest):
        encode(Entry(seq=0, prev=NO_HASH, event=event))


@given(st.text(), st.integers(8, 300))
def test_clipped_text_always_fits(text: str, limit: int) -> None:
    shown = clipped(text, limit)

    assert len(shown) <= limit
    assert shown.isascii()
    assert shown.isprintable()
    encode(Entry(seq=0, prev=NO_HASH, event=Event(kind="refusal", at_ms=0, source=clipped(text))))

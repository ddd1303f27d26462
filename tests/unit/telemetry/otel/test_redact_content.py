"""Redaction of content keeps its promises whatever the text is; its cases are in `test_messages`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.otel.redact_content import Redactor


@given(st.text(max_size=200))
def test_redacting_again_changes_nothing(text: str) -> None:
    redact = Redactor()
    once = redact(text)

    assert redact(once) == once


@given(st.text("ab .", max_size=40), st.text("ab .", max_size=40))
def test_an_address_is_found_wherever_it_stands(before: str, after: str) -> None:
    assert "jane@example.com" not in Redactor()(f"{before} jane@example.com {after}")

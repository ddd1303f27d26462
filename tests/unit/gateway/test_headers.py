"""What clients say in headers is taken only in the form that it has."""

import pytest

from fairlead.gateway.headers import ClientFacts


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (b"30", 30.0),
        (b"0.5", 0.5),
        (b"999999", 600.0),
        (b"inf", 600.0),
        (b"nan", 600.0),
        (b"-1", 600.0),
        (b"0", 600.0),
        (b"soon", 600.0),
        (b"\xff", 600.0),
        (b"", 600.0),
    ],
)
def test_a_clients_patience_is_bounded_by_the_configured_total(stated: bytes, expected: float) -> None:
    assert ClientFacts({b"x-stainless-read-timeout": stated}).patience(600.0) == expected


def test_without_a_statement_the_configured_total_holds() -> None:
    assert ClientFacts({}).patience(600.0) == 600.0


def test_only_a_valid_trace_is_recorded_and_any_is_passed_on() -> None:
    valid = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {b"traceparent": valid, b"tracestate": b"a=1", b"openai-beta": b"assistants=v2"}
    facts = ClientFacts({**headers, b"cookie": b"secret"})
    assert (facts.trace_parent, facts.trace_state) == (valid.decode(), "a=1")
    assert facts.forwarded == b"openai-beta: assistants=v2\r\n"
    assert facts.trace_lines == b"traceparent: %b\r\ntracestate: a=1\r\n" % valid
    facts = ClientFacts({b"traceparent": b"00-nonsense", b"tracestate": b"a=1"})
    assert facts.trace_parent == facts.trace_state == ""


def test_an_echoed_id_is_cut_to_a_bounded_length() -> None:
    assert ClientFacts({b"x-client-request-id": b"x" * 5000}).echoed == (
        b"x-client-request-id: %b\r\n" % (b"x" * 512)
    )

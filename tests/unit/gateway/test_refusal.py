"""What the client is told when nothing else can be tried."""

import pytest

from fairlead.gateway.refusal import client_error
from fairlead.types import Failure, FailureKind


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_has_an_error(kind: FailureKind) -> None:
    error = client_error(Failure(kind=kind, message="why", status=None))
    assert 400 <= error.status < 600


def test_the_clients_own_fault_keeps_the_upstreams_status_and_words() -> None:
    failure = Failure(kind=FailureKind.INVALID_REQUEST, message="bad tool", status=422, param="tools")
    error = client_error(failure, b'{"error":{"x":1}}')
    assert (error.status, error.param) == (422, "tools")
    assert error.upstream_body == b'{"error":{"x":1}}'  # type: ignore[attr-defined]  # InvalidRequest has it


def test_words_that_no_sdk_reads_are_told_in_the_dialects() -> None:
    failure = Failure(kind=FailureKind.INVALID_REQUEST, message="Unexpected fields: {'x'}", status=422)
    error = client_error(failure, b'{"detail":"Unexpected fields: {\'x\'}"}')
    assert (error.status, error.message) == (422, "Unexpected fields: {'x'}")
    assert not error.upstream_body  # type: ignore[attr-defined]  # InvalidRequest has it


def test_our_own_credential_is_never_the_clients_401() -> None:
    error = client_error(
        Failure(kind=FailureKind.AUTH, message="Incorrect key sk-123", status=401), b"sk-123"
    )
    assert error.status == 502
    assert "sk-123" not in error.message


def test_a_rate_limit_keeps_its_wait() -> None:
    error = client_error(Failure(kind=FailureKind.RATE_LIMITED, message="slow", status=429, retry_after_s=7))
    assert (error.status, error.retry_after_s, error.retryable) == (429, 7, True)

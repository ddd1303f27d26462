"""What is told of requests of many kinds, word for word. UPDATE_GOLDEN=1 writes the expected file anew."""

import os
from pathlib import Path

from tests.unit.telemetry.records import record

from fairlead.cli.explain import as_text
from fairlead.gateway.explain import explain
from fairlead.types import Attempt, Failure, FailureKind, LimitFact, Outcome, RequestRecord, Usage

EXPECTED = Path(__file__).parent / "explain.expected"

ADMITTED = (
    LimitFact(limit="acme/requests", amount=600, used=12),
    LimitFact(limit="acme/usd:month", amount=100_000_000, used=2_500_125),
    LimitFact(limit="search/lab/large/tokens", amount=50_000, used=1),
    LimitFact(limit="key:3f8a01Bc/concurrent", amount=4, used=1),
)


def attempt(target: str, started_s: float, ended_s: float, **fields: object) -> Attempt:
    return Attempt(target=target, started_s=started_s, ended_s=ended_s, **fields)  # type: ignore[arg-type]


def failure(kind: FailureKind, message: str, status: int | None = None, **fields: float) -> Failure:
    return Failure(kind=kind, message=message, status=status, **fields)


def refused(code: str, status: int, **fields: object) -> RequestRecord:
    defaults = {
        "outcome": Outcome.REFUSED,
        "attempts": (),
        "target": "",
        "usage": Usage(),
        "duration_s": 0.0002,
    }
    return record(error=code, status=status, **{**defaults, **fields})


def limited(
    limit: str, amount: int, used: int, asked: int, code: str = "rate_limit_exceeded"
) -> RequestRecord:
    fact = LimitFact(limit=limit, verdict="refused", amount=amount, used=used, asked=asked)
    return refused(code, 429, limits=(fact,))


BUSY = failure(FailureKind.OVERLOADED, "the engine is busy", 503, retry_after_s=0.5)
OK = attempt("lab/small-2", 0.6, 1.5, first_token_s=0.9, status=200, usage=Usage(input_tokens=10))

CASES: dict[str, RequestRecord] = {
    "answered at once, no limits": record(),
    "a stream within its limits, with its cost": record(
        stream=True, chunks=40, first_token_s=0.2, limits=ADMITTED, cost_microusd=1_234_567, client_retry=1
    ),
    "no place had to be waited for": record(priority="interactive", limits=ADMITTED[:1]),
    "waited in the fair queue": record(priority="batch", queue_s=2.5, duration_s=14.25),
    "shadowed": record(
        limits=(
            ADMITTED[0],
            LimitFact(limit="search/requests", verdict="shadowed", amount=60, used=60, asked=1),
        )
    ),
    "limited by a rate of the tenant above": limited("acme/requests", 600, 600, 1),
    "limited by tokens of one model": limited("search/lab/large/tokens", 50_000, 49_000, 2_000),
    "limited by places of the key": limited("key:3f8a01Bc/concurrent", 4, 4, 1),
    "a spent budget": limited("acme/usd:month", 100_000_000, 99_999_000, 2_500, "budget_exceeded"),
    "above what a limit ever admits": limited("acme/tokens", 1_000, 0, 5_000, "request_above_limit"),
    "a limit of a later version": limited("acme/joules:fortnight", 10, 10, 1),
    "the store of limits is gone": refused("limits_unavailable", 503, outcome=Outcome.FAILED),
    "the queue is full": refused(
        "queue_full", 429, limits=ADMITTED[:1], priority="interactive"
    ),
    "no place in time": refused(
        "queue_timeout", 429, limits=ADMITTED[:1], priority="batch", queue_s=60.0,
        duration_s=60.0,
    ),
    "no key": refused("invalid_api_key", 401, tenant="", key_id="", model=""),
    "a tenant that is gone": refused("permission_denied", 403, tenant="gone"),
    "an unknown model": refused("model_not_found", 404, model=""),
    "a retry after a pause, at the same target": record(
        target="lab/small-2",
        duration_s=1.5,
        attempts=(attempt("lab/small-2", 0.0001, 0.1, status=503, failure=BUSY), OK),
    ),
    "the next target at once": record(
        target="lab/small-2",
        attempts=(
            attempt("lab/small-1", 0.0001, 0.599,
                    failure=failure(FailureKind.UNREACHABLE, "connection refused")),
            OK,
        ),
    ),
    "a hedge": record(
        target="lab/small-2",
        attempts=(
            attempt("lab/small-1", 0.0001, 0.95, status=200),
            attempt("lab/small-2", 0.5, 1.5, hedge=True, first_token_s=0.9, status=200),
        ),
    ),
    "a fallback": record(
        model="small",
        target="cloud/large",
        fallback="large",
        attempts=(
            attempt("lab/small-1", 0.0001, 0.2, status=500,
                    failure=failure(FailureKind.SERVER_ERROR, "oops", 500)),
            attempt("cloud/large", 0.2, 0.5, first_token_s=0.3, status=200),
        ),
    ),
    "every target failed": record(
        outcome=Outcome.FAILED, status=503, error="upstreams_exhausted", target="", usage=Usage(),
        attempts=(
            attempt("lab/small-1", 0.0001, 0.1,
                    failure=failure(FailureKind.TIMEOUT, "no first token in 60 s")),
            attempt("lab/small-2", 0.1, 0.2, status=429,
                    failure=failure(FailureKind.RATE_LIMITED, "slow down", 429)),
        ),
    ),
    "refused upstream": record(
        outcome=Outcome.UPSTREAM_REFUSED, status=400, error="context_length_exceeded", target="",
        usage=Usage(),
        attempts=(
            attempt("lab/small-1", 0.0001, 0.1, status=400,
                    failure=failure(FailureKind.CONTEXT_WINDOW, "8193 tokens are too many", 400)),
        ),
    ),
    "cut in the middle": record(
        stream=True, outcome=Outcome.CUT, error="upstream_cut", chunks=17, cost_microusd=0,
        attempts=(
            attempt("lab/small-1", 0.0001, 0.5, first_token_s=0.2, status=200,
                    failure=failure(FailureKind.CUT, "the stream ended early")),
        ),
    ),
    "cut and continued by another": record(
        stream=True, target="lab/small-2",
        attempts=(
            attempt("lab/small-1", 0.0001, 0.6, first_token_s=0.2, status=200,
                    failure=failure(FailureKind.CUT, "the stream ended early")),
            OK,
        ),
    ),
    "the client left in the middle": record(
        stream=True, outcome=Outcome.CLIENT_GONE, chunks=3, usage_estimated=True, cost_microusd=42,
    ),
    "from the cache": record(
        target="", attempts=(), usage=Usage(), cache="hit", saved_tokens=1_240, saved_microusd=2_150,
        limits=ADMITTED[:1], duration_s=0.0003,
    ),
    "from the cache, whose cost nobody knows": record(
        target="", attempts=(), usage=Usage(), cache="hit", saved_tokens=15, duration_s=0.0003
    ),
    "from the cache, as the answer to other words": record(
        target="", attempts=(), usage=Usage(), cache="semantic", saved_tokens=15, saved_microusd=7,
        duration_s=0.002,
    ),
    "from the cache in an outage": record(
        target="", usage=Usage(), cache="stale", saved_tokens=15, saved_microusd=7,
        attempts=(
            attempt("lab/small-1", 0.0001, 0.1,
                    failure=failure(FailureKind.UNREACHABLE, "connection refused")),
        ),
    ),
    "not in the cache": record(cache="miss"),
    "not in the cache, and nothing else was wanted": refused("not_cached", 504, cache="miss"),
    "not a matter for the cache": record(cache="bypass"),
    "the client left the queue": refused(
        "", 499, outcome=Outcome.CLIENT_GONE, priority="interactive", queue_s=3.0, duration_s=3.0
    ),
}  # fmt: skip


def test_every_kind_of_request_is_explained_as_expected() -> None:
    actual = "\n".join(f"=== {name}\n{as_text(explain(record))}" for name, record in CASES.items())
    if os.environ.get("UPDATE_GOLDEN"):
        EXPECTED.write_text(actual)
    assert actual == EXPECTED.read_text()

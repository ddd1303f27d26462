"""What an exchange comes to know becomes one record."""

from __future__ import annotations

import time
from typing import Any, cast

import msgspec
import pytest

from fairlead import config as cfg
from fairlead.errors import (
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    RateLimited,
    UpstreamCut,
    UpstreamError,
)
from fairlead.gateway.exchange import Exchange, RequestIds, second_of
from fairlead.gateway.health import Breaker
from fairlead.gateway.router import Load, Target
from fairlead.limits.flows import Band, Flow
from fairlead.net.server import Call
from fairlead.providers.table import apis
from fairlead.telemetry.scrapers.engine import EngineMeans
from fairlead.types import ITL_BOUNDS_S, Attempt, EngineTimes, LimitFact, Outcome, RequestRecord, Usage


class _Call:
    body = b"{}"
    bytes_out = 0
    started = False


def exchange(*, started: bool = False) -> Exchange:
    call = _Call()
    call.started = started
    return Exchange("req_1", cast(Call, call), apis()["/v1/chat/completions"])


def test_ids_are_new_each_time_and_grow() -> None:
    ids = RequestIds()
    made = [ids() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert made == sorted(made)
    assert not {*made} & {RequestIds()() for _ in range(10)}
    assert all(id.startswith("req_") and id.isascii() and id.isalnum() is False for id in made)


@pytest.mark.parametrize(
    ("error", "asked", "started", "chunks", "outcome", "status"),
    [
        (InvalidRequest(), False, False, 0, Outcome.REFUSED, 400),
        (Forbidden(), False, False, 0, Outcome.REFUSED, 403),
        (RateLimited(), False, False, 0, Outcome.REFUSED, 429),
        (InvalidRequest(), True, False, 0, Outcome.UPSTREAM_REFUSED, 400),
        (ModelNotFound(), True, False, 0, Outcome.UPSTREAM_REFUSED, 404),
        (UpstreamError(), True, False, 0, Outcome.FAILED, 502),
        (UpstreamError(), False, False, 0, Outcome.FAILED, 502),
        (UpstreamCut(), True, True, 3, Outcome.CUT, 200),
        (UpstreamCut(), True, True, 0, Outcome.FAILED, 200),
    ],
)
def test_an_error_decides_the_outcome(
    error: Any, asked: bool, started: bool, chunks: int, outcome: Outcome, status: int
) -> None:
    ex = exchange(started=started)
    ex.chunks = chunks
    if asked:
        ex.attempts.append(Attempt(target="a/*", started_s=0.0))
    ex.failed(error)
    record = ex.record()
    assert (record.outcome, record.status, record.error) == (outcome, status, error.code)


@pytest.mark.parametrize(("started", "status"), [(False, 499), (True, 200)])
def test_a_client_that_leaves_has_seen_what_was_sent(started: bool, status: int) -> None:
    ex = exchange(started=started)
    ex.client_gone()
    record = ex.record()
    assert (record.outcome, record.status, record.error) == (Outcome.CLIENT_GONE, status, "")


def test_an_exchange_that_nobody_ended_is_a_failure_of_the_gateway() -> None:
    record = exchange().record()
    assert (record.outcome, record.status, record.error) == (Outcome.FAILED, 500, "internal_error")


def test_gaps_between_tokens_are_counted_in_a_histogram() -> None:
    ex = exchange()
    ex.tokens_arrived(1, 10.0)
    assert ex.record().itl_counts == ()
    ex.tokens_arrived(1, 10.0005)
    ex.tokens_arrived(3, 10.5005)
    ex.tokens_arrived(1, 120.0)
    record = ex.record()
    assert record.chunks == 6
    assert sum(record.itl_counts) == 5
    assert len(record.itl_counts) == len(ITL_BOUNDS_S) + 1
    assert record.itl_counts[0] == 3  # half a millisecond, and two that came together
    assert record.itl_counts[-1] == 1
    assert record.itl_max_s == pytest.approx(109.4995)
    assert record.itl_sum_s == pytest.approx(110.0)


def test_long_gaps_are_stalls_whatever_their_order() -> None:
    ex = exchange()
    ex.stall_s = 2.0
    at = 10.0
    for gap in (0.0, 5.0, 0.5, 2.0, 1.99, 3.0, 0.1):
        at += gap
        ex.tokens_arrived(1, at)
    record = ex.record()
    assert (record.stalls, record.stalled_s) == (3, pytest.approx(10.0))
    assert record.itl_max_s == pytest.approx(5.0)


def test_tokens_that_come_together_at_first_have_no_gap() -> None:
    ex = exchange()
    ex.tokens_arrived(4, 10.0)
    record = ex.record()
    assert (record.chunks, sum(record.itl_counts), record.itl_max_s) == (4, 3, 0.0)


def test_overhead_is_what_the_gateway_took_before_it_asked() -> None:
    ex = exchange()
    ex.queue_s = ex.waited_s = 2.0
    ex.sent = ex.started + 2.5
    assert ex.record().overhead_s == pytest.approx(0.5)


def test_every_field_of_the_record_holds_what_it_is_named_for() -> None:
    """The record is made by position."""
    ex = exchange(started=True)
    ex.started, ex.started_at, ex.bytes_in = 100.0, 5.0, 41
    ex.call.bytes_out = 43
    ex.outcome, ex.status, ex.error = Outcome.CUT, 299, "some_error"
    ex.tenant, ex.key_id, ex.model, ex.stream = "a-tenant", "a-key", "a-model", True
    ex.queue_s, ex.connect_s, ex.headers_at, ex.first_token = 0.25, 0.5, 101.0, 102.0
    ex.sent, ex.waited_s = 100.75, 0.125
    ex.usage, ex.usage_estimated, ex.chunks = Usage(input_tokens=7, output_tokens=9), True, 3
    ex.itl_counts, ex.itl_sum_s, ex.itl_max_s = [1, 2], 0.3, 0.2
    attempt = Attempt(target="t", started_s=0.1, usage=ex.usage, cost_microusd=17)
    ex.attempts.append(attempt)
    ex.finish_reason, ex.trace_parent, ex.client_retry = "stop", "a-trace", 2
    ex.limits = (LimitFact(limit="acme/requests"),)
    ex.flow, ex.queued = Flow(names=("acme",), weights=(1.0,), band=Band.BATCH), True
    ex.cache, ex.saved_tokens, ex.saved_microusd, ex.saved_gpu_s = "hit", 19, 23, 37.0
    ex.stalls, ex.stalled_s = 29, 31.0

    record = ex.record()

    expected = {
        "id": "req_1", "started_at": 5.0, "endpoint": "chat", "dialect": "openai", "outcome": Outcome.CUT,
        "status": 299, "tenant": "a-tenant", "key_id": "a-key", "model": "a-model", "target": "",
        "stream": True, "error": "some_error", "queue_s": 0.25, "connect_s": 0.5, "headers_s": 1.0,
        "first_token_s": 2.0, "overhead_s": pytest.approx(0.625), "usage": ex.usage,
        "usage_estimated": True, "chunks": 3, "itl_counts": (1, 2), "itl_sum_s": 0.3, "itl_max_s": 0.2,
        "bytes_in": 41, "bytes_out": 43, "attempts": (attempt,), "finish_reason": "stop",
        "trace_parent": "a-trace", "client_retry": 2, "cost_microusd": 17, "limits": ex.limits,
        "priority": "batch", "fallback": "", "cache": "hit", "saved_tokens": 19, "saved_microusd": 23,
        "engine_queue_s": 0.0, "prefill_s": 0.0, "decode_s": 0.3, "network_s": 0.0, "stalls": 29,
        "stalled_s": 31.0, "engine_source": "", "trace": "", "trace_state": "",
        "saved_gpu_s": 37.0,
    }  # fmt: skip
    seen = msgspec.structs.asdict(record)
    assert seen.pop("duration_s") > 0
    assert seen == expected


def answered(means: EngineMeans | None = None, engine: EngineTimes | None = None) -> RequestRecord:
    """A stream that was asked for at 1.0 with a new connection, began at 2.0 and ended at 4.5."""
    ex = exchange()
    ex.started, ex.stream = 100.0, True
    load = Load()
    load.engine = means
    ex.target = Target(cfg.Target(provider="lab", model="m"), Breaker(cfg.Breaker()), load)
    ex.asked, ex.connect_s, ex.headers_at, ex.first_token = 101.0, 0.1, 101.5, 102.0
    ex.itl_sum_s, ex.engine = 2.4, engine
    ex.attempts.append(Attempt(target="lab/m", started_s=1.0, first_token_s=2.0, ended_s=4.5))
    return ex.record()


def test_what_the_engine_tells_of_its_work_is_in_the_record() -> None:
    record = answered(EngineMeans(queue_s=9.0), EngineTimes(queue_s=0.2, prefill_s=0.5, decode_s=2.3))

    assert record.engine_source == "response"
    assert (record.engine_queue_s, record.prefill_s, record.decode_s) == (0.2, 0.5, 2.3)
    assert record.network_s == pytest.approx(0.4), "of 3.4 s since the connection stood"


def test_the_means_of_the_target_count_where_the_answer_tells_nothing() -> None:
    record = answered(EngineMeans(queue_s=0.2, prefill_s=0.6))

    assert record.engine_source == "histogram"
    assert (record.engine_queue_s, record.prefill_s, record.decode_s) == (0.2, 0.6, 2.4)
    assert record.network_s == pytest.approx(0.2)


def test_an_id_tells_when_it_was_made() -> None:
    began = int(time.time())

    assert began <= (second_of(RequestIds()()) or 0) <= time.time()
    assert [second_of(text) for text in ("", "req_nobody", "req_" + "z" * 26, "x" * 30)] == [None] * 4

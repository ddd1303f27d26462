"""Records for the tests of this package."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fairlead.types import (
    ITL_BOUNDS_S,
    Attempt,
    Failure,
    FailureKind,
    LimitFact,
    Outcome,
    RequestRecord,
    Usage,
)

NOW = 1_700_000_000.0


def record(number: int = 0, **fields: Any) -> RequestRecord:
    """A successful request, different from others by its number."""
    defaults: dict[str, Any] = {
        "id": f"{number:024x}",
        "started_at": NOW + number,
        "endpoint": "chat",
        "dialect": "openai",
        "outcome": Outcome.OK,
        "status": 200,
        "tenant": "acme",
        "key_id": "key1",
        "model": "small",
        "target": "lab/small-1",
        "duration_s": 0.5,
        "overhead_s": 0.0001,
        "usage": Usage(input_tokens=10, output_tokens=5),
        "attempts": (Attempt(target="lab/small-1", started_s=0.0001, status=200, ended_s=0.5),),
    }
    return RequestRecord(**{**defaults, **fields})


def full_record() -> RequestRecord:
    """A record in which no field has its default."""
    return RequestRecord(
        id="018bcfe5687b0001",
        started_at=NOW + 0.123456,
        endpoint="messages",
        dialect="anthropic",
        outcome=Outcome.CUT,
        status=200,
        tenant="acme",
        key_id="key1",
        model="large",
        target="lab/large-2",
        stream=True,
        error="upstream_cut",
        queue_s=0.01,
        connect_s=0.02,
        headers_s=0.3,
        first_token_s=0.4,
        duration_s=2.5,
        overhead_s=0.00004,
        usage=Usage(
            input_tokens=100,
            output_tokens=50,
            cache_read_tokens=30,
            cache_write_tokens=20,
            cache_write_1h_tokens=10,
            reasoning_tokens=7,
            audio_input_tokens=3,
            audio_output_tokens=2,
        ),
        usage_estimated=True,
        chunks=41,
        itl_counts=(1,) * (len(ITL_BOUNDS_S) + 1),
        itl_sum_s=2.1,
        itl_max_s=0.7,
        bytes_in=1000,
        bytes_out=2000,
        attempts=(
            Attempt(
                target="lab/large-1",
                started_s=0.0001,
                connect_s=0.001,
                ended_s=0.1,
                status=503,
                failure=Failure(
                    kind=FailureKind.OVERLOADED, message="busy", status=503, code="busy", retry_after_s=1.0
                ),
            ),
            Attempt(
                target="lab/large-2",
                started_s=0.1,
                headers_s=0.2,
                first_token_s=0.4,
                ended_s=2.5,
                status=200,
                failure=Failure(kind=FailureKind.CUT, message="ended early", param="stream"),
                usage=Usage(input_tokens=100),
                hedge=True,
            ),
        ),
        finish_reason="length",
        trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        cost_microusd=4_200,
        limits=(LimitFact(limit="acme/requests", verdict="shadowed", amount=60, used=61, asked=1),),
        priority="batch",
        fallback="larger",
        cache="stale",
        saved_tokens=30,
        saved_microusd=12,
        client_retry=2,
        engine_queue_s=0.05,
        prefill_s=0.15,
        decode_s=2.0,
        network_s=0.1,
        stalls=1,
        stalled_s=1.5,
        engine_source="response",
        trace="00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
        trace_state="vendor=1",
        saved_gpu_s=0.25,
    )


_seconds = st.floats(0.0, 4000.0)
_tokens = st.integers(0, 10_000)

records = st.builds(
    RequestRecord,
    id=st.text("0123456789abcdef", min_size=8, max_size=8),
    started_at=st.floats(NOW, NOW + 1000),
    endpoint=st.sampled_from(["chat", "messages", "embeddings"]),
    dialect=st.just("openai"),
    outcome=st.sampled_from(Outcome),
    status=st.sampled_from([200, 400, 404, 429, 499, 500, 503]),
    model=st.text(max_size=8),
    target=st.text(max_size=8),
    stream=st.booleans(),
    queue_s=_seconds,
    first_token_s=_seconds,
    duration_s=_seconds,
    overhead_s=_seconds,
    usage=st.builds(Usage, input_tokens=_tokens, output_tokens=_tokens, reasoning_tokens=_tokens),
    itl_counts=st.one_of(st.just(()), st.tuples(*[st.integers(0, 9)] * (len(ITL_BOUNDS_S) + 1))),
    attempts=st.lists(
        st.builds(
            Attempt,
            target=st.text(max_size=8),
            started_s=_seconds,
            failure=st.none() | st.builds(Failure, kind=st.sampled_from(FailureKind), message=st.just("")),
        ),
        max_size=3,
    ).map(tuple),
)

"""Times that engines tell of their own work, as each of them writes it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.dialect import Glimpse
from fairlead.providers.engine_times import in_headers, read
from fairlead.providers.openai_chat import OpenAIChatUpstream
from fairlead.providers.openai_chat_decode import ChatDecoder
from fairlead.providers.openai_watch import ChatWatcher, glance
from fairlead.types import EngineTimes

VLLM = {
    "metrics": {
        "time_to_first_token_ms": 120.5,
        "generation_time_ms": 900.0,
        "queue_time_ms": 30.0,
        "mean_itl_ms": 9.0,
        "tokens_per_second": 111.0,
    }
}
LLAMA_CPP = {
    "timings": {
        "prompt_n": 12,
        "prompt_ms": 50.0,
        "prompt_per_second": 240.0,
        "predicted_n": 90,
        "predicted_ms": 450.0,
    }
}
CEREBRAS = {"time_info": {"queue_time": 0.01, "prompt_time": 0.02, "completion_time": 0.3, "created": 1.7e9}}
OLLAMA = {
    "total_duration": 5_000_000_000,
    "load_duration": 1_000_000_000,
    "prompt_eval_duration": 500_000_000,
    "eval_duration": 2_000_000_000,
}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
GROQ_USAGE = {**USAGE, "queue_time": 0.04, "prompt_time": 0.05, "completion_time": 0.6, "total_time": 0.65}
CASES = [
    (VLLM, USAGE, EngineTimes(queue_s=0.03, prefill_s=0.1205, decode_s=0.9)),
    (LLAMA_CPP, USAGE, EngineTimes(prefill_s=0.05, decode_s=0.45)),
    (CEREBRAS, USAGE, EngineTimes(queue_s=0.01, prefill_s=0.02, decode_s=0.3)),
    (OLLAMA, USAGE, EngineTimes(queue_s=1.0, prefill_s=0.5, decode_s=2.0)),
    ({}, GROQ_USAGE, EngineTimes(queue_s=0.04, prefill_s=0.05, decode_s=0.6)),
    ({}, USAGE, None),
    ({"metrics": "none of your business"}, USAGE, None),
    ({"timings": None, "metrics": None}, USAGE, None),
    ({"metrics": {"queue_time_ms": 5.0}}, USAGE, None),
    ({"timings": {"prompt_ms": -1.0, "predicted_ms": 1e300}}, USAGE, None),
]
IDS = ["vllm", "llama.cpp", "cerebras", "ollama", "groq", "none", "text", "null", "queue only", "nonsense"]


def close(found: EngineTimes | None, expected: EngineTimes | None) -> bool:
    if found is None or expected is None:
        return found is expected
    pairs = (
        (found.queue_s, expected.queue_s),
        (found.prefill_s, expected.prefill_s),
        (found.decode_s, expected.decode_s),
    )
    return all(one == (None if other is None else pytest.approx(other)) for one, other in pairs)


def answer(more: dict[str, object], usage: dict[str, object]) -> bytes:
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(body | more).encode()


def events(more: dict[str, object], usage: dict[str, object]) -> bytes:
    def chunk(choices: list[object], **fields: object) -> bytes:
        body = {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": choices, **fields}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    return (
        chunk([{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}])
        + chunk([{"index": 0, "delta": {"content": "!"}, "finish_reason": None}])
        + chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        + chunk([], usage=usage, **more)
        + b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize(("more", "usage", "expected"), CASES, ids=IDS)
def test_a_whole_answer(
    more: dict[str, object], usage: dict[str, object], expected: EngineTimes | None
) -> None:
    seen = glance(answer(more, usage))

    assert seen.failure is None
    assert close(seen.engine, expected)
    assert close(OpenAIChatUpstream().decode(answer(more, usage), []).engine, expected)


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
@pytest.mark.parametrize(("more", "usage", "expected"), CASES, ids=IDS)
def test_a_stream_in_passing(
    more: dict[str, object], usage: dict[str, object], expected: EngineTimes | None, pieces: int
) -> None:
    watcher = ChatWatcher(strip_usage=False)
    data = events(more, usage)
    relayed = b"".join(watcher.feed(data[at : at + pieces]) for at in range(0, len(data), pieces))

    glimpse: Glimpse = watcher.glimpse
    assert relayed == data
    assert glimpse.failure is None
    assert close(glimpse.engine, expected)


@pytest.mark.parametrize(("more", "usage", "expected"), CASES, ids=IDS)
def test_a_stream_that_is_translated(
    more: dict[str, object], usage: dict[str, object], expected: EngineTimes | None
) -> None:
    found = [getattr(event, "engine", None) for event in ChatDecoder().feed(events(more, usage))]

    assert close(next((one for one in found if one is not None), None), expected)


def test_the_headers_of_tgi() -> None:
    headers = {b"x-queue-time": b"12", b"x-inference-time": b"480", b"x-total-time": b"500"}

    assert close(in_headers(headers), EngineTimes(queue_s=0.012, decode_s=0.48))


@pytest.mark.parametrize("value", [b"", b"soon", b"-3", b"nan", b"inf", b"1e99"])
def test_headers_that_are_no_times_are_none(value: bytes) -> None:
    assert in_headers({b"x-inference-time": value}) is None
    assert in_headers({}) is None


@given(st.binary(max_size=40) | st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["metrics", "timings", "usage", "time_info", "queue_time",
                                                   "eval_duration", "queue_time_ms"]), inner, max_size=4),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nothing_that_is_read_is_an_error(data: bytes) -> None:
    found = read(data)

    assert found is None or isinstance(found, EngineTimes)

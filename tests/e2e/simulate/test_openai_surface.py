"""The OpenAI surface over plain HTTP."""

from __future__ import annotations

import base64
import json
import math
import shutil
import socket
import struct
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.simulate.conftest import INSTANT, Served, served

from fairlead.simulate.engine import Latency, Limits
from fairlead.simulate.server import EngineConfig

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def test_a_stream_carries_the_same_words_as_a_whole_answer(engine: Served) -> None:
    whole = engine.chat().json()
    streamed = engine.chat(stream=True, stream_options={"include_usage": True})
    events = streamed.events()
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert events[-1] == "[DONE]"
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [event["choices"][0]["delta"] for event in events[:-1] if event["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == whole["choices"][0]["message"]["content"]
    assert [event["usage"] for event in events[:-2]] == [None] * (len(events) - 2)
    usage = events[-2]["usage"]
    assert events[-2]["choices"] == []
    assert usage["completion_tokens"] == whole["usage"]["completion_tokens"]
    # One event per token, besides role, finish, usage and the end mark.
    assert len(events) == usage["completion_tokens"] + 4
    assert events[-3]["choices"][0]["finish_reason"] == "stop"


def test_usage_is_left_out_of_a_stream_unless_asked_for(engine: Served) -> None:
    assert all("usage" not in event for event in engine.chat(stream=True).events()[:-1])


def test_continuous_usage_counts_up(engine: Served) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = engine.chat(stream=True, max_tokens=3, stream_options=options).events()[:-1]
    assert [event["usage"]["completion_tokens"] for event in events] == [1, 1, 2, 3, 3, 3]


def test_a_repeated_prompt_reports_cached_tokens() -> None:
    with served(EngineConfig(models=("m",), latency=INSTANT)) as fresh:
        long = [{"role": "user", "content": "word " * 200}]
        first = fresh.chat(messages=long).json()["usage"]
        again = fresh.chat(messages=long).json()["usage"]
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert 150 < again["prompt_tokens_details"]["cached_tokens"] < again["prompt_tokens"]


def test_n_choices_are_told_apart(engine: Served) -> None:
    answer = engine.chat(n=3, temperature=1, max_tokens=5).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 15
    events = engine.chat(n=2, max_tokens=5, stream=True).events()[:-1]
    for index in (0, 1):
        mine = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert mine[-1]["finish_reason"] == "length"
        assert len(mine) == 7


def test_stop_sequences_and_log_probabilities(engine: Served) -> None:
    answer = engine.chat(stop=["river end"], logprobs=True, top_logprobs=2).json()["choices"][0]
    assert answer["message"]["content"].endswith("Where does the ")
    assert (answer["finish_reason"], answer["stop_reason"]) == ("stop", "river end")
    content = answer["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == answer["message"]["content"]
    assert all(len(entry["top_logprobs"]) == 2 and entry["logprob"] <= 0 for entry in content)


def test_a_tool_call_is_whole_and_streamed_alike(engine: Served) -> None:
    fields = {"tools": [TOOL], "tool_choice": "required"}
    whole = engine.chat(**fields).json()["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] is None
    call = whole["message"]["tool_calls"][0]
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)
    events = engine.chat(stream=True, **fields).events()[:-1]
    pieces = [piece for event in events for piece in event["choices"][0]["delta"].get("tool_calls", [])]
    assert (pieces[0]["id"], pieces[0]["function"]["name"]) == (call["id"], "get_weather")
    assert "".join(piece["function"]["arguments"] for piece in pieces) == call["function"]["arguments"]


def test_structured_output_fits_its_schema(engine: Served) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 4}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = engine.chat(response_format=form).json()["choices"][0]["message"]["content"]
    assert json.loads(content)["n"] in (3, 4)


def test_reasoning_is_a_field_of_its_own(engine: Served) -> None:
    answer = engine.chat(reasoning_effort="high").json()
    assert answer["choices"][0]["message"]["reasoning_content"].startswith("First I read")
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"tool_choice": {"type": "function", "function": {"name": "nope"}}}, "tool_choice"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"top_logprobs": 3}, "top_logprobs"),
    ],
)
def test_a_bad_request_is_refused_by_name(engine: Served, fields: dict[str, object], param: str) -> None:
    answer = engine.chat(**fields)
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["code"]) == (400, "BadRequestError", 400)
    assert error["param"].strip(".") == param


def test_what_does_not_fit_the_context_is_refused() -> None:
    with served(EngineConfig(models=("m",), latency=INSTANT, limits=Limits(kv_tokens=64))) as small:
        answer = small.chat(max_tokens=100)
        assert answer.status == 400
        assert "maximum context length is 64 tokens" in answer.json()["error"]["message"]
        assert small.chat().json()["choices"][0]["finish_reason"] == "length"


def test_unknown_models_paths_and_methods(engine: Served) -> None:
    missing = engine.chat(model="gpt-none")
    assert (missing.status, missing.json()["error"]["type"]) == (404, "NotFoundError")
    assert engine.request("GET", "/nothing").status == 404
    assert engine.request("GET", "/v1/chat/completions").status == 405
    assert engine.request("POST", "/v1/chat/completions", b"{nope").status == 400


def test_models_are_listed_and_found(engine: Served) -> None:
    listed = engine.request("GET", "/v1/models").json()
    assert [card["id"] for card in listed["data"]] == ["m", "other"]
    assert engine.request("GET", "/v1/models/other").json()["object"] == "model"
    assert engine.request("GET", "/v1/models/none").status == 404


def test_completions_answer_each_prompt(engine: Served) -> None:
    body = {"model": "m", "prompt": ["one", "two"], "max_tokens": 4, "echo": True, "logprobs": 1}
    answer = engine.request("POST", "/v1/completions", body).json()
    assert [choice["text"][:3] for choice in answer["choices"]] == ["one", "two"]
    assert answer["usage"]["completion_tokens"] == 8
    assert len(answer["choices"][0]["logprobs"]["tokens"]) == 4
    ids = engine.request("POST", "/v1/completions", {"model": "m", "prompt": [1, 2, 3], "max_tokens": 2})
    assert ids.json()["usage"]["prompt_tokens"] == 3
    body = {"model": "m", "prompt": "go", "max_tokens": 4, "stream": True}
    events = engine.request("POST", "/v1/completions", body).events()
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert len(events) == 6


def test_embeddings_are_unit_vectors_in_both_encodings(engine: Served) -> None:
    body = {"model": "m", "input": ["a cat", "a cat!", "ships"], "dimensions": 64}
    floats = engine.request("POST", "/v1/embeddings", body).json()
    vectors = [entry["embedding"] for entry in floats["data"]]
    assert math.isclose(sum(value * value for value in vectors[0]), 1.0, rel_tol=1e-6)
    encoded = engine.request("POST", "/v1/embeddings", {**body, "encoding_format": "base64"}).json()
    unpacked = struct.unpack("<64f", base64.b64decode(encoded["data"][0]["embedding"]))
    assert unpacked == pytest.approx(vectors[0], rel=1e-5)
    assert floats["usage"]["prompt_tokens"] == floats["usage"]["total_tokens"] > 0


def test_rerank_puts_the_likeliest_document_first(engine: Served) -> None:
    body = {
        "model": "m",
        "query": "reset my password",
        "documents": ["sunny weather", "how to reset a password"],
    }
    answer = engine.request("POST", "/v1/rerank", {**body, "top_n": 1}).json()
    assert [entry["index"] for entry in answer["results"]] == [1]
    assert 0.5 < answer["results"][0]["relevance_score"] <= 1


def form(**fields: str | tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    parts = []
    for name, value in fields.items():
        filename, data = value if isinstance(value, tuple) else (None, value.encode())
        named = f'; filename="{filename}"' if filename else ""
        head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + b"--XX--\r\n", {"content-type": "multipart/form-data; boundary=XX"}


def test_a_transcript_names_the_file(engine: Served) -> None:
    body, headers = form(model="m", file=("hello.wav", b"RIFF" * 100))
    answer = engine.request("POST", "/v1/audio/transcriptions", body, headers)
    assert "hello.wav" in answer.json()["text"]
    text, headers = form(model="m", file=("hello.wav", b"RIFF" * 100), response_format="text")
    assert b"hello.wav" in engine.request("POST", "/v1/audio/transcriptions", text, headers).body
    assert engine.request("POST", "/v1/audio/transcriptions", body[:-10], headers).status == 400


def test_an_image_is_a_valid_png(engine: Served) -> None:
    answer = engine.request(
        "POST", "/v1/images/generations", {"model": "m", "prompt": "a boat", "n": 2}
    ).json()
    first = base64.b64decode(answer["data"][0]["b64_json"])
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    start = first.index(b"IDAT")
    size = struct.unpack("!I", first[start - 4 : start])[0]
    assert len(zlib.decompress(first[start + 4 : start + 4 + size])) == 16 * (1 + 16 * 3)
    assert len(answer["data"]) == 2


def test_a_batch_runs_an_uploaded_file(engine: Served) -> None:
    lines = [
        {"custom_id": "a", "body": {"model": "m", "messages": [{"role": "user", "content": "hi"}]}},
        {"custom_id": "b", "body": {"model": "none", "messages": [{"role": "user", "content": "hi"}]}},
    ]
    body, headers = form(purpose="batch", file=("in.jsonl", "\n".join(map(json.dumps, lines)).encode()))
    uploaded = engine.request("POST", "/v1/files", body, headers).json()
    assert uploaded["filename"] == "in.jsonl"
    asked = {"input_file_id": uploaded["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = engine.request("POST", "/v1/batches", asked).json()
    while batch["status"] == "in_progress":
        batch = engine.request("GET", f"/v1/batches/{batch['id']}").json()
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    content = engine.request("GET", f"/v1/files/{batch['output_file_id']}/content").body
    results = [json.loads(line) for line in content.splitlines()]
    assert [(result["custom_id"], result["response"]["status_code"]) for result in results] == [
        ("a", 200),
        ("b", 404),
    ]
    assert engine.request("DELETE", f"/v1/files/{uploaded['id']}").json()["deleted"]
    assert engine.request("GET", f"/v1/files/{uploaded['id']}").status == 404
    assert engine.request("GET", "/v1/batches").json()["data"][0]["id"] == batch["id"]


def test_tokenize_counts_as_usage_does(engine: Served) -> None:
    messages = [{"role": "user", "content": "Where does the river end?"}]
    counted = engine.request("POST", "/tokenize", {"model": "m", "messages": messages}).json()
    assert counted["count"] == engine.chat().json()["usage"]["prompt_tokens"] == len(counted["tokens"])
    words = engine.request("POST", "/tokenize", {"prompt": "two words", "return_token_strs": True}).json()
    assert words["token_strs"] == ["two", " words"]


def test_responses_stream_as_they_are_whole(engine: Served) -> None:
    body = {
        "model": "m",
        "input": "Where does the river end?",
        "temperature": 0,
        "reasoning": {"effort": "low"},
    }
    whole = engine.request("POST", "/v1/responses", body).json()
    assert whole["status"] == "completed"
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    events = engine.request("POST", "/v1/responses", {**body, "stream": True}).events()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == whole["output"][1]["content"][0]["text"]
    assert events[-1]["response"]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_the_responses_api_is_there_only_when_asked_for() -> None:
    with served(EngineConfig(models=("m",), latency=INSTANT)) as plain:
        assert plain.request("POST", "/v1/responses", {"model": "m", "input": "x"}).status == 404


def test_per_request_metrics_when_turned_on() -> None:
    config = EngineConfig(models=("m",), latency=Latency(speed=20), per_request_metrics=True)
    with served(config) as measured:
        metrics = measured.chat(max_tokens=5).json()["metrics"]
        events = measured.chat(max_tokens=5, stream=True, stream_options={"include_usage": True}).events()
    assert 0.9 < metrics["time_to_first_token_ms"] < 3
    assert metrics["mean_itl_ms"] == pytest.approx(1.03, abs=0.05)
    assert set(events[-2]["metrics"]) == set(metrics)


def test_a_key_is_required_when_one_is_set() -> None:
    with served(EngineConfig(models=("m",), latency=INSTANT, api_key="s3cret")) as locked:
        assert locked.request("GET", "/v1/models").status == 401
        assert locked.request("GET", "/v1/models", headers={"authorization": "Bearer wrong"}).status == 401
        assert locked.request("GET", "/v1/models", headers={"authorization": "Bearer s3cret"}).status == 200
        assert locked.request("GET", "/v1/models", headers={"x-api-key": "s3cret"}).status == 200
        assert locked.request("GET", "/health").status == 200


def samples(served_engine: Served) -> dict[str, float]:
    text = served_engine.request("GET", "/metrics").body.decode()
    return {
        sample.name + sample.labels.get("finished_reason", "") + sample.labels.get("le", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_what_was_served() -> None:
    with served(EngineConfig(models=("m",), latency=INSTANT)) as fresh:
        usage = fresh.chat(max_tokens=7).json()["usage"]
        seen = samples(fresh)
        text = fresh.request("GET", "/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert seen["vllm:prompt_tokens_total"] == usage["prompt_tokens"]
    assert seen["vllm:generation_tokens_total"] == 7
    assert seen["vllm:request_success_totallength"] == 1
    assert seen["vllm:inter_token_latency_seconds_count"] == 6
    assert seen["vllm:request_params_max_tokens_sum"] == 7


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_but_the_names_that_vllm_gave_them(engine: Served) -> None:
    exposition = engine.request("GET", "/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, timeout=30)
    complaints = done.stdout.decode().splitlines() + done.stderr.decode().splitlines()
    others = [line for line in complaints if "names should not contain ':'" not in line]
    assert others == ['vllm:iteration_tokens_total non-counter metrics should not have "_total" suffix']


def test_a_client_that_leaves_frees_the_engine() -> None:
    config = EngineConfig(models=("m",), latency=Latency(speed=1))
    with served(config) as slow:
        core = slow.running.engine
        for stream in (True, False):
            asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5000}
            raw = json.dumps({**asked, "ignore_eos": True, "stream": stream}).encode()
            client = socket.create_connection(("127.0.0.1", slow.port))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(raw)}\r\n\r\n"
            client.sendall(head.encode() + raw)
            slow.eventually(lambda: core.running == 1)
            assert samples(slow)["vllm:num_requests_running"] == 1
            client.close()
            slow.eventually(lambda: core.running == 0)
            seen = samples(slow)
            assert seen["vllm:num_requests_running"] == 0
            assert seen["vllm:kv_cache_usage_perc"] == 0
        assert seen["vllm:request_success_totalabort"] == 2


def test_an_overloaded_engine_queues_and_serves_everybody() -> None:
    config = EngineConfig(models=("m",), latency=Latency(speed=50), limits=Limits(max_batch=2, kv_tokens=640))
    with served(config) as busy, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: busy.chat(max_tokens=40, ignore_eos=True), range(12)))
        seen = samples(busy)
    assert {answer.json()["usage"]["completion_tokens"] for answer in answers} == {40}
    assert seen["vllm:request_queue_time_seconds_count"] == 12
    assert seen["vllm:request_queue_time_seconds_sum"] > 0

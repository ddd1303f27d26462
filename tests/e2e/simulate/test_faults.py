"""Each fault, as a client sees it."""

from __future__ import annotations

import json
import socket
import time

import pytest
from tests.e2e.simulate.conftest import INSTANT, Answer, Served, served

from fairlead.simulate.engine import Latency
from fairlead.simulate.server import EngineConfig


def content(answer: Answer) -> int:
    """How many tokens of text whole events carried."""
    return answer.body.count(b'"delta":{"content":')


def test_refuse_by_header_closes_without_an_answer(engine: Served) -> None:
    with pytest.raises((ConnectionError, OSError)):
        engine.chat("refuse")


def test_refuse_closes_the_port_until_it_is_removed() -> None:
    with served(EngineConfig(models=("m",), latency=INSTANT), control_port=0) as two:
        control = two.running.control_port
        assert control is not None
        two.request("POST", "/simulate/fault", {"fault": "refuse"}, port=control)
        deadline = time.monotonic() + 5
        while True:
            try:
                two.chat()
            except ConnectionRefusedError:
                break
            except ConnectionError:
                pass
            assert time.monotonic() < deadline
        assert two.request("DELETE", "/simulate/fault", port=control).json() == {"removed": 1}
        time.sleep(0.2)
        assert two.chat().status == 200


def test_refuse_for_ever_needs_a_control_port(engine: Served) -> None:
    assert engine.request("POST", "/simulate/fault", {"fault": "refuse"}).status == 409
    assert engine.chat().status == 200


def test_flapping_goes_away_and_comes_back() -> None:
    with served(EngineConfig(models=("m",), latency=INSTANT)) as flapping:
        flapping.fault("flap;on=0.3;off=0.3")
        seen = set()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and len(seen) < 2:
            try:
                seen.add(flapping.request("GET", "/health").status)
            except ConnectionError:
                seen.add(0)
            time.sleep(0.02)
        assert seen == {0, 200}


@pytest.mark.parametrize("place", ["request", "headers", "token"])
def test_stall_for_a_time_goes_on_afterwards(engine: Served, place: str) -> None:
    begun = time.monotonic()
    for stream in (True, False):
        answer = engine.chat(f"stall;at={place};seconds=0.15", stream=stream)
        assert answer.status == 200
        assert answer.error is None
        assert answer.body.endswith(b"data: [DONE]\n\n") if stream else answer.json()
    assert 0.3 <= time.monotonic() - begun < 3


def test_a_stall_without_end_lasts_until_the_client_leaves() -> None:
    config = EngineConfig(models=("m",), latency=Latency(speed=100))
    with served(config) as stuck:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "x"}],
            "stream": True,
            "max_tokens": 9000,
        }
        raw = json.dumps({**body, "ignore_eos": True}).encode()
        client = socket.create_connection(("127.0.0.1", stuck.port))
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-simulate-fault: stall;after=2\r\n"
        client.sendall(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
        client.settimeout(0.3)
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
            pytest.fail("the stream ended")
        except TimeoutError:
            pass  # silence is what was asked for
        assert received.count(b'"delta":{"content":') == 2
        client.close()
        stuck.eventually(lambda: stuck.running.engine.running == 0)


def test_cut_after_the_headers(engine: Served) -> None:
    for stream in (True, False):
        answer = engine.chat("cut;at=headers", stream=stream)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.error is not None


def test_cut_after_tokens(engine: Served) -> None:
    answer = engine.chat("cut;after=3", stream=True)
    assert content(answer) == 3
    assert answer.error is not None
    assert answer.body.endswith(b"\n\n")


def test_cut_in_the_middle_of_an_event(engine: Served) -> None:
    answer = engine.chat("cut;at=event;after=2", stream=True)
    assert content(answer) in (2, 3)
    assert not answer.body.endswith(b"\n\n")
    assert answer.error is not None


def test_cut_before_the_end_mark(engine: Served) -> None:
    answer = engine.chat("cut;at=end", stream=True)
    assert b'"finish_reason":"stop"' in answer.body
    assert b"[DONE]" not in answer.body
    assert answer.error is not None


def test_cut_a_whole_answer_half_way(engine: Served) -> None:
    answer = engine.chat("cut")
    assert answer.error is not None
    assert 0 < len(answer.body) < int(answer.headers["content-length"])


def test_slow_keeps_to_its_rate(engine: Served) -> None:
    begun = time.monotonic()
    assert content(engine.chat("slow;rate=50", stream=True, max_tokens=11)) == 11
    assert 0.19 <= time.monotonic() - begun < 2
    begun = time.monotonic()
    assert engine.chat("slow;rate=50", max_tokens=10).status == 200
    assert 0.19 <= time.monotonic() - begun < 2


def test_slow_drips(engine: Served) -> None:
    begun = time.monotonic()
    answer = engine.chat("slow;drip=100;every=0.01", max_tokens=3)
    assert answer.json()["usage"]["completion_tokens"] == 3
    assert time.monotonic() - begun > 0.03


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("", {"type": "InternalServerError", "code": 500}),
        (";shape=vllm", {"type": "InternalServerError", "code": 500}),
        (";shape=openai", {"type": "server_error", "code": None}),
    ],
)
def test_an_error_in_a_stream(engine: Served, shape: str, expected: dict[str, object]) -> None:
    answer = engine.chat(f"error_in_stream;after=2{shape}", stream=True)
    error = next(event["error"] for event in answer.events() if "error" in event)
    assert {key: error[key] for key in expected} == expected
    assert (answer.status, answer.error, content(answer)) == (200, None, 2)
    first = engine.chat(f"error_in_stream;after=0{shape}", stream=True)
    assert "error" in first.events()[0]


def test_an_error_in_a_whole_answer_has_status_200(engine: Served) -> None:
    answer = engine.chat("error_in_stream")
    assert answer.status == 200
    assert answer.json()["error"]["code"] == 500


def test_wrong_json(engine: Served) -> None:
    for answer in (engine.chat("wrong_json"), engine.chat("wrong_json;after=2", stream=True)):
        assert answer.status == 200
        with pytest.raises(json.JSONDecodeError):
            answer.events() if b"data: " in answer.body else answer.json()


def test_html(engine: Served) -> None:
    answer = engine.chat("html;status=502")
    assert (answer.status, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<!doctype html>")
    assert engine.chat("html").status == 200


def test_empty_stream(engine: Served) -> None:
    answer = engine.chat("empty_stream", stream=True)
    assert (answer.status, answer.body, answer.error) == (200, b"", None)
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_no_finish_ends_properly_without_a_reason(engine: Served) -> None:
    whole = engine.chat().json()["usage"]["completion_tokens"]
    answer = engine.chat("no_finish", stream=True)
    assert content(answer) == whole
    assert (b"[DONE]" in answer.body, b'"finish_reason":"' in answer.body) == (False, False)
    assert answer.error is None
    assert content(engine.chat("no_finish;after=2", stream=True)) == 2


def test_a_huge_event_and_a_huge_body(engine: Served) -> None:
    answer = engine.chat("huge_event;size=3000000;after=1", stream=True)
    assert max(len(line) for line in answer.body.splitlines()) > 3_000_000
    assert answer.events()[-1] == "[DONE]"
    whole = engine.chat("huge_event;size=3000000")
    assert len(whole.body) > 3_000_000
    assert whole.json()["object"] == "chat.completion"


def test_a_status_with_headers_and_a_body(engine: Served) -> None:
    answer = engine.chat('status;status=429;header.retry-after=7;body={"error":"slow down"}')
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert answer.json() == {"error": "slow down"}
    assert engine.chat("status;status=529").status == 529
    assert engine.chat("status").json()["error"]["type"] == "InternalServerError"


def test_a_fault_that_is_none_is_refused(engine: Served) -> None:
    assert engine.chat("explode").status == 400
    assert engine.request("POST", "/simulate/fault", {"fault": "explode"}).status == 400
    assert engine.request("POST", "/simulate/fault", {"name": "cut", "after": "x"}).status == 400


def test_faults_are_set_listed_and_removed_at_run_time(engine: Served) -> None:
    installed = engine.request(
        "POST", "/simulate/fault", {"fault": "status;status=503;count=1;model=m"}
    ).json()
    other = engine.request("POST", "/simulate/fault", {"name": "html", "model": "other"}).json()
    try:
        assert [engine.chat().status for _ in range(2)] == [503, 200]
        assert engine.chat(model="other").body.startswith(b"<!doctype")
        listed = engine.request("GET", "/simulate/fault").json()["data"]
        assert [(item["id"], item["hits"], item["active"]) for item in listed] == [
            (installed["id"], 1, False),
            (other["id"], 1, True),
        ]
        assert engine.request("DELETE", f"/simulate/fault/{installed['id']}").json() == {"removed": 1}
        assert engine.request("DELETE", f"/simulate/fault/{installed['id']}").status == 404
    finally:
        engine.request("DELETE", "/simulate/fault")
    assert engine.request("GET", "/simulate/fault").json() == {"data": []}

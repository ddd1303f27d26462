"""Which path is which API, and how every error is told."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest
from tests.unit.gateway.stage import CHAT, DROP, HANG, ONE, TEXT_APIS, Stage, begun, completion, hello, staged

from fairlead import errors
from fairlead.errors import (
    FairleadError,
    MethodNotAllowed,
    Overloaded,
    RateLimited,
    Unauthenticated,
    UpstreamError,
)
from fairlead.gateway.routes import error_headers
from fairlead.providers.table import apis

KEYS = ONE.replace("required: false", "required: true")
WILD = ONE.replace(
    "models: {m:", 'models: {"open/*": {targets: [{provider: a}]}, "big/one": {targets: [{provider: a}]}, m:'
)


def lines(block: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in block.decode().split("\r\n") if line)  # type: ignore[misc]


# --- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/admin/v1/targets", 200),
        ("DELETE", "/admin/v1/keys/1", 200),
        ("GET", "/", 200),
        ("GET", "/nothing", 404),
        ("GET", "/v1", 404),
        ("GET", "/admin", 404),
        ("GET", "/V1/models", 404),
        ("GET", "//v1/models", 404),
        ("POST", "/nothing", 404),
        ("POST", "/healthz", 405),
        ("POST", "/v1/models", 405),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/messages", 405),
        ("OPTIONS", CHAT, 405),
        ("PUT", "/v1/files", 404),
        ("OPTIONS", "*", 404),
    ],
)
@staged()
async def test_paths_and_methods(stage: Stage, method: str, path: str, status: int) -> None:
    stage.page_of["/"] = (b"text/html", b"<html>")
    person = stage.connect()
    person.get(path, method=method)
    await stage.settle()
    head = person.raw.split(b"\r\n")[0]
    assert int(head.split()[1]) == status
    if status == 405:
        assert "allow" in person.last.headers


@staged()
async def test_not_ready_is_told_with_its_reason(stage: Stage) -> None:
    stage.not_ready = "API keys have not been loaded yet"
    person = stage.connect()
    person.get("/readyz")
    await stage.settle()
    assert (person.last.status, person.last.body) == (503, b"API keys have not been loaded yet\n")


@staged()
async def test_pages_are_sent_with_headers_that_protect_them(stage: Stage) -> None:
    stage.page_of["/app.js"] = (b"text/javascript", b"1")
    person = stage.connect()
    person.get("/app.js")
    await stage.settle()
    assert person.last.headers["content-type"] == "text/javascript"
    assert "frame-ancestors 'none'" in person.last.headers["content-security-policy"]
    assert person.last.headers["x-content-type-options"] == "nosniff"


# --- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/m", 200),
        ("/v1/models/big/one", 200),
        ("/v1/models/big%2Fone", 200),
        ("/v1/models/open/anything", 200),
        ("/v1/models/nobody", 404),
        ("/v1/models/%ff%fe", 404),
        ("/v1/models/%ed%a0%80", 404),
        ("/v1/models/%00%0d%0ax-evil:1", 404),
        ("/v1/models/" + "x" * 5000, 404),
    ],
)
@staged(WILD)
async def test_one_model(stage: Stage, path: str, status: int) -> None:
    person = stage.connect()
    person.get(path)
    await stage.settle()
    assert person.last.status == status
    assert "x-evil" not in person.last.headers


@staged(WILD.replace("required: false", "required: true"))
async def test_a_key_sees_only_its_models(stage: Stage) -> None:
    key = stage.key(models=("m", "open/*"))
    person = stage.connect()
    for path in ("/v1/models", "/v1/models/big/one", "/v1/models/open/x"):
        person.get(path, authorization=f"Bearer {key.secret}")
        await stage.settle()
    assert [entry["id"] for entry in json.loads(person.answers[0].body)["data"]] == ["m"]
    assert person.statuses == [200, 404, 200]
    stage.change(key, revoked_at=1.0)
    person.get("/v1/models", authorization=f"Bearer {key.secret}")
    await stage.settle()
    assert person.last.status == 401


@staged(WILD)
async def test_the_list_comes_in_the_dialect_of_who_asks(stage: Stage) -> None:
    person = stage.connect()
    person.get("/v1/models")
    person.get("/v1/models", anthropic_version="2023-06-01")
    await stage.settle()
    ours, theirs = (json.loads(answer.body) for answer in person.answers)
    assert ours["object"] == "list"
    assert (theirs["first_id"], theirs["last_id"], theirs["has_more"]) == ("big/one", "m", False)


# --- bodies before keys -------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["65537", "999999", "0099999"])
@staged(KEYS)
async def test_large_bodies_are_read_only_for_those_who_may_send_them(stage: Stage, length: str) -> None:
    person = stage.connect()
    person.send(f"POST {CHAT} HTTP/1.1\r\nhost: g\r\ncontent-length: {length}\r\n\r\n".encode() + b"x")
    await stage.settle()
    assert person.last.status == 401
    assert person.closed


@staged(KEYS)
async def test_a_body_of_unknown_length_is_read_only_for_those_who_may_send_it(stage: Stage) -> None:
    person = stage.connect()
    person.send(f"POST {CHAT} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n5\r\n".encode())
    await stage.settle()
    assert person.last.status == 401


@pytest.mark.parametrize("path", [*apis(), "/v1/files", "/admin/v1/keys"])
@staged(ONE + "server: {max_body_bytes: 2048, max_upload_bytes: 2048}")
async def test_bodies_are_bounded(stage: Stage, path: str) -> None:
    person = stage.connect()
    size = 2049 if not path.startswith("/admin") else 1024 * 1024 + 1
    person.send(f"POST {path} HTTP/1.1\r\nhost: g\r\ncontent-length: {size}\r\n\r\n".encode())
    await stage.settle()
    assert person.last.status == 413


# --- errors -------------------------------------------------------------------------------------


def test_an_error_says_when_to_come_back_and_whether_to() -> None:
    told = lines(error_headers(Overloaded(retry_after_s=1.2)))
    assert (told["retry-after"], told["retry-after-ms"]) == ("2", "1200")
    assert "x-should-retry" not in told
    assert lines(error_headers(Overloaded(retry_after_s=1.2), tried=2))["x-should-retry"] == "false"
    assert lines(error_headers(UpstreamError()))["x-should-retry"] == "false"
    assert lines(error_headers(RateLimited(retry_after_s=1e9)))["retry-after"] == "60"
    assert "retry-after" not in lines(error_headers(Unauthenticated(retry_after_s=5)))
    assert lines(error_headers(Unauthenticated()))["www-authenticate"] == "Bearer"
    assert lines(error_headers(MethodNotAllowed(allow=("GET", "HEAD"))))["allow"] == "GET, HEAD"


@pytest.mark.parametrize("wait_s", [0.0, 1e-9, math.inf, 1e308])
def test_any_wait_can_be_told(wait_s: float) -> None:
    told = lines(error_headers(Overloaded(retry_after_s=wait_s)))
    assert 0 <= int(told["retry-after"]) <= 60


def _all(kind: type[FairleadError]) -> list[type[FairleadError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in _all(sub))]


@pytest.mark.parametrize("path", TEXT_APIS)
def test_every_error_has_words_in_every_dialect(path: str) -> None:
    dialect = apis()[path].dialect
    for kind in _all(FairleadError):
        if kind.__module__ == errors.__name__:
            error = kind("odd \u2028 \x00 message\r\n\r\ndata: [DONE]\r\n\r\n")
            error.param = "a\r\nb"
            told = json.loads(dialect.error_body(error, "req_1"))["error"]
            # Why a grant is refused is for the audit alone.
            assert told["message"].startswith("odd") or kind is errors.GrantRefused
            event = dialect.error_event(error, "req_1")
            assert event.endswith(b"\n\n")
            assert b"\ndata: [DONE]\r" not in event  # nothing of the message is an event of its own


@pytest.mark.parametrize("anthropic", [False, True])
@staged(KEYS)
async def test_every_answer_has_an_id_and_echoes_the_clients(stage: Stage, anthropic: bool) -> None:
    headers = {"anthropic-version": "2023-06-01"} if anthropic else {}
    path = "/v1/messages" if anthropic else CHAT
    person = await stage.ask(hello(), path, headers={"x-client-request-id": "abc", **headers})
    assert person.last.status == 401
    told = person.last.headers
    assert told["x-request-id"] == told["request-id"]
    assert told["x-client-request-id"] == "abc"
    assert ("type" in json.loads(person.last.body)) == anthropic


@pytest.mark.parametrize("value", [b"a\tb", b"\xff\xfe", b"x" * 4000, b"a: b; c", b"\xe2\x80\xa8"])
@staged()
async def test_an_echoed_id_is_one_line_whatever_it_is(stage: Stage, value: bytes) -> None:
    stage.network.plan("a.test", completion())
    body = json.dumps(hello()).encode()
    person = stage.connect()
    person.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n"
        b"x-client-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (value, len(body)) + body
    )
    await stage.settle()
    assert person.statuses == [200]
    assert person.last.headers["x-client-request-id"] == value[:512].decode("latin-1")


@staged()
async def test_a_defect_is_told_as_one_and_logged_with_its_traceback(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(body: bytes) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("fairlead.gateway.pipeline.read_head", broken)
    with caplog.at_level(logging.ERROR):
        person = await stage.ask(hello())
    assert person.last.status == 500
    assert "defect" not in person.last.body.decode()
    (entry,) = caplog.records
    assert entry.exc_info is not None
    record = await stage.record()
    assert (record.status, record.error) == (500, "internal_error")


@staged()
async def test_verbatim_answers_that_break_end_improperly(stage: Stage) -> None:
    person = await stage.ask({"model": "m", "input": "x", "voice": "y"}, "/v1/audio/speech")
    stage.network.peers[0].send(
        b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 100\r\n\r\nID3", DROP
    )
    await stage.settle()
    assert person.last.headers["content-type"] == "audio/mpeg"
    assert not person.last.complete
    assert person.closed


@staged()
async def test_requests_under_way_finish_on_the_configuration_they_began_with(stage: Stage) -> None:
    stage.network.plan("a.test", HANG)
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a"))
    await stage.settle()
    stage.reload(ONE.replace("a.test", "b.test").replace("{m: {", "{n: {"))
    stage.network.peers[0].send(DROP)
    await stage.settle()
    assert any("error" in event for event in person.events)
    assert (await stage.ask(hello())).last.status == 404
    stage.network.plan("b.test", completion())
    assert (await stage.ask(hello(model="n"))).statuses == [200]

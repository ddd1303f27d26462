"""Uploads and stored objects go through untouched, and only where their key may reach."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.gateway.stage import DROP, ONE, Person, Stage, completion, hello, staged

from fairlead.gateway.health import BreakerState
from fairlead.testing import answer
from fairlead.types import Outcome

KEYS = ONE.replace("required: false", "required: true")
TWO_PROVIDERS = """\
auth: {required: false}
providers:
  claude: {type: anthropic, base_url: "http://c.test/v1", api_key: "env:K"}
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  b: {type: openai-compatible, base_url: "http://b.test/v1"}
models:
  m: {targets: [{provider: claude}, {provider: a, model: whisper-x}, {provider: b, priority: 1}]}
  claude-only: {targets: [{provider: claude}]}
"""
SPEECH = "/v1/audio/transcriptions"
FORM = {"content-type": "multipart/form-data; boundary=xyz"}
IMPATIENT = {"x-stainless-read-timeout": "0.000001"}


def form(model: str = "m", size: int = 10, *, model_first: bool = True) -> bytes:
    """A multipart form with a file."""
    fields = [
        b'content-disposition: form-data; name="model"\r\n\r\n' + model.encode(),
        b'content-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"x" * size,
    ]
    if not model_first:
        fields.reverse()
    return b"".join(b"--xyz\r\n" + field + b"\r\n" for field in fields) + b"--xyz--\r\n"


def chunked(person: Person, path: str, *pieces: bytes) -> None:
    """A POST in chunks."""
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\ntransfer-encoding: chunked\r\n"
    head += f"content-type: {FORM['content-type']}\r\n\r\n"
    person.send(head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))


# --- forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_first", [True, False])
@staged(TWO_PROVIDERS)
async def test_a_forms_model_is_replaced_and_all_else_is_untouched(stage: Stage, model_first: bool) -> None:
    stage.network.plan("a.test", answer(b'{"text":"Hello"}'))
    person = await stage.ask(form(model_first=model_first), SPEECH, headers=FORM)
    assert (person.statuses, person.last.body) == ([200], b'{"text":"Hello"}')
    (request,) = stage.network.requests
    assert request.body == form("whisper-x", model_first=model_first)
    assert request.target == SPEECH
    assert request.headers[b"content-length"] == b"%d" % len(request.body)
    record = await stage.record()
    assert (record.outcome, record.model, record.bytes_in) == (Outcome.OK, "m", len(request.body))
    assert [attempt.target for attempt in record.attempts] == ["a/whisper-x"]


@staged(TWO_PROVIDERS)
async def test_a_form_in_chunks_stays_in_chunks(stage: Stage) -> None:
    stage.network.plan("a.test", answer(b"{}"))
    person = stage.connect()
    whole = form(size=1000)
    chunked(person, SPEECH, whole[:20], whole[20:300], whole[300:])
    await stage.settle()
    assert not stage.network.requests
    person.send(b"0\r\n\r\n")
    await stage.settle()
    assert person.statuses == [200]
    assert stage.network.requests[0].body == form("whisper-x", 1000)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"content-type": "application/json"}, 400),
        (form("nobody-knows"), FORM, 404),
        (b"--xyz\r\n\r\nx\r\n--xyz--\r\n", FORM, 400),
        (b"nothing of the kind", FORM, 400),
        (form("claude-only"), FORM, 400),
        (form("m\r\nx-evil: 1"), FORM, 404),
        (form("\ud800".encode("utf-8", "surrogatepass").decode("latin-1")), FORM, 404),
    ],
    ids=["json", "unknown model", "no model", "no form", "no such API", "line ends", "surrogate"],
)
@staged(TWO_PROVIDERS)
async def test_forms_that_cannot_be_sent_on_are_refused(
    stage: Stage, body: bytes, headers: dict[str, str], status: int
) -> None:
    person = await stage.ask(body, SPEECH, headers=headers)
    assert person.last.status == status
    assert not stage.network.requests
    assert (await stage.record()).outcome is Outcome.REFUSED


@staged(TWO_PROVIDERS)
async def test_a_target_without_connection_hands_the_form_to_the_next(stage: Stage) -> None:
    stage.network.refusing.add("a.test")
    stage.network.plan("b.test", answer(b"{}"))
    person = await stage.ask(form(), SPEECH, headers=FORM)
    assert person.statuses == [200]
    assert stage.network.requests[0].body == form("m")
    record = await stage.record()
    assert [attempt.target for attempt in record.attempts] == ["a/whisper-x", "b/*"]


@staged(TWO_PROVIDERS)
async def test_a_form_that_was_sent_is_not_sent_again(stage: Stage) -> None:
    stage.network.plan("a.test", (DROP,))
    person = await stage.ask(form(), SPEECH, headers=FORM)
    assert person.last.status == 502
    assert stage.network.asked() == ["a.test"]


@staged(TWO_PROVIDERS)
async def test_when_nobody_can_be_reached_the_client_may_come_back(stage: Stage) -> None:
    stage.network.refusing |= {"a.test", "b.test"}
    person = await stage.ask(form(), SPEECH, headers=FORM)
    assert person.last.status == 503
    for name in ("a/whisper-x", "b/*"):
        for _ in range(5):
            target = stage.target(name)
            failure = target.breaker.last_failure
            assert failure is not None
            target.breaker.fail(failure, 1e9)
    person = await stage.ask(form(), SPEECH, headers=FORM)
    assert person.last.status == 503
    assert "retry-after" in person.last.headers


# --- whose fault it is --------------------------------------------------------------------------

STRICT = TWO_PROVIDERS + "outages: {breaker: {failures: 2}}\n"


@staged(STRICT)
async def test_successes_in_between_keep_the_breaker_closed(stage: Stage) -> None:
    breaker = stage.target("a/whisper-x").breaker
    for _ in range(4):
        stage.network.plan("a.test", answer(b"{}"))
        assert (await stage.ask(form(), SPEECH, headers=FORM)).statuses == [200]
        stage.client.sweep(0)
        for peer in stage.network.peers:
            peer.drop()  # so that the next one is no pooled connection
        await stage.settle()
        stage.network.plan("a.test", (DROP,))
        assert (await stage.ask(form(), SPEECH, headers=FORM)).last.status == 502
    assert breaker.state is BreakerState.CLOSED
    stage.network.plan("a.test", (DROP,))
    await stage.ask(form(), SPEECH, headers=FORM)
    assert breaker.state is BreakerState.OPEN


@staged(STRICT.replace("failures: 2", "failures: 1"))
async def test_a_trial_that_succeeds_closes_the_breaker(stage: Stage) -> None:
    breaker = stage.target("a/whisper-x").breaker
    stage.network.plan("a.test", (DROP,))
    await stage.ask(form(), SPEECH, headers=FORM)
    breaker.probe_succeeded()
    stage.network.plan("a.test", answer(b"{}"))
    assert (await stage.ask(form(), SPEECH, headers=FORM)).statuses == [200]
    assert breaker.state is BreakerState.CLOSED


@staged(STRICT.replace("failures: 2", "failures: 1"))
async def test_a_client_that_does_not_wait_is_nobodys_fault(stage: Stage) -> None:
    stage.network.plan("a.test", answer(b"{}"))
    await stage.ask(form(), SPEECH, headers=FORM)
    person = await stage.ask(form(), SPEECH, headers={**FORM, **IMPATIENT})
    await stage.overdue()
    assert person.last.status == 504
    assert stage.target("a/whisper-x").breaker.state is BreakerState.CLOSED


@staged(STRICT.replace("failures: 2", "failures: 1"))
async def test_a_pooled_connection_that_was_closed_meanwhile_is_nobodys_fault(stage: Stage) -> None:
    stage.network.plan("a.test", answer(b"{}"), (DROP,))
    await stage.ask(form(), SPEECH, headers=FORM)
    assert (await stage.ask(form(), SPEECH, headers=FORM)).last.status == 502
    assert stage.target("a/whisper-x").breaker.state is BreakerState.CLOSED


@staged(STRICT.replace("failures: 2", "failures: 1"))
async def test_errors_of_the_upstream_come_back_as_they_are(stage: Stage) -> None:
    stage.network.plan("a.test", answer(b'{"error":"odd"}', status=500, headers=["retry-after: 7"]))
    person = await stage.ask(form(), SPEECH, headers=FORM)
    assert (person.last.status, person.last.body) == (500, b'{"error":"odd"}')
    assert (await stage.record()).outcome is Outcome.UPSTREAM_REFUSED
    assert stage.target("a/whisper-x").breaker.state is BreakerState.CLOSED


# --- departures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 30, 200])
@staged(TWO_PROVIDERS)
async def test_a_client_may_leave_in_the_middle_of_its_form(stage: Stage, sent: int) -> None:
    person = stage.connect()
    chunked(person, SPEECH, *([form(size=500)[:sent]] if sent else []))
    await stage.settle()
    person.leave()
    await stage.settle()
    assert all(peer.closed for peer in stage.network.peers)
    assert (await stage.record()).outcome is Outcome.CLIENT_GONE


@staged(TWO_PROVIDERS)
async def test_a_client_may_leave_in_the_middle_of_the_answer(stage: Stage) -> None:
    person = await stage.ask(form(), SPEECH, headers=FORM)
    stage.network.peers[0].send(answer(b"x" * 100)[:-50])
    await stage.settle()
    person.leave()
    assert stage.network.peers[0].closed
    assert (await stage.record()).outcome is Outcome.CLIENT_GONE


@staged(TWO_PROVIDERS)
async def test_an_answer_that_is_cut_is_cut_for_the_client_too(stage: Stage) -> None:
    person = await stage.ask(form(), SPEECH, headers=FORM)
    stage.network.peers[0].send(answer(b"x" * 100)[:-50], DROP)
    await stage.settle()
    assert person.closed
    assert not person.last.complete
    record = await stage.record()
    assert record.error == "upstream_cut"
    assert len(record.attempts) == 1


@staged(TWO_PROVIDERS)
async def test_a_broken_body_breaks_the_request_upstream_too(stage: Stage) -> None:
    person = stage.connect()
    chunked(person, SPEECH, form(size=500)[:-100])
    await stage.settle()
    person.send(b"zz\r\n")
    await stage.settle()
    assert person.last.status == 400
    assert stage.network.peers[0].closed
    assert not stage.network.requests
    assert stage.target("a/whisper-x").breaker.state is BreakerState.CLOSED


# --- stored objects -----------------------------------------------------------------------------


@staged(TWO_PROVIDERS)
async def test_stored_objects_go_to_the_first_provider_that_has_them_or_the_one_named(stage: Stage) -> None:
    stage.network.plan("a.test", answer(b"one"))
    stage.network.plan("b.test", answer(b"two", content_type="text/plain"))
    person = stage.connect()
    person.get("/v1/files/file-1/content?x=1", range="bytes=0-9")
    await stage.settle()
    person.get("/v1/files/file-1", method="DELETE", x_fairlead_provider="b")
    await stage.settle()
    assert [answer.body for answer in person.answers] == [b"one", b"two"]
    first, second = stage.network.requests
    assert (first.method, first.target) == ("GET", "/v1/files/file-1/content?x=1")
    assert first.headers[b"range"] == b"bytes=0-9"
    assert (second.method, second.host) == ("DELETE", "b.test")


@pytest.mark.parametrize("name", ["claude", "nobody", "\xff", "a b"])
@staged(TWO_PROVIDERS)
async def test_a_provider_without_the_api_is_not_found(stage: Stage, name: str) -> None:
    person = stage.connect()
    person.send(
        b"GET /v1/files HTTP/1.1\r\nhost: g\r\nx-fairlead-provider: %b\r\n\r\n" % name.encode("latin-1")
    )
    await stage.settle()
    assert person.last.status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/../chat/completions",
        "/v1/files/..",
        "/v1/files/./x",
        "/v1/files/%2e%2e/chat/completions",
        "/v1/files/.%2E/organization/admin_api_keys",
        "/v1/files/x%2f..%2f..%2fmodels",
        "/v1/files/..%5cmodels",
        "/v1/files/..;/models",
        "/v1/batches/../../admin",
        "/v1/responses/../files",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@staged(KEYS)
async def test_a_key_for_files_reaches_nothing_beside_them(stage: Stage, path: str, method: str) -> None:
    key = stage.key(endpoints=("files", "batches", "responses"))
    person = stage.connect()
    person.get(path, method=method, authorization=f"Bearer {key.secret}")
    await stage.settle()
    assert person.last.status == 404
    assert not stage.network.requests


@staged(KEYS)
async def test_names_with_dots_are_just_names(stage: Stage) -> None:
    key = stage.key()
    stage.network.plan("a.test", answer(b"{}"))
    person = stage.connect()
    person.get("/v1/files/a..b.jsonl", authorization=f"Bearer {key.secret}")
    await stage.settle()
    assert person.statuses == [200]


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({}, 200),
        ({"endpoints": ("files",)}, 200),
        ({"endpoints": ("chat",)}, 403),
        ({"models": ("m",)}, 403),
        ({"ip_ranges": ("10.0.0.0/8",)}, 403),
    ],
)
@staged(KEYS)
async def test_scopes_hold_for_stored_objects(stage: Stage, scope: dict[str, Any], status: int) -> None:
    key = stage.key(**scope)
    stage.network.plan("a.test", answer(b"{}"))
    person = stage.connect()
    person.get("/v1/files", authorization=f"Bearer {key.secret}")
    await stage.settle()
    assert person.last.status == status
    assert len(stage.network.requests) == (status == 200)


@staged(KEYS)
async def test_scopes_hold_for_the_model_of_a_form(stage: Stage) -> None:
    key = stage.key(models=("other",))
    person = await stage.ask(form("m"), SPEECH, headers=FORM, key=key.secret)
    assert person.last.status == 403
    assert not stage.network.requests


@staged(KEYS)
async def test_an_upload_without_a_key_is_not_read(stage: Stage) -> None:
    person = stage.connect()
    person.send(b"POST /v1/files HTTP/1.1\r\nhost: g\r\ncontent-length: 100000\r\n\r\n" + b"x" * 10)
    await stage.settle()
    assert person.last.status == 401
    assert person.closed


@staged(KEYS)
async def test_the_clients_key_and_cookies_stay_here(stage: Stage) -> None:
    key = stage.key()
    stage.network.plan("a.test", answer(b"{}"), completion())
    person = stage.connect()
    person.get("/v1/files", authorization=f"Bearer {key.secret}", cookie="session=1", x_custom="1")
    await stage.settle()
    person.post(hello(), key=key.secret, headers={"cookie": "session=1"})
    await stage.settle()
    assert person.statuses == [200, 200]
    for request in stage.network.requests:
        sent = json.dumps({name.decode(): value.decode() for name, value in request.headers.items()})
        assert key.secret not in sent
        assert b"cookie" not in request.headers
        assert b"x-custom" not in request.headers

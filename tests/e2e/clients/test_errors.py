"""What goes wrong: the SDKs' own exception classes, their retries, request ids and time-outs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.e2e.clients.canned import Canned
from tests.e2e.clients.conftest import STATUSES
from tests.e2e.gateway import EngineProcess, GatewayProcess

# Trouble with the gateway's own credential (401, 403) is not the client's, so it is a 502.
OPENAI_CLASSES: dict[int, tuple[type[openai.APIStatusError], int]] = {
    400: (openai.BadRequestError, 400),
    401: (openai.InternalServerError, 502),
    403: (openai.InternalServerError, 502),
    404: (openai.NotFoundError, 404),
    429: (openai.RateLimitError, 429),
    500: (openai.InternalServerError, 502),
    503: (openai.InternalServerError, 503),  # Anthropic's own code for it is 529
}
ANTHROPIC_CLASSES: dict[int, tuple[type[anthropic.APIStatusError], int, str]] = {
    400: (anthropic.BadRequestError, 400, "invalid_request_error"),
    401: (anthropic.InternalServerError, 502, "api_error"),
    403: (anthropic.InternalServerError, 502, "api_error"),
    404: (anthropic.NotFoundError, 404, "not_found_error"),
    429: (anthropic.RateLimitError, 429, "rate_limit_error"),
    500: (anthropic.InternalServerError, 502, "api_error"),
    503: (anthropic.InternalServerError, 503, "overloaded_error"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", STATUSES)
def test_openai_classes(openai_client: openai.OpenAI, model: str, status: int, stream: bool) -> None:
    expected, shown = OPENAI_CLASSES[500 if (status, model) == (503, "anthropic") else status]
    with pytest.raises(expected) as caught:
        openai_client.chat.completions.create(
            model=f"{status}/{model}", messages=[{"role": "user", "content": "Hello"}], stream=stream
        )
    error = caught.value
    assert error.status_code == shown
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    assert isinstance(error.body, dict)
    assert {"message", "type", "param", "code"} <= error.body.keys()
    assert error.body["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", STATUSES)
def test_anthropic_classes(
    anthropic_client: anthropic.Anthropic, model: str, status: int, stream: bool
) -> None:
    expected, shown, kind = ANTHROPIC_CLASSES[500 if (status, model) == (503, "anthropic") else status]
    with pytest.raises(expected) as caught:
        anthropic_client.messages.create(
            model=f"{status}/{model}",
            max_tokens=10,
            messages=[{"role": "user", "content": "Hello"}],
            stream=stream,
        )
    error = caught.value
    assert error.status_code == shown
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    assert isinstance(error.body, dict)
    assert error.body["type"] == "error"
    assert error.body["error"]["type"] == kind
    assert error.body["error"]["message"]


def test_the_gateways_own_refusals(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, gateway: GatewayProcess
) -> None:
    with pytest.raises(openai.NotFoundError, match="no route serves the model `nowhere`") as missing:
        openai_client.chat.completions.create(model="nowhere", messages=[{"role": "user", "content": "Hi"}])
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(anthropic.NotFoundError, match="no route serves"):
        anthropic_client.messages.create(
            model="nowhere", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]
        )

    nobody: Any = [{"role": "nobody", "content": "Hi"}]
    with pytest.raises(openai.BadRequestError) as broken:
        openai_client.chat.completions.create(model="anthropic", messages=nobody)
    assert broken.value.param is not None
    assert broken.value.param.startswith("messages")
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        anthropic_client.messages.create(model="gemini", max_tokens=1, messages=nobody)

    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.models.list()
    assert "wrong" not in str(refused.value)
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="wrong", max_retries=0) as claude,
        pytest.raises(anthropic.AuthenticationError) as denied,
    ):
        claude.messages.create(model="openai", max_tokens=1, messages=[{"role": "user", "content": "Hi"}])
    assert denied.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]

    narrow = gateway.key("--models", "gemini", "--endpoints", "chat")
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=narrow, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="openai", messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.PermissionDeniedError):
            client.embeddings.create(model="gemini", input="Hi")


def test_bearer_tokens_and_both_key_headers_work(gateway: GatewayProcess) -> None:
    with anthropic.Anthropic(
        base_url=gateway.url, auth_token=gateway.admin_key, api_key=None, max_retries=0
    ) as client:
        answer = client.messages.create(
            model="openai", max_tokens=20, messages=[{"role": "user", "content": "say exactly: in"}]
        )
    assert answer.content[0].text == "in"  # type: ignore[union-attr]


# --- retries --------------------------------------------------------------------------------------


def test_an_exhausted_gateway_tells_the_sdk_not_to_try_again(gateway: GatewayProcess, canned: Canned) -> None:
    canned.answer("/v1/chat/completions", {"error": {"message": "broken"}}, status=500)
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=2) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="canned/x", messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(canned.received) == 4, "the gateway's attempts, made once and not three times"
    ids = {received.headers["x-request-id"] for received in canned.received}
    assert ids == {caught.value.request_id}


def test_what_the_client_did_wrong_is_asked_once(gateway: GatewayProcess, canned: Canned) -> None:
    error = {"error": {"message": "no", "type": "invalid_request_error", "param": "top_p", "code": "bad"}}
    canned.answer("/v1/chat/completions", error, status=400)
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=2) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.chat.completions.create(model="canned/x", messages=[{"role": "user", "content": "Hi"}])
    assert len(canned.received) == 1
    assert caught.value.body == error["error"]
    assert (caught.value.param, caught.value.code) == ("top_p", "bad")


def test_a_wait_that_is_too_long_for_the_gateway_is_the_sdks_to_make(
    gateway: GatewayProcess, canned: Canned
) -> None:
    """Beyond `max_retry_after_s` the gateway hands the upstream's wait on, and the SDK keeps to it."""
    canned.answer(
        "/v1/chat/completions",
        {"error": {"message": "slow down"}},
        status=429,
        headers={"retry-after": "30"},
    )
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="limited", messages=[{"role": "user", "content": "Hi"}])
        assert len(canned.received) == 1
        assert caught.value.response.headers["retry-after"] == "30"
        assert "x-should-retry" not in caught.value.response.headers


def test_who_comes_while_an_upstream_is_left_alone_hears_the_same(
    gateway: GatewayProcess, canned: Canned
) -> None:
    canned.answer(
        "/v1/chat/completions",
        {"error": {"message": "slow down"}},
        status=429,
        headers={"retry-after": "30"},
    )
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(openai.APIStatusError) as caught:
                client.chat.completions.create(model="paused", messages=[{"role": "user", "content": "Hi"}])
    assert len(canned.received) == 1
    assert isinstance(caught.value, openai.RateLimitError), "not an outage: a limit"
    assert 25 <= int(caught.value.response.headers["retry-after"]) <= 30


def test_the_sdk_waits_when_the_gateway_did_not(gateway: GatewayProcess, canned: Canned) -> None:
    """A wait that the gateway made itself, and in vain, is not made again by the SDK."""
    canned.answer(
        "/v1/chat/completions",
        {"error": {"message": "slow down"}},
        status=429,
        headers={"retry-after-ms": "50"},
    )
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=2) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="impatient", messages=[{"role": "user", "content": "Hi"}])
    assert len(canned.received) == 4, "the gateway's attempts, made once and not three times"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.headers["retry-after"] == "1"


# --- ids and time ---------------------------------------------------------------------------------


def test_request_ids(
    openai_client: openai.OpenAI,
    anthropic_client: anthropic.Anthropic,
    gateway: GatewayProcess,
    model: str,
) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": "Hello"}],
        extra_headers={"x-client-request-id": "mine-1"},
    )
    assert raw.headers["x-client-request-id"] == "mine-1"
    parsed = raw.parse()
    assert parsed._request_id == raw.request_id == raw.headers["x-request-id"]
    message = anthropic_client.messages.create(
        model=model, max_tokens=10, messages=[{"role": "user", "content": "Hello"}]
    )
    with openai_client.chat.completions.with_streaming_response.create(
        model=model, messages=[{"role": "user", "content": "Hello"}], stream=True
    ) as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        lines = list(streamed.iter_lines())
    assert lines[-2 if lines[-1] == "" else -1] == "data: [DONE]"

    for request_id, endpoint in (
        (raw.request_id, "chat"),
        (message._request_id, "messages"),
        (streamed.headers["x-request-id"], "chat"),
    ):
        assert request_id is not None
        record = gateway.record(request_id)
        assert (record["endpoint"], record["model"], record["status"]) == (endpoint, model, 200)


def test_the_clients_time_out_bounds_the_gateway(
    gateway: GatewayProcess, async_openai: Callable[[], openai.AsyncOpenAI], canned: Canned
) -> None:
    """The SDK says how long it waits. Nobody answers it later, nor asks the upstream again."""
    canned.answer("/v1/chat/completions", {}, delay_s=3.0)
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
    with openai.OpenAI(
        base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0, timeout=0.5
    ) as client:
        started = time.monotonic()
        with pytest.raises((openai.APITimeoutError, openai.InternalServerError)):
            client.chat.completions.create(model="canned/slow", messages=messages)
        assert time.monotonic() - started < 1.5

        # The gateway's own deadline, told by a client that then waits longer.
        with pytest.raises(openai.InternalServerError) as late:
            client.with_options(timeout=5).chat.completions.create(
                model="canned/slow", messages=messages, extra_headers={"x-stainless-read-timeout": "0.3"}
            )
    assert late.value.status_code == 504
    assert late.value.response.headers["x-should-retry"] == "false"
    assert len(canned.received) == 2


def test_a_stream_that_breaks_raises(
    gateway: GatewayProcess,
    engines: dict[str, EngineProcess],
    openai_client: openai.OpenAI,
    anthropic_client: anthropic.Anthropic,
    async_openai: Callable[[], openai.AsyncOpenAI],
    model: str,
) -> None:
    """Never a silent truncation: the SDKs raise, whatever the upstream's dialect."""
    engine = engines["openai" if model == "engine" else model]
    engine.fault("cut;after=3")
    try:
        received = []
        with pytest.raises(openai.APIError) as broken:
            received += list(
                openai_client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": "say exactly: one two three four five six"}],
                    stream=True,
                )
            )
        assert broken.value.message
        with (
            pytest.raises(anthropic.APIStatusError) as cut,
            anthropic_client.messages.stream(
                model=model,
                max_tokens=100,
                messages=[{"role": "user", "content": "say exactly: one two three four five six"}],
            ) as stream,
        ):
            for _ in stream:
                pass
        assert cut.value.body["error"]["type"] == "api_error"  # type: ignore[index]
        with pytest.raises(openai.APIError):
            for _ in openai_client.responses.create(
                model=model, input="say exactly: one two three four five six", stream=True
            ):
                pass

        async def scenario() -> None:
            async with async_openai() as client:
                stream = await client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": "say exactly: one two three four five six"}],
                    stream=True,
                )
                with pytest.raises(openai.APIError):
                    async for _ in stream:
                        pass

        asyncio.run(scenario())
    finally:
        engine.mend()

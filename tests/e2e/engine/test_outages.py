"""What a real engine sees of clients that leave, and what clients see of an engine that dies."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from tests.e2e.engine.make_models import ANSWER
from tests.e2e.engine.server import RealEngine
from tests.e2e.gateway import GatewayProcess, start_gateway

pytestmark = pytest.mark.engine

ENDLESS = 50_000
"""Tokens that take this engine minutes."""
QUESTION = "When does the ship leave?"


def is_busy(engine: RealEngine, wait_s: float) -> bool:
    """Whether the engine leaves another request for `talker` waiting: it works on one at a time."""
    with openai.OpenAI(base_url=engine.base_url, api_key="none", max_retries=0, timeout=wait_s) as direct:
        try:
            direct.chat.completions.create(
                model="talker",
                messages=[{"role": "user", "content": QUESTION}],
                max_tokens=1,
            )
        except openai.APITimeoutError:
            return True
    return False


def in_chat(gateway: GatewayProcess, model: str, during: Callable[[], None]) -> None:
    """Begin a chat, do `during`, leave."""
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0) as client,
        client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=ENDLESS,
            stream=True,
        ) as stream,
    ):
        assert len(list(itertools.islice(stream, 5))) == 5
        during()


def in_messages(gateway: GatewayProcess, model: str, during: Callable[[], None]) -> None:
    """Begin a message, do `during`, leave."""
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=gateway.admin_key, max_retries=0) as client,
        client.messages.create(
            model=model,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=ENDLESS,
            stream=True,
        ) as stream,
    ):
        assert len(list(itertools.islice(stream, 5))) == 5
        during()


@pytest.mark.parametrize(("streaming", "model"), [(in_chat, "left-1"), (in_messages, "left-2")])
def test_the_engine_stops_when_the_client_leaves(
    engine: RealEngine,
    gateway: GatewayProcess,
    streaming: Callable[[GatewayProcess, str, Callable[[], None]], None],
    model: str,
) -> None:
    assert not is_busy(engine, 30)
    busy: list[bool] = []
    streaming(gateway, model, lambda: busy.append(is_busy(engine, 1.0)))
    assert busy == [True]
    assert not is_busy(engine, 10)
    (record, *_) = gateway.requests(1, model=model)
    assert record["outcome"] == "client_gone"
    assert 0 < record["output_tokens"] < ENDLESS


def test_one_of_two_replicas_dies_in_the_middle_of_a_stream(engine: RealEngine, doomed: RealEngine) -> None:
    config = """
providers:
  lasting: {{type: openai-compatible, base_url: '{lasting}'}}
  doomed: {{type: openai-compatible, base_url: '{doomed}'}}
models:
  talker: {{targets: [{{provider: lasting, model: talker}}, {{provider: doomed, model: talker}}]}}
  thinker: {{targets: [{{provider: lasting, model: thinker}}, {{provider: doomed, model: thinker}}]}}
outages:
  breaker: {{open_s: 60}}
"""
    with (
        start_gateway(config.format(lasting=engine.base_url, doomed=doomed.base_url)) as gateway,
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0) as client,
    ):
        streams: dict[str, openai.Stream[ChatCompletionChunk]] = {}
        for _ in range(2):  # of two idle targets the second one is less loaded by now
            stream = client.chat.completions.create(
                model="talker",
                messages=[{"role": "user", "content": QUESTION}],
                max_tokens=ENDLESS,
                stream=True,
            )
            assert len(list(itertools.islice(stream, 5))) == 5
            streams[stream.response.headers["x-fairlead-target"]] = stream
        assert set(streams) == {"lasting/talker", "doomed/talker"}

        doomed.kill()
        # What was begun ends with an error, not as if it were whole, and the other stream goes on.
        with pytest.raises(openai.APIError, match=r"closed the connection|cut|ended"):
            list(streams["doomed/talker"])
        assert len(list(itertools.islice(streams["lasting/talker"], 20))) == 20
        for stream in streams.values():
            stream.close()

        # Whoever comes now gets a whole answer; the dead replica is asked until its breaker opens.
        for count in range(20):
            with client.chat.completions.create(
                model="thinker", messages=[{"role": "user", "content": QUESTION}], stream=True
            ) as answer:
                said = "".join(c.delta.content or "" for chunk in answer for c in chunk.choices)
            assert said == ANSWER, count
        records = gateway.requests(20, model="thinker")
        assert {(r["outcome"], r["target"]) for r in records} == {("ok", "lasting/thinker")}
        states = {t["target"]: t["state"] for t in gateway.admin("/targets")["data"]}
        assert states["doomed/thinker"] == "open"
        assert states["lasting/thinker"] == "closed"

"""Which requests semantic metrics look at, and what they get of them, over the whole path of a request."""

from __future__ import annotations

import json
from typing import cast

from tests.unit.gateway.stage import ONE, Stage, asking, completion, hello, refusal, staged, stream

from fairlead.config import Signals
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.sampling import Sampling
from fairlead.providers.table import apis

ALL = ONE + "signals: {sample: 1.0}\n"
SOME = ONE + "signals: {sample: 0.5}\n"
NONE = ONE + "signals: {sample: 1.0, models: {m: 0}}\n"
SMALL = ONE + "signals: {sample: 1.0, max_content_bytes: 1024}\n"
CACHED = ALL.replace("[{provider: a}]", "[{provider: a}], cache: {}")


@staged(ALL)
async def test_a_whole_answer_is_handed_on_as_it_was_sent(stage: Stage) -> None:
    stage.network.plan("a.test", completion("Hello"))

    person = await stage.ask(hello(), headers={"x-fairlead-session": "s-1"})

    (sampled,) = stage.sampled
    assert sampled.answer == person.last.body
    assert json.loads(sampled.request) == hello()
    assert (sampled.api, sampled.stream, sampled.model, sampled.session) == ("chat", False, "m", "s-1")
    assert sampled.id == person.last.headers["x-request-id"]


@staged(ALL)
async def test_a_stream_is_handed_on_whole(stage: Stage) -> None:
    stage.network.plan("a.test", stream("Hel", "lo"))

    person = await stage.ask(hello(stream=True))

    (sampled,) = stage.sampled
    assert sampled.stream
    assert sampled.answer == person.last.body


@staged(CACHED)
async def test_answers_from_the_cache_are_answers_too(stage: Stage) -> None:
    stage.network.plan("a.test", stream("Hel", "lo"))

    await stage.ask(hello(stream=True))
    await stage.ask(hello())

    assert [sampled.stream for sampled in stage.sampled] == [True, False]
    assert b"Hello" in stage.sampled[1].answer


@staged(ALL)
async def test_errors_and_other_apis_are_not_looked_at(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(400, message="no"), completion("Hi"))

    await stage.ask(hello())
    await stage.ask(asking("/v1/embeddings"), "/v1/embeddings")

    assert stage.sampled == []


@staged(ALL)
async def test_what_a_client_did_not_wait_for_is_not_looked_at(stage: Stage) -> None:
    stage.network.plan("a.test", ())

    person = stage.connect()
    person.post(hello(stream=True))
    await stage.settle()
    person.leave()
    await stage.settle()

    assert stage.sampled == []


@staged(SOME)
async def test_chance_decides(stage: Stage) -> None:
    stage.network.plan("a.test", *[completion("Hi")] * 2)

    for stage.sample_roll in (0.5, 0.49):
        await stage.ask(hello())

    assert len(stage.sampled) == 1


class _Exchange:
    """As much of a request as is looked at when it begins."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.api = apis()["/v1/chat/completions"]
        self.model = "m"
        self.body = b"{}"
        self.call = self
        self.tap = None
        self.sample: object = None


def test_at_most_so_many_a_minute() -> None:
    sampling = Sampling(Signals(sample=1.0, max_per_minute=2), roll=lambda: 0.0, offer=lambda _: None)
    begun = [_Exchange(at) for at in (60.0, 61.0, 62.0, 119.9, 120.0)]

    for exchange in begun:
        sampling.begin(cast(Exchange, exchange))

    assert [exchange.sample is not None for exchange in begun] == [True, True, False, False, True]
    assert sampling.skipped == {("m", "rate"): 2}


@staged(NONE)
async def test_a_model_can_be_left_out(stage: Stage) -> None:
    stage.network.plan("a.test", completion("Hi"))

    await stage.ask(hello())

    assert stage.sampled == []


@staged(SMALL)
async def test_large_requests_and_answers_are_left_alone(stage: Stage) -> None:
    stage.network.plan("a.test", completion("x" * 2000), completion("Hi"))

    answered = await stage.ask(hello())
    await stage.ask(hello(user="y" * 2000))

    assert len(answered.last.body) > 2000
    assert stage.sampled == []
    assert stage.pipeline._sampling is not None
    assert stage.pipeline._sampling.skipped == {("m", "large"): 2}

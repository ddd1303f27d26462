"""What attempts cost that did not become the answer."""

from __future__ import annotations

from tests.unit.gateway.stage import Stage, begun, completion, ended, hello, staged

from fairlead.testing import answer
from fairlead.types import Outcome

PRICED = """\
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  b: {type: openai-compatible, base_url: "http://b.test/v1"}
models: {m: {targets: [{provider: a}, {provider: b, priority: 1}]}}
prices: {models: {a/m: {input_usd_per_mtok: 1, output_usd_per_mtok: 10}, m: {input_usd_per_mtok: 2}}}
outages: {retry: {max_attempts: 2, backoff_s: 0.001, max_backoff_s: 0.001}}
"""
HEDGED = PRICED.replace(
    "models: {m: {targets", "models: {m: {hedge: {after_s: 0.001, max_fraction: 1}, targets"
)
FORM = {"content-type": "multipart/form-data; boundary=xyz"}
SPEECH = (
    b'--xyz\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--xyz\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--xyz--\r\n'
)


@staged(PRICED)
async def test_a_client_that_leaves_before_a_whole_answer_has_sent_its_prompt(stage: Stage) -> None:
    person = await stage.ask(hello())
    person.leave()
    await stage.settle()
    record = await stage.record()
    assert record.outcome is Outcome.CLIENT_GONE
    assert record.usage.input_tokens > 0
    assert (record.usage.output_tokens, record.usage_estimated) == (0, True)
    assert record.cost_microusd == record.usage.input_tokens * 1


@staged(PRICED)
async def test_nothing_was_used_where_nothing_was_sent(stage: Stage) -> None:
    stage.network.refusing = {"a.test", "b.test"}
    await stage.ask(hello())
    await stage.until(lambda: stage.people[0].answers)
    record = await stage.record()
    assert [attempt.usage for attempt in record.attempts] == [None, None]
    assert record.cost_microusd == 0


@staged(HEDGED)
async def test_the_loser_of_a_hedge_is_paid_for(stage: Stage) -> None:
    stage.network.plan("b.test", [begun("Hi", "!") + ended(2)])
    person = await stage.ask(hello(stream=True))
    await stage.until(lambda: person.answers and person.last.complete)
    record = await stage.record()
    by_target = {attempt.target: attempt for attempt in record.attempts}
    loser, winner = by_target["a/*"], by_target["b/*"]
    assert winner.hedge
    assert loser.usage is not None
    assert loser.usage_estimated
    assert loser.cost_microusd == loser.usage.input_tokens * 1
    assert winner.usage == record.usage
    assert winner.cost_microusd == record.usage.input_tokens * 2
    assert record.cost_microusd == loser.cost_microusd + winner.cost_microusd


@staged(PRICED)
async def test_a_wildcard_target_records_what_it_was_asked_for(stage: Stage) -> None:
    stage.network.plan("a.test", completion())
    await stage.ask(hello())
    (attempt,) = (await stage.record()).attempts
    assert (attempt.target, attempt.model, attempt.priced_by) == ("a/*", "m", "config")


@staged(PRICED.replace("input_usd_per_mtok: 1, output_usd_per_mtok: 10", "audio_second_usd: 0.0001"))
async def test_a_transcription_is_billed_by_the_second(stage: Stage) -> None:
    stage.network.plan("a.test", answer(b'{"text":"Hi","usage":{"type":"duration","seconds":27}}'))
    await stage.ask(SPEECH, "/v1/audio/transcriptions", headers=FORM)
    record = await stage.record()
    assert record.usage.audio_s == 27
    assert record.cost_microusd == 2700


@staged(
    PRICED.replace("output_usd_per_mtok: 10", "image_input_usd_per_mtok: 10, image_output_usd_per_mtok: 40")
)
async def test_an_image_is_billed_by_its_tokens(stage: Stage) -> None:
    usage = (
        b'{"input_tokens":50,"output_tokens":4160,"total_tokens":4210,'
        b'"input_tokens_details":{"text_tokens":10,"image_tokens":40}}'
    )
    stage.network.plan("a.test", answer(b'{"created":1,"data":[{"b64_json":"AAAA"}],"usage":%b}' % usage))
    await stage.ask({"model": "m", "prompt": "a cat"}, "/v1/images/generations")
    record = await stage.record()
    assert record.cost_microusd == 10 * 1 + 40 * 10 + 4160 * 40

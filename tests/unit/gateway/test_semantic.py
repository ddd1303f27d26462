"""Questions in other words, over the whole path of a request."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.unit.gateway.paraphrases import Traffic
from tests.unit.gateway.stage import Person, Request, Stage, completion, refusal, staged

from fairlead.cache.purge import Purge
from fairlead.cache.semantic.audit import State, Status
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.gateway.cache_readings import semantic_readings
from fairlead.gateway.internal import TENANT
from fairlead.testing import answer
from fairlead.types import Outcome

SEMANTIC: Final = """\
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  e: {type: openai-compatible, base_url: "http://e.test/v1"}
  j: {type: openai-compatible, base_url: "http://j.test/v1"}
models:
  m:
    targets: [{provider: a, input_usd_per_mtok: 1, output_usd_per_mtok: 2}]
    cache: {semantic: {embedder: hashed, max_false_hit_rate: 0.1}}
  vectors: {targets: [{provider: e}]}
  judge: {targets: [{provider: j, input_usd_per_mtok: 1, output_usd_per_mtok: 2}]}
outages: {retry: {max_attempts: 1}, breaker: {enabled: false}}
"""
KEYS: Final = SEMANTIC.replace("required: false", "required: true")
EMBEDDED: Final = SEMANTIC.replace("embedder: hashed", "embedder: vectors, dimensions: 4, timeout_s: 0.05")
JUDGED: Final = SEMANTIC.replace(
    "max_false_hit_rate: 0.1", "max_false_hit_rate: 0.1, judge: {model: judge}, audit: {per_hour: 100000}"
)
MANY: Final[dict[str, Any]] = {"max_pending": 100_000}
ENOUGH: Final = 420
"""Questions after which the traffic's route serves."""


def question(text: str, **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def text_of(person: Person) -> str:
    found: str = json.loads(person.last.body)["choices"][0]["message"]["content"]
    return found


def said(person: Person) -> str:
    return person.last.headers["x-fairlead-cache"]


def tier_of(stage: Stage) -> SemanticTier:
    assert stage.tier is not None
    return stage.tier


def status_of(stage: Stage) -> Status:
    ((_, status),) = tier_of(stage).statuses()
    return status


class Model:
    """An upstream that knows the answer to every question of some traffic."""

    def __init__(self, stage: Stage, traffic: Traffic, host: str = "a.test") -> None:
        self.traffic = traffic
        self.asked = 0
        self.wording: Callable[[str], str] = lambda text: text
        stage.network.scripts[host] = self.answer

    def answer(self, request: Request) -> bytes:
        self.asked += 1
        assert request.json.get("stream") is not True
        text = request.json["messages"][-1]["content"]
        return completion(self.wording(self.traffic.answers[text]))


class Judge:
    """A model that compares what it is shown: as truly as `truth` has it."""

    def __init__(self, stage: Stage) -> None:
        self.asked = 0
        self.truth: Callable[[str, str], bool] = lambda one, other: one.split("|")[0] == other.split("|")[0]
        stage.network.scripts["j.test"] = self.answer

    def answer(self, request: Request) -> bytes:
        self.asked += 1
        system, user = (message["content"] for message in request.json["messages"])
        check = system.rpartition('{"check": "')[2].partition('"')[0]
        shown = json.loads(user)
        same = self.truth(shown["answer_1"], shown["answer_2"])
        return completion(json.dumps({"check": check, "verdict": "same" if same else "different"}))


class Tally:
    """What the answers to some traffic say of the cache, and how many are wrong."""

    def __init__(self) -> None:
        self.said: Counter[str] = Counter()
        self.wrong = 0
        self.hits: list[str] = []


async def ask(stage: Stage, text: str, *, key: str = "", **fields: object) -> Person:
    """Ask one question, until it is answered and what follows from that is done."""
    tier, person = tier_of(stage), stage.connect()
    headers = fields.pop("headers", None)
    person.post(question(text, **fields), key=key, headers=headers)  # type: ignore[arg-type]  # fields of a header
    while not person.answers or tier.busy:
        stage.clock.run()
        await asyncio.sleep(0)
    return person


async def drive(stage: Stage, traffic: Traffic, count: int, **fields: Any) -> Tally:
    """Ask so many questions one after the other."""
    tally = Tally()
    for text in itertools.islice(traffic.questions(), count):
        person = await ask(stage, text, **fields)
        tally.said[said(person)] += 1
        if text_of(person).split("|")[0] != traffic.answers[text]:
            tally.wrong += 1
        if said(person) == "semantic":
            tally.hits.append(text)
    return tally


async def hit(stage: Stage, traffic: Traffic, **fields: Any) -> tuple[Person, str]:
    """Ask until something is served."""
    for text in itertools.islice(traffic.questions(), 300):
        person = await ask(stage, text, **fields)
        if said(person) == "semantic":
            return person, text
    raise AssertionError("nothing was served")


# --- hits ---------------------------------------------------------------------------------------


@staged(SEMANTIC, **MANY)
async def test_paraphrases_are_served_once_enough_was_verified_and_never_a_wrong_one(stage: Stage) -> None:
    traffic = Traffic(1)
    model = Model(stage, traffic)

    before = await drive(stage, traffic, 200)
    tally = await drive(stage, traffic, 800)

    assert before.said["semantic"] == 0
    assert status_of(stage).state is State.ACTIVE
    assert tally.said["semantic"] > 60
    assert tally.wrong == 0
    assert model.asked == before.said["miss"] + tally.said["miss"]
    found = {(one.name, *one.labels): one.value for one in semantic_readings(tier_of(stage))}
    assert 0.0 < found["fairlead_cache_false_hit_upper95", "m"] <= 0.1
    assert found["fairlead_cache_semantic_off", "m"] == 0
    assert found["fairlead_cache_verified_total", "m", "same"] > 30
    assert found["fairlead_cache_semantic_decisions_total", "m", "served"] == tally.said["semantic"]
    assert stage.cache is not None
    assert stage.cache.stats.hits["semantic", "default", "m"].hits == tally.said["semantic"]


@staged(SEMANTIC, **MANY)
async def test_a_hit_says_how_sure_it_is_and_is_recorded_with_what_it_saved(stage: Stage) -> None:
    traffic = Traffic(2)
    Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)

    person, _ = await hit(stage, traffic)

    headers = person.last.headers
    assert int(headers["age"]) >= 0
    assert 0.9 <= float(headers["x-fairlead-cache-score"]) <= 1.0
    assert 0.0 < float(headers["x-fairlead-cache-bound"]) <= 0.1
    assert "x-fairlead-target" not in headers
    record = (await stage.records())[-1]
    assert (record.cache, record.saved_tokens, record.saved_microusd) == ("semantic", 7, 9)
    assert (record.outcome, record.attempts, record.cost_microusd) == (Outcome.OK, (), None)


@staged(SEMANTIC, **MANY)
async def test_who_asks_for_a_stream_is_served_as_a_stream(stage: Stage) -> None:
    traffic = Traffic(3)
    model = Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)
    for text in itertools.islice(traffic.questions(), 300):
        asked = model.asked
        stage.network.scripts["a.test"] = lambda request: refusal(500)
        person = await ask(stage, text, stream=True)
        stage.network.scripts["a.test"] = model.answer
        if person.last.headers.get("x-fairlead-cache") == "semantic":
            break
        await ask(stage, text)

    assert person.last.headers["content-type"].startswith("text/event-stream")
    *events, end = person.events
    assert end == "[DONE]"
    parts = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert "".join(parts) == traffic.answers[text]
    assert model.asked == asked


@staged(SEMANTIC, **MANY)
async def test_everything_but_the_last_user_text_must_be_the_same(stage: Stage) -> None:
    traffic = Traffic(4)
    Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)

    tally = Tally()
    for text in itertools.islice(traffic.questions(), 60):
        messages = [{"role": "system", "content": f"Be brief. {text}"}, {"role": "user", "content": text}]
        person = await ask(stage, text, messages=messages)
        tally.said[said(person)] += 1

    assert tally.said["semantic"] == 0


@staged(SEMANTIC, **MANY)
async def test_hot_requests_and_other_turns_than_a_text_are_not_compared(stage: Stage) -> None:
    stage.network.scripts["a.test"] = lambda request: completion("yes")
    content = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

    await ask(stage, "warm?", temperature=0.9)
    await ask(stage, "default?", temperature=None)
    await ask(stage, "parts?", messages=[{"role": "user", "content": content}])
    await ask(stage, "x" * 5000)

    assert tier_of(stage).decisions == {("m", "temperature"): 2, ("m", "no_text"): 1, ("m", "length"): 1}
    assert len(tier_of(stage).store) == 0


# --- what the client asks of the cache ----------------------------------------------------------


@staged(SEMANTIC, **MANY)
async def test_no_cache_and_max_age_ask_the_model_and_only_if_cached_takes_a_hit(stage: Stage) -> None:
    traffic = Traffic(5)
    model = Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)
    asked = model.asked

    fresh = await drive(stage, traffic, 60, headers={"cache-control": "no-cache"})
    young = await drive(stage, traffic, 60, headers={"cache-control": "max-age=0"})
    assert fresh.said["semantic"] == young.said["semantic"] == 0
    assert fresh.said == {"miss": 60}
    assert model.asked > asked

    outcomes = Counter()
    for text in itertools.islice(traffic.questions(), 100):
        person = await ask(stage, text, headers={"cache-control": "only-if-cached"})
        outcomes[person.last.status, person.last.headers["x-fairlead-cache"]] += 1
    assert outcomes[200, "semantic"] > 0
    assert outcomes[504, "miss"] > 0


# --- tenants ------------------------------------------------------------------------------------


@staged(KEYS, **MANY)
async def test_no_tenant_is_served_what_another_one_asked(stage: Stage) -> None:
    traffic = Traffic(6)
    Model(stage, traffic)
    one, two = stage.key(tenant="one").secret, stage.key(tenant="two").secret
    await drive(stage, traffic, ENOUGH, key=one)
    tier = tier_of(stage)
    held = {known.fingerprint for known, _ in tier.store._entries.values()}

    # Asked for the first time by the other tenant, in its first words or in others: always the model.
    texts = [known.text for known, _ in list(tier.store._entries.values())[-40:]]
    found = [said(await ask(stage, text, key=two)) for text in texts]

    assert found == ["miss"] * len(texts)
    others = [known for known, _ in tier.store._entries.values() if known.tenant == "two"]
    assert others
    assert not held & {known.fingerprint for known in others}


# --- audits -------------------------------------------------------------------------------------


@staged(SEMANTIC, **MANY)
async def test_a_hit_is_asked_again_in_the_background_and_what_it_costs_is_nobodys(stage: Stage) -> None:
    traffic = Traffic(7)
    model = Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)
    stage.audit_roll = 0.0
    asked, before = model.asked, status_of(stage)

    await hit(stage, traffic)

    after = status_of(stage)
    assert tier_of(stage).audits["m", "asked"] == 1
    assert model.asked > asked
    assert (after.audits, after.verified) == (before.audits + 1, after.verified)
    assert after.verified > before.verified
    internal = [record for record in await stage.records() if record.tenant == TENANT]
    assert [(record.cost_microusd, record.outcome, record.cache) for record in internal] == [
        (9, Outcome.OK, "")
    ]


@staged(SEMANTIC.replace("hashed,", "hashed, audit: {usd_per_day: 0.000001},"), **MANY)
async def test_an_audit_beyond_the_days_money_is_left_out_and_counted(stage: Stage) -> None:
    traffic = Traffic(8)
    Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)
    stage.audit_roll = 0.0

    await hit(stage, traffic)

    assert tier_of(stage).audits == {("m", "unaffordable"): 1}
    assert not [record for record in await stage.records() if record.tenant == TENANT]


@staged(SEMANTIC, **MANY)
async def test_answers_that_have_changed_switch_it_off_and_say_so(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    traffic = Traffic(9)
    model = Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)
    assert status_of(stage).state is State.ACTIVE
    stage.audit_roll = 0.0
    numbers = itertools.count()
    model.wording = lambda text: f"{text}|{next(numbers)}"
    caplog.set_level(logging.WARNING)

    for _ in range(20):
        await drive(stage, traffic, 100)
        if status_of(stage).state is State.OFF:
            break

    assert status_of(stage).state is State.OFF
    entries = len(tier_of(stage).store)
    late = await drive(stage, traffic, 50)
    assert late.said["semantic"] == 0
    assert len(tier_of(stage).store) == entries
    off = [record for record in caplog.records if "switched itself off" in record.message]
    assert len(off) == 1
    assert off[0].__dict__["model"] == "m"
    readings = {(one.name, *one.labels): one.value for one in semantic_readings(tier_of(stage))}
    assert readings["fairlead_cache_semantic_off", "m"] == 1

    await tier_of(stage).purge(Purge(before=time.time() + 1, model="m"))
    assert status_of(stage).state is State.LEARNING
    assert status_of(stage).verified == 0


# --- the judge ----------------------------------------------------------------------------------


@staged(JUDGED, **MANY)
async def test_a_judge_decides_where_texts_do_not_and_is_paid_for(stage: Stage) -> None:
    traffic = Traffic(10)
    model, judge = Model(stage, traffic), Judge(stage)
    numbers = itertools.count()
    model.wording = lambda text: f"{text}|in words of its own {next(numbers)}"

    tally = await drive(stage, traffic, 1000)

    assert tally.wrong == 0
    assert tally.said["semantic"] > 10
    assert judge.asked > 40
    spent = tier_of(stage).changed()["hashed-1/256"].spent["m"]
    assert spent.microusd == 9 * judge.asked


@staged(JUDGED, **MANY)
async def test_a_judge_that_lies_switches_it_off(stage: Stage) -> None:
    traffic = Traffic(11)
    model, judge = Model(stage, traffic), Judge(stage)
    numbers = itertools.count()
    model.wording = lambda text: f"{text}|{next(numbers)}"
    await drive(stage, traffic, ENOUGH + 200)
    assert status_of(stage).state is State.ACTIVE
    stage.audit_roll = 0.0
    judge.truth = lambda one, other: False

    for _ in range(20):
        await drive(stage, traffic, 100)
        if status_of(stage).state is State.OFF:
            break

    assert status_of(stage).state is State.OFF


@staged(JUDGED, **MANY)
async def test_a_judge_that_is_down_makes_nothing_right_and_is_left_alone(stage: Stage) -> None:
    traffic = Traffic(12)
    model = Model(stage, traffic)
    numbers = itertools.count()
    model.wording = lambda text: f"{text}|{next(numbers)}"
    stage.network.refusing.add("j.test")

    tally = await drive(stage, traffic, 60)

    assert tally.said["miss"] > 30
    assert status_of(stage).verified == 0
    assert tier_of(stage).verified["m", "same"] == 0
    assert tier_of(stage).audits["m", "unaffordable"] > 10


# --- embedders ----------------------------------------------------------------------------------


def vectors(*values: object) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": list(values)}]
    body = {
        "object": "list",
        "data": data,
        "model": "vectors",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    return answer(json.dumps(body).encode())


@staged(EMBEDDED, **MANY)
async def test_an_embedding_model_of_the_gateway_makes_the_vectors(stage: Stage) -> None:
    stage.network.scripts["a.test"] = lambda request: completion("fine")
    stage.network.scripts["e.test"] = lambda request: vectors(0.0, 3.0, 4.0, 0.0)

    await ask(stage, "How do I sort it?")

    (request,) = [one for one in stage.network.requests if one.host == "e.test"]
    assert request.target == "/v1/embeddings"
    assert request.json["input"] == ["How do I sort it?"]
    ((known, _),) = tier_of(stage).store._entries.values()
    assert known.embedder.startswith("vectors@")
    assert known.embedder.endswith("/4")
    record = next(record for record in await stage.records() if record.tenant == TENANT)
    assert (record.endpoint, record.usage.input_tokens) == ("embeddings", 2)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (vectors(1.0, 2.0, 3.0), "wrong"),
        (vectors(0.0, 0.0, 0.0, 0.0), "wrong"),
        (vectors(1.0, 2.0, 3.0, 1e39), None),
        (vectors(1.0, 2.0, 3.0, None), "wrong"),
        (vectors("a", "b", "c", "d"), "wrong"),
        (answer(b'{"data": []}'), "wrong"),
        (refusal(500), "get"),
    ],
)
def test_an_embedder_that_errs_is_counted_and_no_request_fails(reply: bytes, kind: str | None) -> None:
    @staged(EMBEDDED, **MANY)
    async def scenario(stage: Stage) -> None:
        stage.network.scripts["a.test"] = lambda request: completion("fine")
        stage.network.scripts["e.test"] = lambda request: reply

        found = [said(await ask(stage, text)) for text in ("How do I sort it?", "How can I sort it?")]

        assert found == ["miss", "miss"]
        assert stage.cache is not None
        if kind is None:
            return
        kinds = {what for store, what in stage.cache.trouble.counts if store == "embedder"}
        assert kinds in ({kind}, {"get"})
        assert len(tier_of(stage).store) == 0

    scenario()


@staged(EMBEDDED, **MANY)
async def test_a_route_that_serves_nothing_yet_waits_for_no_vector(stage: Stage) -> None:
    stage.network.scripts["a.test"] = lambda request: completion("fine")

    person = await stage.ask(question("How do I sort it?"))

    assert said(person) == "miss"
    assert tier_of(stage).busy  # the embedder hangs, and nobody but the background notices
    await tier_of(stage).close()


# --- reload -------------------------------------------------------------------------------------


@staged(SEMANTIC, **MANY)
async def test_a_reload_keeps_what_was_learned_unless_the_limit_is_another(stage: Stage) -> None:
    traffic = Traffic(13)
    Model(stage, traffic)
    await drive(stage, traffic, ENOUGH)
    before = status_of(stage)

    stage.reload(SEMANTIC.replace("hashed,", "hashed, audit: {share: 0.2},"))
    assert status_of(stage) == before
    stage.reload(SEMANTIC.replace("rate: 0.1", "rate: 0.05"))
    assert (status_of(stage).state, status_of(stage).verified) == (State.LEARNING, 0)
    stage.reload(
        SEMANTIC.replace("cache: {semantic: {embedder: hashed, max_false_hit_rate: 0.1}}", "cache: {}")
    )
    assert list(tier_of(stage).statuses()) == []


# --- purge --------------------------------------------------------------------------------------


@staged(KEYS, **MANY)
async def test_a_purge_of_a_tenant_takes_its_questions_and_nobody_elses(stage: Stage) -> None:
    stage.network.scripts["a.test"] = lambda request: completion("fine")
    one, two = stage.key(tenant="one").secret, stage.key(tenant="two").secret
    for key in (one, two):
        await ask(stage, "How do I sort it?", key=key)
    assert stage.cache is not None

    meant = Purge(before=time.time() + 1, tenant="one")
    dry = await stage.cache.purge(meant, dry_run=True)
    done = await stage.cache.purge(meant)

    assert dry["semantic"] == done["semantic"]
    assert done["semantic"].entries == 1
    assert [known.tenant for known, _ in tier_of(stage).store._entries.values()] == ["two"]


@staged(SEMANTIC, **MANY)
async def test_a_question_whose_answer_is_gone_is_no_hit_and_is_forgotten(stage: Stage) -> None:
    traffic = Traffic(14)
    Model(stage, traffic)
    await drive(stage, traffic, ENOUGH + 500)
    assert stage.cache is not None
    held = len(tier_of(stage).store)
    await stage.cache.memory.purge(Purge(before=time.time() + 1))

    tally = await drive(stage, traffic, 200)

    assert tally.wrong == 0
    assert tier_of(stage).decisions["m", "gone"] > 0
    assert len(tier_of(stage).store) < held + tally.said["miss"]

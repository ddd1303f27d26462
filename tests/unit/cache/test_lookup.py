"""Looking through the stores: what is fresh, what fails, and whose answer it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.made import ask, blob, config, facts, key_of, policy, space

from fairlead.cache.entry import Entry
from fairlead.cache.key import Space, Spaces, read
from fairlead.cache.lookup import Cache, facts_of
from fairlead.cache.memory import MemoryTier
from fairlead.cache.policy import Policy
from fairlead.cache.purge import Purge, Purged, Size
from fairlead.cache.stats import Stats
from fairlead.cache.trouble import Trouble
from fairlead.errors import StorageError

KEY = b"k" * 32
HERE = space()
NOW = 1000.0


class FakeTier:
    """A store in a dict that can be slow, broken or wrong."""

    name = "fake"

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.error: StorageError | None = None
        self.hangs = False
        self.asked = 0

    async def get(self, key: bytes, space: Space) -> bytes | None:
        self.asked += 1
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error
        return self.entries.get(key)

    def put(self, key: bytes, space: Space, blob: bytes, kept_s: float) -> None:
        self.entries[key] = blob

    def drop(self, key: bytes, space: Space) -> None:
        self.entries.pop(key, None)

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        return Purged(entries=len(self.entries))

    async def sizes(self) -> list[Size]:
        return []


class Fixture:
    """A cache over a fake store."""

    def __init__(self, *, behind: bool = True, timeout_s: float = 5.0) -> None:
        self.tier = FakeTier()
        self.memory = MemoryTier(1_000_000)
        self.trouble = Trouble(lambda: 0.0)
        self.stats = Stats()
        self.cache = Cache(
            self.memory,
            self.tier if behind else None,
            stats=self.stats,
            trouble=self.trouble,
            max_entry_bytes=1000,
            timeout_s=timeout_s,
        )

    def put(self, payload: bytes = b"answer", *, now: float = NOW, rules: Policy | None = None) -> bool:
        rules = rules or policy(ttl_s=100.0)
        return self.cache.put(KEY, HERE, payload, facts(), now=now, policy=rules)

    async def fetch(
        self, *, now: float = NOW, where: Space = HERE, max_age_s: float | None = None
    ) -> Entry | None:
        future = self.cache.fetch(KEY, where, now, max_age_s)
        assert future is not None
        return await future


def run(scenario: Callable[[Fixture], Awaitable[None]], **options: float) -> None:
    async def main() -> None:
        await scenario(Fixture(**options))  # type: ignore[arg-type]  # of the parameters' own types

    asyncio.run(main())


def test_what_is_kept_is_given_until_it_expires() -> None:
    made = Fixture()
    assert made.put()

    found = made.cache.get(KEY, HERE, NOW + 99.9)
    assert found is not None
    assert found.payload == b"answer"
    assert made.cache.get(KEY, HERE, NOW + 100.0) is None
    assert len(made.memory) == 0


def test_a_client_may_want_it_fresher() -> None:
    made = Fixture()
    made.put()

    assert made.cache.get(KEY, HERE, NOW + 50, 50) is not None
    assert made.cache.get(KEY, HERE, NOW + 51, 50) is None
    assert made.cache.get(KEY, HERE, NOW + 51) is not None


def test_a_clock_that_goes_back_makes_nothing_old() -> None:
    made = Fixture()
    made.put()

    assert made.cache.get(KEY, HERE, NOW - 1000, 0) is not None


def test_an_expired_answer_is_given_in_an_outage_only() -> None:
    made = Fixture()
    made.put(rules=policy(ttl_s=100.0, stale_on_outage_s=50.0))

    assert made.cache.get(KEY, HERE, NOW + 120) is None
    stale = made.cache.get_stale(KEY, HERE, NOW + 120)
    assert stale is not None
    assert stale.payload == b"answer"
    assert made.cache.get_stale(KEY, HERE, NOW + 150) is None
    assert made.stats.hits["stale", "acme", "gpt"].hits == 1


def test_what_is_behind_is_brought_into_memory() -> None:
    async def scenario(made: Fixture) -> None:
        made.put()
        made.memory.drop(KEY)
        assert made.cache.get(KEY, HERE, NOW) is None

        found = await made.fetch()
        assert found is not None
        assert found.payload == b"answer"
        assert made.cache.get(KEY, HERE, NOW) is not None
        assert {tier: tally.hits for (tier, _, _), tally in made.stats.hits.items()} == {
            "fake": 1,
            "memory": 1,
        }

    run(scenario)


def test_an_expired_answer_behind_is_kept_for_an_outage_and_not_given() -> None:
    async def scenario(made: Fixture) -> None:
        made.put(rules=policy(ttl_s=100.0, stale_on_outage_s=50.0))
        made.memory.drop(KEY)

        assert await made.fetch(now=NOW + 120) is None
        assert made.cache.get_stale(KEY, HERE, NOW + 120) is not None
        made.memory.drop(KEY)
        assert await made.fetch(now=NOW + 151) is None
        assert made.cache.get_stale(KEY, HERE, NOW + 120) is None

    run(scenario)


def test_a_broken_store_is_a_miss_that_is_counted() -> None:
    async def scenario(made: Fixture) -> None:
        made.tier.error = StorageError("gone")

        assert await made.fetch() is None
        assert await made.fetch() is None
        assert made.trouble.counts["fake", "get"] == 2

    run(scenario)


def test_a_slow_store_is_a_miss_and_left_alone_for_a_moment() -> None:
    async def scenario(made: Fixture) -> None:
        made.put()
        made.memory.drop(KEY)
        made.tier.hangs = True

        assert await made.fetch() is None
        assert made.trouble.counts["fake", "slow"] == 1
        assert made.cache.fetch(KEY, HERE, NOW) is None
        assert made.tier.asked == 1

    run(scenario, timeout_s=0.001)


def test_damaged_bytes_are_never_given_and_thrown_away() -> None:
    async def scenario(made: Fixture) -> None:
        made.put()
        made.memory.drop(KEY)
        made.tier.entries[KEY] = made.tier.entries[KEY][:-1] + b"!"

        assert await made.fetch() is None
        assert made.cache.get(KEY, HERE, NOW) is None
        assert made.trouble.counts["fake", "damaged"] == 1
        assert made.tier.entries == {}

    run(scenario)


def test_an_entry_that_lies_under_another_key_is_not_given() -> None:
    async def scenario(made: Fixture) -> None:
        made.tier.entries[KEY] = blob(b"other" + KEY[5:])

        assert await made.fetch() is None
        assert made.trouble.counts["fake", "damaged"] == 1

    run(scenario)


def test_an_entry_of_another_scope_is_not_given_even_under_this_key() -> None:
    async def scenario(made: Fixture) -> None:
        made.tier.entries[KEY] = blob(KEY, where=space("globex"))

        assert await made.fetch() is None
        assert made.trouble.counts["fake", "damaged"] == 1

    run(scenario)


def test_without_a_store_behind_there_is_nobody_to_ask() -> None:
    made = Fixture(behind=False)

    assert made.put()
    assert made.cache.fetch(KEY, HERE, NOW) is None


def test_a_large_answer_is_not_kept() -> None:
    made = Fixture()

    assert not made.put(b"x" * 1001)
    assert made.cache.get(KEY, HERE, NOW) is None
    assert made.tier.entries == {}
    assert made.stats.unstored["gpt", "large"] == 1


def test_a_dropped_answer_is_nowhere() -> None:
    made = Fixture()
    made.put()

    made.cache.drop(KEY, HERE)

    assert made.cache.get(KEY, HERE, NOW) is None
    assert made.tier.entries == {}


def test_a_cancelled_request_cancels_its_fetch() -> None:
    async def scenario(made: Fixture) -> None:
        made.tier.hangs = True
        future = made.cache.fetch(KEY, HERE, NOW)
        assert future is not None
        await asyncio.sleep(0)
        future.cancel()
        await asyncio.wait([future])
        assert future.cancelled()
        assert not made.trouble.counts

    run(scenario)


def test_a_purge_reaches_both_stores() -> None:
    async def scenario(made: Fixture) -> None:
        made.put()

        assert await made.cache.purge(Purge(before=NOW + 1), dry_run=True) == {
            "memory": Purged(entries=1, bytes=len(made.tier.entries[KEY])),
            "fake": Purged(entries=1),
        }
        assert made.cache.get(KEY, HERE, NOW) is not None
        await made.cache.purge(Purge(before=NOW + 1))
        assert made.cache.get(KEY, HERE, NOW) is None

    run(scenario)


tenants = st.sampled_from(["acme", "globex", "", "shared:ours", "tenant:acme", "a" * 300])


@given(st.lists(st.tuples(tenants, st.sampled_from(["gpt", "other"]), st.integers(0, 2)), max_size=20))
def test_no_answer_crosses_a_scope(asked: list[tuple[str, str, int]]) -> None:
    """Every tenant asks; whatever is found was answered to that tenant's own question for that model."""
    made = Fixture()
    answered: set[tuple[str, str, int]] = set()
    for tenant, model, question in asked:
        where = space(tenant, model)
        key = key_of(ask(str(question)), where)
        own = f"{tenant}/{model}/{question}".encode()

        found = made.cache.get(key, where, NOW)

        assert (found is not None) == ((tenant, model, question) in answered)
        if found is None:
            made.cache.put(key, where, own, facts_of(where), now=NOW, policy=policy())
            answered.add((tenant, model, question))
        else:
            assert found.payload == own
            assert found.facts.tenant == tenant


def test_every_hit_says_what_it_saved() -> None:
    made = Fixture()
    known = facts_of(HERE, input_tokens=10, output_tokens=5, cost_microusd=42, gpu_s=0.5)
    made.cache.put(KEY, HERE, b"", known, now=NOW, policy=policy())
    made.cache.put(b"u" * 32, HERE, b"", facts(), now=NOW, policy=policy())
    for _ in range(3):
        made.cache.get(KEY, HERE, NOW)
    made.cache.get(b"u" * 32, HERE, NOW)
    made.stats.missed(HERE)

    tally = made.stats.hits["memory", "acme", "gpt"]
    assert (tally.hits, tally.input_tokens, tally.output_tokens) == (4, 30, 15)
    assert (tally.cost_microusd, tally.unpriced, tally.gpu_s) == (126, 1, 1.5)
    assert list(made.stats.ratios()) == [("acme", "gpt", 0.8)]
    assert made.stats.stored["acme", "gpt"] == 2


def test_a_key_is_the_same_however_the_answer_is_wanted() -> None:
    whole, streamed = (
        read("chat", ask()),
        read("chat", ask(stream=True, stream_options={"include_usage": True})),
    )
    assert whole is not None
    assert streamed is not None
    assert HERE.key(whole) == HERE.key(streamed)


bodies = st.fixed_dictionaries(
    {
        "model": st.just("gpt"),
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "user"]), "content": st.sampled_from("ab")}
            ),
            max_size=2,
        ),
    },
    optional={
        "seed": st.integers(0, 1),
        "tools": st.just([]),
        "stream": st.booleans(),
        "user": st.text(max_size=2),
    },
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["acme", "globex", "stranger", "ours", "*"]),
            st.sampled_from(["gpt", "other", "joint", "open"]),
            bodies,
        ),
        max_size=25,
    )
)
def test_answers_are_shared_within_a_named_scope_and_nowhere_else(
    asked: list[tuple[str, str, dict[str, object]]],
) -> None:
    """What may be found is worked out from the configuration's words alone."""
    made = Fixture(behind=False)
    spaces = Spaces(config())
    answered: set[tuple[str, str, str]] = set()
    for tenant, model, body in asked:
        members = {"joint": {"acme", "globex"}, "open": {tenant}}.get(model, set())
        group = f"all of {model}" if tenant in members else f"only {tenant}"
        counts = {name: value for name, value in body.items() if name not in ("stream", "user")}
        question = json.dumps(counts, sort_keys=True)
        mine = (group, model, question)
        where = spaces.of(model, tenant)
        assert where is not None
        key = key_of(json.dumps(body).encode(), where)

        found = made.cache.get(key, where, NOW)

        assert (found is not None) == (mine in answered)
        if found is None:
            made.cache.put(key, where, repr(mine).encode(), facts_of(where), now=NOW, policy=policy())
            answered.add(mine)
        else:
            assert found.payload == repr(mine).encode()

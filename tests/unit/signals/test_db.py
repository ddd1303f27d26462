"""The tables of semantic metrics, on SQLite in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fairlead.signals.board import Outcome, Signal, Stored
from fairlead.signals.compare import Comparison, Topic
from fairlead.signals.db import Kept, SignalStore
from fairlead.storage.connect import open_database

HOUR = 3600.0
NOW = 500_000 * HOUR


SCENARIOS: dict[str, Callable[[SignalStore], Awaitable[None]]] = {}
"""By name, for other databases: `tests.contract.test_signal_store`."""


def stored_in_memory(scenario: Callable[[SignalStore], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        async def main() -> None:
            database = await open_database(":memory:")
            try:
                await scenario(SignalStore(database))
            finally:
                await database.close()

        asyncio.run(main())

    test.__name__ = getattr(scenario, "__name__", "test")
    SCENARIOS[test.__name__] = scenario
    return test


def kept(name: str, at: float, *, model: str = "m", signal: Signal = "prompt", embedder: str = "e") -> Kept:
    stored = Stored(id=name, at=at, user="u", session="s", digest=b"\0d", vector=b"\xffv", marks=5)
    return Kept(model=model, signal=signal, embedder=embedder, stored=stored, example=f"text {name}")


def outcome(number: int, *, model: str = "m", signal: Signal = "prompt", at: float = NOW) -> Outcome:
    topic = Topic(name="", share=0.2, before=0.01, examples=("a", "b"))
    return Outcome(
        model=model, signal=signal, number=number, began_at=at - 9, ended_at=at - 1, compared_at=at,
        requests=50, reference=300, level="hour of day", alpha=0.01,
        result=Comparison(p_value=0.002, tests={"mmd": 0.001}, topic=topic),
    )  # fmt: skip


@stored_in_memory
async def test_items_come_back_as_they_were(store: SignalStore) -> None:
    items = [kept(f"r{n}", NOW + n) for n in range(5)]
    await store.add(items)
    await store.add(items)  # again, after a failure that was none

    assert await store.latest("m", "prompt", "e", 3) == [item.stored for item in items[2:]]
    assert await store.count("m", "prompt", "e", NOW + 2) == 2
    assert await store.series("prompt", "e", NOW + 1) == ["m"]
    assert await store.series("prompt", "e", NOW + 9) == []
    assert await store.examples("m", "prompt", ["r1", "none"]) == {"r1": "text r1"}
    assert await store.examples("m", "prompt", []) == {}


@stored_in_memory
async def test_series_are_apart(store: SignalStore) -> None:
    await store.add(
        [
            kept("a", NOW),
            kept("b", NOW, model="n"),
            kept("c", NOW, signal="answer"),
            kept("d", NOW, embedder="f"),
        ]
    )

    assert [item.id for item in await store.latest("m", "prompt", "e", 9)] == ["a"]
    assert await store.series("prompt", "e", 0) == ["m", "n"]


@stored_in_memory
async def test_candidates_are_of_the_span_and_the_hours_and_vectors_come_apart(store: SignalStore) -> None:
    await store.add([kept(f"h{hour}", NOW + hour * HOUR) for hour in range(48)])
    first = int(NOW // HOUR) % 24

    found = await store.candidates(
        "m", "prompt", "e", (NOW, NOW + 40 * HOUR), [(first + 3) % 24, (first + 30) % 24]
    )

    assert [item.id for item in found] == ["h3", "h6", "h27", "h30"]
    assert {item.vector for item in found} == {b""}
    chosen = [(item.id, item.at) for item in found] * 400
    assert await store.vectors("m", "prompt", "e", chosen) == {item.id: b"\xffv" for item in found}


@stored_in_memory
async def test_an_hour_that_is_over_is_thinned_by_chance(store: SignalStore) -> None:
    await store.add([kept(f"r{n}", NOW - 5 * HOUR + n) for n in range(300)])
    await store.add([kept(f"new{n}", NOW - n) for n in range(100)])

    assert await store.thin(kept_per_hour=50, now=NOW) == 250

    left = [item.id for item in await store.latest("m", "prompt", "e", 999)]
    old = [int(name[1:]) for name in left if name.startswith("r")]
    assert len(old) == 50
    assert len(left) == 150
    assert max(old) > 200  # not the first fifty
    assert await store.thin(kept_per_hour=50, now=NOW) == 0


@stored_in_memory
async def test_old_items_go(store: SignalStore) -> None:
    await store.add([kept("old", NOW - 2), kept("new", NOW)])

    assert await store.expire(NOW - 1) == 1
    assert await store.count("m", "prompt", "e", 0) == 1


@stored_in_memory
async def test_a_window_is_finished_once(store: SignalStore) -> None:
    assert await store.finish(outcome(1))
    assert not await store.finish(outcome(1, at=NOW + 5))
    assert await store.finish(outcome(2, at=NOW + 9))
    assert await store.finish(outcome(1, signal="answer", at=NOW + 3))
    assert await store.finish(outcome(1, model="n", at=NOW + 4))

    assert await store.last() == {
        ("m", "prompt"): outcome(2, at=NOW + 9),
        ("m", "answer"): outcome(1, signal="answer", at=NOW + 3),
        ("n", "prompt"): outcome(1, model="n", at=NOW + 4),
    }
    assert [one.compared_at - NOW for one in await store.windows(limit=3)] == [9, 4, 3]
    assert [one.number for one in await store.windows(model="n")] == [1]


@stored_in_memory
async def test_money_is_never_reserved_beyond_a_days(store: SignalStore) -> None:
    assert [await store.reserve("2026-01-31", 40, 100) for _ in range(3)] == [True, True, False]
    await store.settle("2026-01-31", -30)
    assert await store.spent("2026-01-31") == 50
    assert await store.reserve("2026-01-31", 50, 100)
    assert not await store.reserve("2026-02-01", 101, 100)
    assert await store.spent("2026-02-01") == 0


@stored_in_memory
async def test_a_secret_stays(store: SignalStore) -> None:
    assert await store.secret("marks", b"one") == b"one"
    assert await store.secret("marks", b"two") == b"one"

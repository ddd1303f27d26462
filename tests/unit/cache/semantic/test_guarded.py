"""An embedder behind its guard: late, wrong, dead or overrun, it is counted and gives no vector."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.unit.cache.semantic.known import vector

from fairlead.cache.semantic.embed import Remote, Vector, WrongVectors
from fairlead.cache.semantic.guarded import Guarded
from fairlead.cache.trouble import Trouble
from fairlead.errors import UpstreamUnreachable

Ask = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def guarded(ask: Ask, clock: Clock | None = None, **options: float) -> tuple[Guarded, Trouble]:
    trouble = Trouble(lambda: 0.0)
    return Guarded(Remote("e", 2, ask), trouble, clock=clock or Clock(), **options), trouble  # type: ignore[arg-type]  # numbers


async def fine(texts: Sequence[str]) -> Sequence[Sequence[float]]:
    return [[3.0, 4.0]]


def failing(error: Exception) -> Ask:
    async def ask(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        raise error

    return ask


def test_a_vector_comes_through() -> None:
    one, trouble = guarded(fine)
    assert asyncio.run(one.vector("text")) == vector(3, 4)
    assert (one.id, one.understands, trouble.counts) == ("e/2", True, {})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamUnreachable("gone"), "get"),
        (WrongVectors("3 dimensions"), "wrong"),
        (MemoryError("a runtime's own"), "get"),
    ],
)
def test_what_fails_is_counted_and_rests(error: Exception, kind: str) -> None:
    clock = Clock()
    one, trouble = guarded(failing(error), clock)

    assert asyncio.run(one.vector("text")) is None
    assert asyncio.run(one.vector("text")) is None
    assert trouble.counts == {("embedder", kind): 1}
    assert one.rests
    clock.now = 1.0
    assert not one.rests
    asyncio.run(one.vector("text"))
    clock.now = 2.5
    assert one.rests
    clock.now = 3.0
    assert not one.rests


def test_one_that_hangs_is_given_up_and_only_so_many_are_asked_at_once() -> None:
    async def hang(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        await asyncio.Event().wait()
        return []

    async def scenario() -> list[Vector | None]:
        one, trouble = guarded(hang, longest_s=0.01, most=2)
        found = await asyncio.gather(*(one.vector("text") for _ in range(3)))
        assert trouble.counts == {("embedder", "busy"): 1, ("embedder", "slow"): 2}
        return found

    assert asyncio.run(scenario()) == [None, None, None]

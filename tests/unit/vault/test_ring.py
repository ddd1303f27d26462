from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from fairlead.vault.ring import Inline, in_order


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_in_as_many_slots_as_there_are(slots: int, threads: int) -> None:
    def work(position: int, slot: list[int]) -> None:
        slot[:] = [position]

    free = deque([-1] for _ in range(slots))
    made = {id(slot) for slot in free}
    taken = []
    with ThreadPoolExecutor(threads) if threads else Inline() as pool:
        for slot in in_order(range(20), work, free, pool):
            assert id(slot) in made
            taken.append(slot[0])
            free.append(slot)

    assert taken == list(range(20))


@pytest.mark.parametrize("threads", [0, 2])
def test_a_failure_reaches_the_taker_at_its_place(threads: int) -> None:
    def work(position: int, slot: list[int]) -> None:
        if position == 3:
            raise ArithmeticError("third")
        slot[:] = [position]

    free: deque[list[int]] = deque([[], []])
    taken = []

    def take() -> None:
        with ThreadPoolExecutor(threads) if threads else Inline() as pool:
            for slot in in_order(range(20), work, free, pool):
                taken.append(slot[0])
                free.append(slot)

    with pytest.raises(ArithmeticError):
        take()

    assert taken == [0, 1, 2]


def test_nothing_works_on_a_slot_after_the_taker_has_left() -> None:
    started: list[int] = []

    def work(position: int, slot: list[int]) -> None:
        started.append(position)

    free: deque[list[int]] = deque([[], []])
    with ThreadPoolExecutor(1) as pool:
        results = in_order(range(20), work, free, pool)
        next(results)
        results.close()  # type: ignore[attr-defined] # it is a generator
        before = list(started)

    assert started == before
    assert len(started) <= 2

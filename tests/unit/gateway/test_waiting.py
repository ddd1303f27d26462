"""Requests wait for a free place in order, within bounds."""

import asyncio
import time

import pytest

from fairlead.errors import Overloaded
from fairlead.gateway.waiting import MAX_WAITING, WaitingRoom


async def _settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_places_are_given_first_come_first_served() -> None:
    async def scenario() -> list[int]:
        room, order = WaitingRoom(), []
        later = time.monotonic() + 60

        async def enter(number: int) -> None:
            await room.wait("m", later)
            order.append(number)

        tasks = [asyncio.create_task(enter(number)) for number in range(3)]
        await _settle()
        for _ in range(3):
            room.wake("m")
            await _settle()
        await asyncio.gather(*tasks)
        assert room.waiting("m") == 0
        return order

    assert asyncio.run(scenario()) == [0, 1, 2]


def test_who_leaves_frees_the_queue_and_passes_a_place_on() -> None:
    async def scenario() -> None:
        room = WaitingRoom()
        later = time.monotonic() + 60
        leaving = asyncio.create_task(room.wait("m", later))
        staying = asyncio.create_task(room.wait("m", later))
        await _settle()
        room.wake("m")
        leaving.cancel()  # woken and gone at the same moment
        await asyncio.wait({leaving})
        await asyncio.wait_for(staying, 1)
        assert room.waiting("m") == 0

    asyncio.run(scenario())


def test_out_of_time_is_an_overload() -> None:
    async def scenario() -> None:
        with pytest.raises(Overloaded, match="became free in time"):
            await WaitingRoom().wait("m", time.monotonic() - 1)

    asyncio.run(scenario())


def test_the_queue_is_bounded() -> None:
    async def scenario() -> None:
        room = WaitingRoom()
        later = time.monotonic() + 60
        tasks = [asyncio.create_task(room.wait("m", later)) for _ in range(MAX_WAITING)]
        await _settle()
        with pytest.raises(Overloaded, match="waiting already"):
            await room.wait("m", later)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert room.waiting("m") == 0

    asyncio.run(scenario())

"""Happy eyeballs on a loop whose clock jumps instead of waiting."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fairlead.net.dial import ConnectFailures, interleave, race
from fairlead.net.resolve import Address

V4A = Address(socket.AF_INET, ("10.0.0.1", 80))
V4B = Address(socket.AF_INET, ("10.0.0.2", 80))
V6A = Address(socket.AF_INET6, ("fd00::1", 80, 0, 0))
V6B = Address(socket.AF_INET6, ("fd00::2", 80, 0, 0))


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop that is at the time of its next timer as soon as nothing else is ready."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        # The loop's clock has a resolution, below which a timer counts as due.
        self._loop.now += timeout
        return super().select(0)


class Network:
    """Plays addresses: each takes some seconds, and then connects or fails."""

    def __init__(self, **fate: Any) -> None:
        self.fate = fate
        self.started: list[tuple[float, Address]] = []
        self.opened: list[socket.socket] = []

    async def attempt(self, address: Address) -> socket.socket:
        self.started.append((round(asyncio.get_running_loop().time(), 3), address))
        name = {V4A: "v4a", V4B: "v4b", V6A: "v6a", V6B: "v6b"}[address]
        seconds, error = self.fate[name]
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        sock = socket.socket(address.family if address.family == socket.AF_INET else socket.AF_INET)
        self.opened.append(sock)
        return sock


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main())


REFUSED = ConnectionRefusedError(111, "Connect call failed")


def test_families_take_turns_beginning_with_the_best() -> None:
    assert interleave([V6A, V6B, V4A, V4B]) == [V6A, V4A, V6B, V4B]
    assert interleave([V4A, V4B, V6A]) == [V4A, V6A, V4B]
    assert interleave([V4A]) == [V4A]


def test_the_next_attempt_starts_when_the_first_is_slow() -> None:
    async def main() -> None:
        network = Network(v6a=(9.0, None), v4a=(0.1, None))
        winner = await race([V6A, V4A], network.attempt, 0.25)
        assert network.started == [(0.0, V6A), (0.25, V4A)]
        assert asyncio.get_running_loop().time() == pytest.approx(0.35)
        assert network.opened == [winner]
        winner.close()

    run(main)


def test_the_next_attempt_starts_at_once_when_the_first_fails() -> None:
    async def main() -> None:
        network = Network(v6a=(0.01, REFUSED), v4a=(0.1, None))
        (await race([V6A, V4A], network.attempt, 0.25)).close()
        assert network.started == [(0.0, V6A), (0.01, V4A)]

    run(main)


def test_the_first_may_still_win_after_others_started() -> None:
    async def main() -> None:
        network = Network(v6a=(0.3, None), v4a=(5.0, None), v6b=(5.0, None))
        (await race([V6A, V4A, V6B], network.attempt, 0.25)).close()
        await asyncio.sleep(10)
        assert len(network.opened) == 1
        assert len(network.started) == 2

    run(main)


def test_two_that_connect_together_leave_one_open() -> None:
    async def main() -> None:
        network = Network(v6a=(0.5, None), v4a=(0.25, None))
        winner = await race([V6A, V4A], network.attempt, 0.25)
        await asyncio.sleep(1)
        assert len(network.opened) == 2
        assert [sock.fileno() >= 0 for sock in network.opened].count(True) == 1
        assert winner.fileno() >= 0
        winner.close()

    run(main)


def test_all_failures_are_told() -> None:
    async def main() -> None:
        unreachable = OSError(101, "some words")
        network = Network(v6a=(0.0, unreachable), v4a=(0.0, REFUSED), v6b=(0.0, REFUSED), v4b=(0.0, REFUSED))
        with pytest.raises(ConnectFailures) as caught:
            await race([V6A, V4A, V6B, V4B], network.attempt, 0.25)
        assert str(caught.value) == (
            "network is unreachable (fd00::1), connection refused (10.0.0.1), "
            "connection refused (fd00::2), and 1 more"
        )

    run(main)


def test_cancelling_closes_what_connects_afterwards() -> None:
    async def main() -> None:
        network = Network(v6a=(0.3, None), v4a=(0.3, None))
        task = asyncio.get_running_loop().create_task(race([V6A, V4A], network.attempt, 0.25))
        await asyncio.sleep(0.28)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        assert all(sock.fileno() < 0 for sock in network.opened)

    run(main)


def test_a_fault_that_is_no_connection_failure_is_not_hidden() -> None:
    async def main() -> None:
        network = Network(v6a=(0.0, ZeroDivisionError()), v4a=(0.0, None))
        with pytest.raises(ZeroDivisionError):
            await race([V6A, V4A], network.attempt, 0.25)

    run(main)

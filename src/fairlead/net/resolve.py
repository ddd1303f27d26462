"""Names to addresses, cached.

An answer is fresh for 30 s. For another 30 s it is still used while a new
one is fetched in the background, so that no request waits for DNS as long as
requests keep coming. Older than that, the caller waits for the new answer;
only when DNS fails is an old one used, for at most ten minutes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, cast

import msgspec

from fairlead.errors import UpstreamUnreachable
from fairlead.net.origin import address_label

FRESH_S: Final = 30.0
REFRESH_S: Final = 60.0
"""Age up to which an answer is used without waiting for a new one."""
STALE_S: Final = 600.0
"""Age up to which an answer is used while DNS fails."""


class Address(msgspec.Struct, frozen=True):
    """One address to connect to."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


Lookup = Callable[[str, int], Awaitable[list[Address]]]


class _Answer(msgspec.Struct):
    addresses: list[Address]
    at: float


async def system_lookup(host: str, port: int) -> list[Address]:
    """Ask the system's resolver, in a thread.

    Raises:
        OSError: the name does not resolve, or no resolver answers.
        UnicodeError: it cannot be a host name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[Address] = []
    for family, _, _, _, sockaddr in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            address = Address(family, cast("tuple[str, int]", sockaddr))
            if address not in addresses:
                addresses.append(address)
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    return addresses


class Resolver:
    """The cache of one client. Lookups under way are shared by all who wait for them."""

    __slots__ = ("_answers", "_lookup", "_now", "_tasks")

    def __init__(self, lookup: Lookup, now: Callable[[], float]) -> None:
        self._lookup = lookup
        self._now = now
        self._answers: dict[tuple[str, int], _Answer] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[str | None]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Addresses to try, best first.

        Raises:
            UpstreamUnreachable: DNS fails and no answer is young enough.
        """
        key = (host, port)
        answer = self._answers.get(key)
        if answer is not None:
            age = self._now() - answer.at
            if age < FRESH_S:
                return answer.addresses
            if age < REFRESH_S:
                self._refresh(key)
                return answer.addresses
        # Shielded: whoever gives up waiting must not take the answer from the others.
        failure = await asyncio.shield(self._refresh(key))
        answer = self._answers.get(key)
        if failure is not None and (answer is None or self._now() - answer.at >= STALE_S):
            raise UpstreamUnreachable(f"{address_label(host, port)}: the name does not resolve: {failure}")
        assert answer is not None
        return answer.addresses

    def suspect(self, host: str, port: int) -> None:
        """None of the addresses accepted a connection: wait for a new answer next time."""
        answer = self._answers.get((host, port))
        if answer is not None:
            answer.at = min(answer.at, self._now() - REFRESH_S)

    async def close(self) -> None:
        """Stop the lookups under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refresh(self, key: tuple[str, int]) -> asyncio.Task[str | None]:
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(key))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key))
        return task

    async def _ask(self, key: tuple[str, int]) -> str | None:
        """Fetch and store an answer; return why not when that fails."""
        try:
            addresses = await self._lookup(*key)
        except UnicodeError:
            return "it is not a host name"
        except OSError as error:
            return error.strerror or str(error)
        now = self._now()
        self._answers = {
            other: answer for other, answer in self._answers.items() if now - answer.at < STALE_S
        }
        self._answers[key] = _Answer(addresses, now)
        return None

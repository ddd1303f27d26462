"""The address cache on a manual clock and a scripted DNS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fairlead.errors import UpstreamUnreachable
from fairlead.net.resolve import Address, Resolver


class Dns:
    """A resolver that answers when told to; `calls` counts the questions."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls = 0
        self.answer: list[Address] | Exception = [address("10.0.0.1")]
        self.gate = asyncio.Event()
        self.gate.set()

    async def lookup(self, host: str, port: int) -> list[Address]:
        self.calls += 1
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def address(ip: str) -> Address:
    return Address(socket.AF_INET, (ip, 80))


def scenario(main: Callable[[Dns, Resolver], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        dns = Dns()
        resolver = Resolver(dns.lookup, lambda: dns.now)
        await main(dns, resolver)
        await resolver.close()

    asyncio.run(all_of_it())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_fresh_answer_is_not_asked_for_again() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        assert await resolver.addresses("a", 80) == [address("10.0.0.1")]
        dns.now += 29
        await resolver.addresses("a", 80)
        await resolver.addresses("b", 80)
        assert dns.calls == 2

    scenario(main)


def test_an_older_answer_is_used_while_it_is_refreshed() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        await resolver.addresses("a", 80)
        dns.now += 31
        dns.answer = [address("10.0.0.2")]
        assert await resolver.addresses("a", 80) == [address("10.0.0.1")]
        await settle()
        assert await resolver.addresses("a", 80) == [address("10.0.0.2")]
        assert dns.calls == 2

    scenario(main)


def test_an_old_answer_is_waited_for() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        await resolver.addresses("a", 80)
        dns.now += 61
        dns.answer = [address("10.0.0.2")]
        assert await resolver.addresses("a", 80) == [address("10.0.0.2")]

    scenario(main)


def test_an_old_answer_serves_for_ten_minutes_when_dns_fails() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        await resolver.addresses("a", 80)
        dns.answer = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        dns.now += 599
        assert await resolver.addresses("a", 80) == [address("10.0.0.1")]
        dns.now += 1
        with pytest.raises(UpstreamUnreachable, match="a:80: the name does not resolve: Temporary failure"):
            await resolver.addresses("a", 80)

    scenario(main)


def test_a_name_that_is_none_is_unreachable() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        dns.answer = UnicodeError("label too long")
        with pytest.raises(UpstreamUnreachable, match="not a host name"):
            await resolver.addresses("a" * 80, 80)

    scenario(main)


def test_those_who_wait_share_one_lookup_and_one_may_leave() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        dns.gate.clear()
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(resolver.addresses("a", 80)) for _ in range(3)]
        await settle()
        waits[0].cancel()
        await settle()
        dns.gate.set()
        assert await waits[1] == await waits[2] == [address("10.0.0.1")]
        assert waits[0].cancelled()
        assert dns.calls == 1

    scenario(main)


def test_addresses_that_accept_no_connection_are_asked_for_again() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        await resolver.addresses("a", 80)
        resolver.suspect("a", 80)
        resolver.suspect("unknown", 80)
        dns.answer = [address("10.0.0.2")]
        assert await resolver.addresses("a", 80) == [address("10.0.0.2")]
        assert dns.calls == 2

    scenario(main)


def test_suspicion_does_not_prolong_a_failing_dns_answer() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        await resolver.addresses("a", 80)
        dns.now += 590
        resolver.suspect("a", 80)
        dns.answer = OSError("no route to the name server")
        dns.now += 10
        with pytest.raises(UpstreamUnreachable):
            await resolver.addresses("a", 80)

    scenario(main)


def test_closing_ends_a_lookup_under_way() -> None:
    async def main(dns: Dns, resolver: Resolver) -> None:
        dns.gate.clear()
        wait = asyncio.get_running_loop().create_task(resolver.addresses("a", 80))
        await settle()
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await wait

    scenario(main)

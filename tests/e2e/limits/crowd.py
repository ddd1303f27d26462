"""Ten thousand clients of several gateways, each of whom wants one answer; for `test_gateway_chaos`.

A client asks any gateway until it has its answer or is told to stop: again soon after a connection that
broke or a store that was gone, and again later when it was refused. `Crowd` keeps what they were told.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

INPUT_MICROUSD = 10
OUTPUT_MICROUSD = 20
"""Per token."""
AT_ONCE = 150
"""Requests under way at one gateway."""
PATIENCE_S = 25.0


class Door:
    """One gateway's address and key, whichever process is behind it, and connections that idle."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.key = key
        self.places = asyncio.Semaphore(AT_ONCE)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: bytes) -> tuple[int, str, bytes]:
        """Send one request: status, request id and body. Raises OSError or EOFError when it broke."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not (writer.is_closing() or reader.at_eof()):
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        kept = False
        try:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer %b\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (self.key.encode(), len(body), body)
            )
            async with asyncio.timeout(PATIENCE_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, _, fields = head.partition("\r\n")
                named = dict(line.split(": ", 1) for line in fields.splitlines() if line)
                answer = await reader.readexactly(int(named["content-length"]))
            kept = named.get("connection") != "close"
            return int(status.split()[1]), named["x-request-id"], answer
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()

    def close(self) -> None:
        """Close what idles."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


class Crowd:
    """The clients, and what they were told."""

    def __init__(self, doors: Sequence[Door]) -> None:
        self.doors = doors
        self.paid: dict[str, int] = {}
        """What each answer cost, by request id."""
        self.lives: dict[str, int] = {}
        """By the mark that a gateway's request ids have while it lives: the door it was seen behind."""
        self.told: Counter[str] = Counter()
        """Statuses, `cut` and `closed`, and how often."""
        self._stopped = False

    async def want(self, clients: int, enough: Callable[[], Awaitable[bool]], *, seed: int) -> None:
        """Let so many clients ask at once. Returns when all have their answers, or it is enough."""
        self._stopped = False
        rolls = [random.Random(f"{seed}-{number}") for number in range(clients)]
        asking = asyncio.gather(*(self._one(roll) for roll in rolls))
        while not asking.done() and not await enough():
            await asyncio.wait([asking], timeout=0.1)
        self._stopped = True
        await asking

    async def close(self) -> None:
        """Close the connections."""
        for door in self.doors:
            door.close()
        await asyncio.sleep(0.1)  # in which the loop closes the sockets

    async def _one(self, roll: random.Random) -> None:
        body = request(roll.randint(8, 24))
        while not self._stopped:
            number = roll.randrange(len(self.doors))
            door = self.doors[number]
            async with door.places:
                if self._stopped:
                    return
                pause_s = await self._ask(number, door, body, roll)
            if pause_s is None:
                return
            await asyncio.sleep(pause_s)

    async def _ask(self, number: int, door: Door, body: bytes, roll: random.Random) -> float | None:
        """One request. Returns how long to wait before the next; None when none is needed."""
        try:
            status, request_id, answer = await door.ask(body)
        except ConnectionRefusedError:
            self.told["closed"] += 1
            return roll.uniform(0.3, 0.8)
        except (OSError, EOFError):
            self.told["cut"] += 1
            return roll.uniform(0.1, 0.3)
        self.told[str(status)] += 1
        self.lives[life_of(request_id)] = number
        if status == 200:
            usage = json.loads(answer)["usage"]
            assert request_id not in self.paid
            self.paid[request_id] = (
                usage["prompt_tokens"] * INPUT_MICROUSD + usage["completion_tokens"] * OUTPUT_MICROUSD
            )
            return None
        return roll.uniform(0.2, 0.6) if status == 503 else roll.uniform(2.0, 4.0)


def request(max_tokens: int) -> bytes:
    """A request of the crowd. Its prompt is shorter than a gateway estimates."""
    content = "Please, where does this river reach the ocean?"
    messages = [{"role": "user", "content": content}]
    return json.dumps({"model": "m", "max_tokens": max_tokens, "messages": messages}).encode()


def life_of(request_id: str) -> str:
    """The part of a request id that a gateway process keeps while it lives."""
    return request_id[len("req_") + 9 :][:10]

"""Answers on a Redis or Valkey server that several gateways share.

Keys, all beginning with the configured prefix:

    {cache/GROUP}:e:DIGEST   one entry, with its time to live
    {cache/GROUP}:index      the group's digests, by when they end
    {cache}:groups           the groups there are: scope and model, by when they end
    {cache}:purges           the last purges, for what gateways have in memory
    {cache}:purge            how many there were

A group is one scope and model; its keys share a slot, so that a cluster can
carry a purge out. The server's memory is bounded by its own `maxmemory`, best
with `allkeys-lru`: what it evicts is a miss, and leaves the index by itself.

Writes are not waited for. While the server is gone they are dropped and
counted; every entry has a checksum, so nothing that it damages is given.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from importlib import resources
from typing import Final

import msgspec

from fairlead.cache.key import Space
from fairlead.cache.purge import Purge, Purged, Size
from fairlead.cache.saved import Meets
from fairlead.cache.trouble import Trouble
from fairlead.errors import StorageError
from fairlead.storage.redis import Argument, RedisServer, Reply, Script

_WALK: Final = 200
_MARGIN_S: Final = 600.0
_PURGES_EVERY_S: Final = 1.0
_PURGES_KEPT: Final = 1000

_READ: Final = "return redis.call('GET', KEYS[1])"
_MANY: Final = 500
_READ_MANY: Final = "return redis.call('MGET', unpack(KEYS))"
_ANNOUNCE: Final = """
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
    return redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])"""
_GROUPS: Final = "return redis.call('ZRANGE', KEYS[1], 0, -1)"
_NOTE: Final = """
    local number = redis.call('INCR', KEYS[1])
    redis.call('ZADD', KEYS[2], number, number .. ':' .. ARGV[1])
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[2])
    return number"""
_NOTES: Final = """
    return {tonumber(redis.call('GET', KEYS[1]) or 0),
            redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf')}"""

_encode: Final = msgspec.json.Encoder().encode
_purge: Final = msgspec.json.Decoder(Purge).decode


class SharedTier:
    """`lookup.Tier` on one server or cluster. Use it from one event loop."""

    name = "redis"

    def __init__(
        self,
        server: RedisServer,
        *,
        prefix: str,
        pending_bytes: int,
        trouble: Trouble,
        purged: Meets,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Join the parts; `start` begins to follow purges.

        Args:
            server: where the entries are.
            prefix: what every key begins with.
            pending_bytes: the most that may be on its way to the server.
            trouble: told of what fails.
            purged: told of purges of any process.
            now: Unix seconds.
        """
        self.pending_bytes = 0
        self._server = server
        self._prefix = prefix
        self._most_pending = pending_bytes
        self._trouble = trouble
        self._purged = purged
        self._now = now
        self._read = Script(_READ)
        self._read_many = Script(_READ_MANY)
        self._step = Script((resources.files("fairlead.cache") / "shared.lua").read_text())
        self._announce = Script(_ANNOUNCE)
        self._groups = Script(_GROUPS)
        self._note = Script(_NOTE)
        self._notes = Script(_NOTES)
        self._announced: dict[str, float] = {}
        self._last_note = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    # --- the port ---------------------------------------------------------------------------

    async def get(self, key: bytes, space: Space) -> bytes | None:
        """The bytes under a key, as they are. Raises StorageError."""
        group = _group(space.scope, space.model)
        reply = await self._server.run(self._read, [self._entry(group, key)])
        return reply if isinstance(reply, bytes) else None

    async def get_many(self, keys: Sequence[bytes], space: Space) -> dict[bytes, bytes]:
        """The bytes under those of the keys that are there, as they are. Raises StorageError."""
        group = _group(space.scope, space.model)
        found: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _MANY):
            some = keys[start : start + _MANY]
            reply = await self._server.run(self._read_many, [self._entry(group, key) for key in some])
            assert isinstance(reply, list), "the command's answer"
            found |= {key: blob for key, blob in zip(some, reply, strict=True) if isinstance(blob, bytes)}
        return found

    def put(self, key: bytes, space: Space, blob: bytes, kept_s: float) -> None:
        """Send an entry; drop it when too much is on its way already, or the server is gone."""
        if not self._server.up or self.pending_bytes + len(blob) > self._most_pending:
            self._trouble.met(self.name, "dropped")
            return
        self.pending_bytes += len(blob)
        self._send(self._put(key, space, blob, kept_s))

    def drop(self, key: bytes, space: Space) -> None:
        """Have an entry deleted."""
        self._send(self._drop(key, space))

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        """Delete what is meant, and let every gateway know. Raises StorageError."""
        entries = size = 0
        if not dry_run:
            keys = [f"{self._prefix}{{cache}}:purge", f"{self._prefix}{{cache}}:purges"]
            await self._server.run(self._note, keys, [_encode(purge), _PURGES_KEPT])
        async for _, _, found in self._walk(purge, delete=not dry_run):
            entries += 1
            size += found
        return Purged(entries=entries, bytes=size)

    async def sizes(self) -> list[Size]:
        """What is held, by tenant and model. Raises StorageError."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        async for tenant, model, size in self._walk(Purge(before=float(2**53)), delete=False):
            entries, total = sums.get((tenant, model), (0, 0))
            sums[tenant, model] = (entries + 1, total + size)
        return [
            Size(tenant=tenant, model=model, entries=entries, bytes=total)
            for (tenant, model), (entries, total) in sorted(sums.items())
        ]

    # --- in the background ------------------------------------------------------------------

    def start(self) -> None:
        """Follow purges from now on."""
        assert self._task is None, "started once"
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="cache purges")

    async def stop(self) -> None:
        """Wait for what is on its way, and end. The server stays connected."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def follow_purges(self) -> None:
        """Tell of the purges since the last time. Raises StorageError."""
        keys = [f"{self._prefix}{{cache}}:purge", f"{self._prefix}{{cache}}:purges"]
        reply = await self._server.run(self._notes, keys, [self._last_note])
        assert isinstance(reply, list), "the script's answer"
        last, notes = reply
        assert isinstance(last, int), "the script's answer"
        assert isinstance(notes, list), "the script's answer"
        if last < self._last_note:
            # The server has forgotten everything and counts anew.
            self._last_note = 0
            return
        for note in notes:
            try:
                purge = _purge(bytes(note).partition(b":")[2])  # type: ignore[arg-type]  # members are bytes
            except msgspec.MsgspecError:
                self._trouble.met(self.name, "damaged")
                continue
            await self._purged(purge)
        self._last_note = last

    async def _follow(self) -> None:
        while True:
            try:
                await self.follow_purges()
            except StorageError as error:
                self._trouble.met(self.name, "purge", error)
                await self._server.wait_until_up()
            await asyncio.sleep(_PURGES_EVERY_S)

    # --- calls ------------------------------------------------------------------------------

    async def _put(self, key: bytes, space: Space, blob: bytes, kept_s: float) -> None:
        try:
            group = _group(space.scope, space.model)
            now = self._now()
            until = now + kept_s
            if self._announced.get(group, 0.0) < until:
                until += _MARGIN_S
                member = _encode([group, space.model])
                await self._server.run(
                    self._announce, [f"{self._prefix}{{cache}}:groups"], [member, int(until), int(now)]
                )
                self._announced[group] = until
            arguments: list[Argument] = ["put", key.hex(), blob, max(1, int(kept_s * 1000))]
            await self._server.run(self._step, [self._entry(group, key), self._index(group)], arguments)
        finally:
            self.pending_bytes -= len(blob)

    async def _drop(self, key: bytes, space: Space) -> None:
        group = _group(space.scope, space.model)
        await self._server.run(self._step, [self._entry(group, key), self._index(group)], ["drop", key.hex()])

    async def _walk(self, purge: Purge, *, delete: bool) -> AsyncIterator[tuple[str, str, int]]:
        """Tenant, model and size of each entry that is meant, a few hundred a call."""
        groups = await self._server.run(self._groups, [f"{self._prefix}{{cache}}:groups"])
        assert isinstance(groups, list), "the script's answer"
        for member in groups:
            group, model = msgspec.json.decode(bytes(member), type=tuple[str, str])  # type: ignore[arg-type]  # members are bytes
            if purge.model is not None and model != purge.model:
                continue
            rank = 0
            start = f"{self._prefix}{{cache/{group}}}:e:"
            while True:
                which: list[Argument] = [purge.tenant or "", repr(purge.before), "1" if delete else "0"]
                arguments: list[Argument] = ["walk", start, rank, _WALK, *which]
                seen, gone, found = _walked(
                    await self._server.run(self._step, [self._index(group)], arguments)
                )
                for tenant, size in found:
                    yield tenant, model, size
                rank += seen - gone
                if seen < _WALK:
                    break

    def _send(self, call: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._tell(call), name="cache put")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _tell(self, call: Coroutine[None, None, None]) -> None:
        try:
            await call
        except StorageError as error:
            self._trouble.met(self.name, "put", error)

    def _entry(self, group: str, key: bytes) -> str:
        return f"{self._prefix}{{cache/{group}}}:e:{key.hex()}"

    def _index(self, group: str) -> str:
        return f"{self._prefix}{{cache/{group}}}:index"


def _group(scope: str, model: str) -> str:
    """The name of a group: of no length that a tenant chooses, and without braces."""
    return hashlib.blake2b(f"{len(scope)}:{scope}{model}".encode(), digest_size=8).hexdigest()


def _walked(reply: Reply) -> tuple[int, int, list[tuple[str, int]]]:
    assert isinstance(reply, list), "the script's answer"
    seen, gone, flat = reply
    assert isinstance(seen, int), "the script's answer"
    assert isinstance(gone, int), "the script's answer"
    assert isinstance(flat, list), "the script's answer"
    tenants = [bytes(one).decode(errors="replace") for one in flat[::2]]  # type: ignore[arg-type]  # by turns
    return seen, gone, list(zip(tenants, flat[1::2], strict=True))  # type: ignore[arg-type]  # by turns

"""Looks for a kept answer: first in memory, then in what is behind it; and keeps new ones in both.

Memory answers at once. What is behind it answers in a future, within
`timeout_s`; after one that took longer it is left alone for a moment. Whatever
fails there is a miss: counted, logged rarely, and never an error of a request.
Bytes that come from behind are checked before anybody sees them, and then are
in memory, expired ones too while they may be given in an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from fairlead.cache.entry import LINK, Entry, Facts, checked, pack
from fairlead.cache.key import KEY_BYTES, Space
from fairlead.cache.memory import MemoryTier
from fairlead.cache.policy import Policy
from fairlead.cache.purge import Purge, Purged, Size
from fairlead.cache.stats import Stats
from fairlead.cache.trouble import DAMAGED, Trouble
from fairlead.errors import StorageError

MEMORY: Final = "memory"
STALE: Final = "stale"
SEMANTIC: Final = "semantic"
_REST_S: Final = 1.0


class Tier(Protocol):
    """A store behind the memory. Its coroutines raise StorageError; `put` and `drop` do not wait."""

    name: str

    async def get(self, key: bytes, space: Space) -> bytes | None:
        """The bytes under a key, unchecked."""
        ...

    async def get_many(self, keys: Sequence[bytes], space: Space) -> dict[bytes, bytes]:
        """The bytes under those of the keys that are there, unchecked."""
        ...

    def put(self, key: bytes, space: Space, blob: bytes, kept_s: float) -> None:
        """Keep an entry for so long."""
        ...

    def drop(self, key: bytes, space: Space) -> None:
        """Forget an entry."""
        ...

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        """Throw away what is meant, and let every process know."""
        ...

    async def sizes(self) -> list[Size]:
        """What is held, by tenant and model."""
        ...


class Beside(Protocol):
    """What is known of kept answers, and must go with them."""

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        """Throw away what is meant. Raises StorageError."""
        ...

    def sizes(self) -> list[Size]:
        """What is held in memory, by tenant and model."""
        ...


class Cache:
    """The exact tier. One for a process; it outlives a reload of the configuration."""

    def __init__(
        self,
        memory: MemoryTier,
        behind: Tier | None,
        *,
        stats: Stats,
        trouble: Trouble,
        max_entry_bytes: int,
        timeout_s: float,
    ) -> None:
        """Join the parts.

        Args:
            memory: asked first.
            behind: asked then; None for nothing.
            stats: what is saved is counted there.
            trouble: told of what fails.
            max_entry_bytes: no larger payload is kept.
            timeout_s: longest wait for what is behind.
        """
        self.memory = memory
        self.stats = stats
        self.trouble = trouble
        self.max_entry_bytes = max_entry_bytes
        self.timeout_s = timeout_s
        self.beside: Beside | None = None
        """The semantic tier's questions and vectors."""
        self._behind = behind
        self._rests_until = 0.0

    def get(self, key: bytes, space: Space, now: float, max_age_s: float | None = None) -> Entry | None:
        """A fresh answer in memory.

        Args:
            key: the request's, from `Space.key`.
            space: the one that the key was made with.
            now: Unix seconds.
            max_age_s: take nothing older.
        """
        blob = self.memory.get(key)
        if blob is None:
            return None
        entry = Entry(blob)
        if now >= entry.expires_at:
            if now >= entry.kept_until:
                self.memory.drop(key)
            return None
        if max_age_s is not None and now - entry.created_at > max_age_s:
            return None
        self.stats.hit(MEMORY, space.tenant, space.model, entry.facts)
        return entry

    def fetch(
        self, key: bytes, space: Space, now: float, max_age_s: float | None = None
    ) -> asyncio.Future[Entry | None] | None:
        """A fresh answer behind the memory, where `get` found none; None when there is nobody to ask.

        The future does not fail. Await it, or cancel it with the request.
        """
        if self._behind is None:
            return None
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            return None
        return loop.create_task(self._fetch(self._behind, key, space, now, max_age_s), name="cache fetch")

    async def find(self, key: bytes, space: Space, now: float) -> Entry | None:
        """A fresh answer, wherever it is, that does not count as a hit: the semantic tier compares answers.

        Await it in a task.
        """
        blob = self.memory.get(key)
        if blob is not None:
            entry = Entry(blob)
            return entry if now < entry.expires_at and _belongs(entry, space) else None
        if self._behind is None or asyncio.get_running_loop().time() < self._rests_until:
            return None
        loaded = (await self._load(self._behind, (key,), space, now)).get(key)
        return None if loaded is None or now >= loaded.expires_at else loaded

    def fetch_many(
        self, keys: Sequence[bytes], space: Space, now: float, max_age_s: float | None = None
    ) -> asyncio.Future[dict[bytes, Entry]] | None:
        """As `fetch`, for many keys of one space at once."""
        if self._behind is None or not keys:
            return None
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            return None
        return loop.create_task(
            self._fetch_many(self._behind, keys, space, now, max_age_s), name="cache fetch"
        )

    def get_stale(self, key: bytes, space: Space, now: float) -> Entry | None:
        """An answer that has expired but may be given while every target is down.

        Ask after `get` and `fetch`, which bring it into memory.
        """
        blob = self.memory.get(key)
        if blob is None:
            return None
        entry = Entry(blob)
        if now >= entry.kept_until:
            return None
        self.stats.hit(STALE, space.tenant, space.model, entry.facts)
        return entry

    def put(
        self,
        key: bytes,
        space: Space,
        payload: bytes,
        facts: Facts,
        *,
        now: float,
        policy: Policy,
        form: int = 0,
    ) -> bool:
        """Keep an answer. False when it is too large.

        Args:
            key: the request's.
            space: the one that the key was made with.
            payload: the answer, in a form that the caller knows by `form`.
            facts: about it; `facts_of` makes them.
            now: when it was answered.
            policy: the route's.
            form: kept with it.
        """
        if len(payload) > self.max_entry_bytes:
            self.stats.unstored[space.model, "large"] += 1
            return False
        try:
            blob = pack(
                key, payload, facts, created_at=now, ttl_s=policy.ttl_s, kept_s=policy.kept_s, form=form
            )
        except ValueError:
            # The facts are longer than their length can say: a name of 64 KiB.
            self.stats.unstored[space.model, "large"] += 1
            return False
        self.memory.put(key, blob)
        if self._behind is not None:
            self._behind.put(key, space, blob, policy.kept_s)
        self.stats.stored[space.tenant, space.model] += 1
        return True

    def link(self, alike: bytes, key: bytes, api: str, facts: Facts, *, now: float, policy: Policy) -> None:
        """Let an answer be found by what its request is in every dialect, while this is in memory.

        Args:
            alike: from `Space.alike`.
            key: what the answer is kept under.
            api: whose words it is in.
            facts: about the answer.
            now: when it was answered.
            policy: the route's.
        """
        link = Facts(scope=facts.scope, tenant=facts.tenant, model=facts.model)
        blob = pack(
            alike,
            key + api.encode(),
            link,
            created_at=now,
            ttl_s=policy.ttl_s,
            kept_s=policy.ttl_s,
            form=LINK,
        )
        self.memory.put(alike, blob)

    def linked(self, alike: bytes) -> bool:
        """Whether `follow` might find something."""
        return self.memory.get(alike) is not None

    async def follow(self, alike: bytes, space: Space, now: float) -> tuple[str, Entry] | None:
        """A fresh answer to the same request in another dialect, and whose words it is in.

        Await it in a task.
        """
        blob = self.memory.get(alike)
        if blob is None:
            return None
        payload = Entry(blob).payload
        entry = await self.find(payload[:KEY_BYTES], space, now)
        return None if entry is None or entry.form != 0 else (payload[KEY_BYTES:].decode(), entry)

    def copy(self, key: bytes, space: Space, payload: bytes, entry: Entry) -> Entry:
        """Keep an answer in other words in memory, for as long as the one it was made of. It is a hit."""
        ttl_s, kept_s = entry.expires_at - entry.created_at, entry.kept_until - entry.created_at
        blob = pack(key, payload, entry.facts, created_at=entry.created_at, ttl_s=ttl_s, kept_s=kept_s)
        self.memory.put(key, blob)
        self.stats.hit(MEMORY, space.tenant, space.model, entry.facts)
        return Entry(blob)

    def drop(self, key: bytes, space: Space) -> None:
        """Forget one answer everywhere but in other processes' memory: it turned out to be unusable."""
        self.memory.drop(key)
        if self._behind is not None:
            self._behind.drop(key, space)

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> dict[str, Purged]:
        """Throw answers away, by tier. What is in memory is a part of what is behind it.

        Raises:
            StorageError: what is behind could not be asked; what is in memory is gone.
        """
        done = {MEMORY: await self.memory.purge(purge, dry_run=dry_run)}
        if self._behind is not None:
            done[self._behind.name] = await self._behind.purge(purge, dry_run=dry_run)
            if not dry_run:
                # What a request has fetched while that went on.
                await self.memory.purge(purge)
        if self.beside is not None:
            done[SEMANTIC] = await self.beside.purge(purge, dry_run=dry_run)
        return done

    async def sizes(self) -> dict[str, list[Size]]:
        """What is held, by tier. Raises StorageError."""
        held = {MEMORY: await self.memory.sizes()}
        if self._behind is not None:
            held[self._behind.name] = await self._behind.sizes()
        if self.beside is not None:
            held[SEMANTIC] = self.beside.sizes()
        return held

    async def _fetch(
        self, behind: Tier, key: bytes, space: Space, now: float, max_age_s: float | None
    ) -> Entry | None:
        found = await self._fetch_many(behind, (key,), space, now, max_age_s)
        return found.get(key)

    async def _fetch_many(
        self, behind: Tier, keys: Sequence[bytes], space: Space, now: float, max_age_s: float | None
    ) -> dict[bytes, Entry]:
        fresh: dict[bytes, Entry] = {}
        for key, entry in (await self._load(behind, keys, space, now)).items():
            if now < entry.expires_at and (max_age_s is None or now - entry.created_at <= max_age_s):
                self.stats.hit(behind.name, space.tenant, space.model, entry.facts)
                fresh[key] = entry
        return fresh

    async def _load(
        self, behind: Tier, keys: Sequence[bytes], space: Space, now: float
    ) -> dict[bytes, Entry]:
        """What is behind the memory and still kept, expired or not, brought into it."""
        loop = asyncio.get_running_loop()
        blobs: dict[bytes, bytes] = {}
        try:
            async with asyncio.timeout(self.timeout_s):
                if len(keys) == 1:
                    blob = await behind.get(keys[0], space)
                    blobs = {} if blob is None else {keys[0]: blob}
                else:
                    blobs = await behind.get_many(keys, space)
        except TimeoutError:
            self._rests_until = loop.time() + _REST_S
            self.trouble.met(behind.name, "slow")
        except StorageError as error:
            self.trouble.met(behind.name, "get", error)
        found: dict[bytes, Entry] = {}
        for key, blob in blobs.items():
            entry = checked(key, blob)
            if entry is None or not _belongs(entry, space):
                self.trouble.met(behind.name, DAMAGED)
                behind.drop(key, space)
            elif now < entry.kept_until:
                self.memory.put(key, blob)
                found[key] = entry
        return found


def _belongs(entry: Entry, space: Space) -> bool:
    """Whether an entry is of this space: its key says so already, and this says it once more."""
    try:
        facts = entry.facts
    except ValueError:  # msgspec's errors are ValueErrors
        return False
    return facts.scope == space.scope and facts.model == space.model


def facts_of(
    space: Space,
    *,
    target: str = "",
    input_tokens: int = 0,
    output_tokens: int = 0,
    cost_microusd: int | None = None,
    gpu_s: float = 0.0,
) -> Facts:
    """What is kept of an answer besides its bytes, for an entry of `space`."""
    return Facts(
        scope=space.scope,
        tenant=space.tenant,
        model=space.model,
        target=target,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_microusd=cost_microusd,
        gpu_s=gpu_s,
    )

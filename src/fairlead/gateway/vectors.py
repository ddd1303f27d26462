"""Embeddings from the cache, input by input: of a batch only what nobody has embedded yet is asked for.

Vectors of two models never come together in one answer: when a fallback has
answered for the missing inputs, it is asked for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from fairlead.cache.entry import Entry, Facts
from fairlead.cache.items import items
from fairlead.cache.key import Canonical, Space
from fairlead.cache.lookup import Cache
from fairlead.cache.policy import Control, Policy
from fairlead.providers.embeddings_batch import parts, put_together, subset, take_apart

VECTOR: Final = 1
"""The form of an entry that is one input's vector; others are whole answers."""

_encode: Final = msgspec.json.Encoder().encode


class Held:
    """Stands where the client's `Call` stands, and keeps a whole answer from going out as it is."""

    __slots__ = ("body", "bytes_out", "headers", "started")

    congested = False

    def __init__(self) -> None:
        self.started = False
        self.bytes_out = 0
        self.headers = self.body = b""

    async def drain(self) -> None:
        """Nothing is sent."""

    def quiet(self) -> None:
        """Nothing shows signs of life."""

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """The answer has come."""
        self.started = True
        self.headers, self.body = headers, body

    def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Vectors are not streamed."""
        raise RuntimeError("an answer with vectors is whole")

    def write(self, data: bytes) -> None:
        """Vectors are not streamed."""
        raise RuntimeError("an answer with vectors is whole")

    def end(self) -> None:
        """Vectors are not streamed."""
        raise RuntimeError("an answer with vectors is whole")


class _Found(NamedTuple):
    vector: bytes
    facts: Facts
    created_at: float


class Batch:
    """The inputs of one request, and which vectors are there. Mutable."""

    __slots__ = ("_cache", "_lengths", "_places", "_policy", "_space", "found", "keys")

    def __init__(
        self, cache: Cache, policy: Policy, space: Space, inputs: Sequence[Canonical], extra: bytes
    ) -> None:
        """Take a request apart.

        Args:
            cache: where vectors are kept.
            policy: the route's.
            space: the tenant's.
            inputs: one request for each input, from `items`.
            extra: the client's header lines that count.
        """
        self._cache = cache
        self._policy = policy
        self._space = space
        self._places = [space.key(one, extra) for one in inputs]
        self._lengths = {
            key: len(_encode(one.fields["input"])) for key, one in zip(self._places, inputs, strict=True)
        }
        self.keys: list[bytes] = list(self._lengths)
        """Those of the inputs, each text once."""
        self.found: dict[bytes, _Found] = {}

    @property
    def size(self) -> int:
        """How many inputs there are, the same text counted as often as it comes."""
        return len(self._places)

    @property
    def missing(self) -> list[bytes]:
        """The keys of what is not there."""
        return [key for key in self.keys if key not in self.found]

    def look(self, now: float, wishes: Control) -> None:
        """Take what is in memory."""
        for key in self.keys:
            entry = self._cache.get(key, self._space, now, wishes.max_age_s)
            if entry is not None:
                self.take({key: entry})

    def fetch(self, now: float, wishes: Control) -> Awaitable[Mapping[bytes, Entry]] | None:
        """Look behind the memory for what is missing, for `take`; None when there is nothing to wait for."""
        return self._cache.fetch_many(self.missing, self._space, now, wishes.max_age_s)

    def take(self, entries: Mapping[bytes, Entry]) -> None:
        """Take what `fetch` has found."""
        for key, entry in entries.items():
            if entry.form == VECTOR:
                self.found[key] = _Found(entry.payload, entry.facts, entry.created_at)

    def take_stale(self, now: float) -> bool:
        """Take what has expired as well. True when nothing is missing then."""
        for key in self.missing:
            entry = self._cache.get_stale(key, self._space, now)
            if entry is None or entry.form != VECTOR:
                return False
            self.take({key: entry})
        return True

    def rest(self, body: bytes) -> bytes:
        """The client's body with what is missing alone, each text once."""
        missing = set(self.missing)
        wanted: list[int] = []
        for place, key in enumerate(self._places):
            if key in missing:
                missing.discard(key)
                wanted.append(place)
        return body if len(wanted) == len(self._places) else subset(body, wanted)

    def keep(self, body: bytes, facts: Facts) -> None:
        """Keep the vectors that were missing.

        Args:
            body: the answer to `rest`.
            facts: what it took; each vector gets its part, by length.

        Raises:
            BadUpstreamAnswer: it is not a vector for each of them.
        """
        missing = self.missing
        vectors, tokens = take_apart(body, len(missing))
        lengths = [self._lengths[key] for key in missing]
        shares = parts(tokens, lengths)
        costs = parts(facts.cost_microusd or 0, lengths)
        now = time.time()
        for key, vector, share, cost in zip(missing, vectors, shares, costs, strict=True):
            own = msgspec.structs.replace(
                facts, input_tokens=share, cost_microusd=None if facts.cost_microusd is None else cost
            )
            self.found[key] = _Found(vector, own, now)
            self._cache.put(key, self._space, vector, own, now=now, policy=self._policy, form=VECTOR)

    def body(self, encoding_format: str | None) -> bytes:
        """The whole answer, once nothing is missing."""
        encoding: Literal["float", "base64"] = "base64" if encoding_format == "base64" else "float"
        return put_together(
            [self.found[key].vector for key in self._places],
            encoding=encoding,
            input_tokens=sum(self.found[key].facts.input_tokens for key in self._places),
            model=self._space.model,
        )

    def facts(self) -> Facts:
        """What all vectors that are there took together."""
        found = [entry.facts for entry in self.found.values()]
        costs = [facts.cost_microusd for facts in found if facts.cost_microusd is not None]
        return Facts(
            scope=self._space.scope,
            tenant=self._space.tenant,
            model=self._space.model,
            input_tokens=sum(facts.input_tokens for facts in found),
            cost_microusd=sum(costs) if costs else None,
            gpu_s=sum(facts.gpu_s for facts in found),
        )

    def age_s(self, now: float) -> int:
        """The age of the oldest vector that is there."""
        return max((max(0, int(now - entry.created_at)) for entry in self.found.values()), default=0)


def batch_of(cache: Cache, policy: Policy, space: Space, request: Canonical, extra: bytes) -> Batch | None:
    """The inputs of an embedding request; None when they are of no known shape."""
    inputs = items(request)
    return None if inputs is None else Batch(cache, policy, space, inputs, extra)

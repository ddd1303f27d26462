"""Answers that are given again: what the request path asks of the cache, and what it keeps there.

An answer is kept whole and in the client's own dialect, as the client got it
or would have got it without `stream`. A request that asks for a stream gets it
as one, whichever way it came. Where an answer cannot be turned from one form
into the other without loss, the model is asked.

Nothing here fails a request: what goes wrong with the cache is a miss.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fairlead import config as cfg
from fairlead.cache.entry import Entry, Facts, Found
from fairlead.cache.flight import Flight, Flights
from fairlead.cache.key import Canonical, Space, Spaces, read
from fairlead.cache.lookup import SEMANTIC, Cache
from fairlead.cache.policy import CACHED, NO_CONTROL, Control, Policy, control
from fairlead.errors import BadUpstreamAnswer, InvalidRequest, NotCached
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.headers import own_headers, stream_headers
from fairlead.gateway.prepare import Asked
from fairlead.gateway.semantic import Quest, Semantic
from fairlead.gateway.vectors import Batch, batch_of
from fairlead.limits.tree import DEFAULT_TENANT
from fairlead.providers.alike import DIALECTS, reworded, text_of
from fairlead.providers.embeddings import in_encoding
from fairlead.providers.kept import STREAMED, glance, stream_of_whole, whole_of_stream
from fairlead.types import Usage

_JSON: Final = b"content-type: application/json\r\n"
_ASKED_FOR: Final = (b"anthropic-beta", b"openai-beta")
"""Fields that go upstream and change what is answered."""

_LARGEST: Final = 2**63 - 1
"""An upstream may report any number of tokens; no store takes a larger one."""


class Lookup:
    """One request's business with the cache. Mutable."""

    __slots__ = (
        "alike", "batch", "control", "entry", "extra", "key", "parts", "policy", "quest", "request", "room",
        "shareable", "space",
    )  # fmt: skip

    def __init__(self, policy: Policy, space: Space, key: bytes, wishes: Control) -> None:
        self.policy = policy
        self.space = space
        self.key = key
        self.control = wishes
        self.entry: Entry | None = None
        """The answer that was found."""
        self.batch: Batch | None = None
        """The inputs of a request for embeddings, which are kept one by one."""
        self.parts: list[bytes] | None = None
        """What was relayed of a stream so far; None when it is not kept (any more)."""
        self.room = 0
        self.shareable = policy.options.coalesce and wishes is NO_CONTROL
        """It may share one call with others; whoever has wishes of its own goes its own way."""
        self.request: Canonical | None = None
        """For the semantic tier, as long as it may have a use for it."""
        self.alike: bytes | None = None
        """What the request is in every dialect, once somebody has asked."""
        self.extra = b""
        """The client's lines that go upstream and change what is answered."""
        self.quest: Quest | None = None
        """The request's business with the semantic tier."""

    def captured(self) -> bytes | None:
        """The stream that went to the client; None when there was no room for it."""
        parts, self.parts = self.parts, None
        return None if parts is None else b"".join(parts)

    def capture(self, data: bytes) -> None:
        """Keep a piece of the stream that went to the client, while there is room."""
        if self.parts is not None:
            self.room -= len(data)
            if self.room < 0:
                self.parts = None
            else:
                self.parts.append(data)


class Caching:
    """The cache under one configuration."""

    def __init__(
        self,
        cache: Cache,
        config: cfg.Config,
        semantic: Semantic | None = None,
        *,
        gpu_seconds: Callable[[str, Usage], float] = lambda _target, _usage: 0.0,
    ) -> None:
        """Join the parts.

        Args:
            cache: where answers are kept.
            config: says for which models.
            semantic: finds answers to questions that mean the same; None for nobody.
            gpu_seconds: about how much GPU time an answer took at a target; 0.0 when unknown.
        """
        self.gpu_seconds = gpu_seconds
        self.cache = cache
        self._semantic = semantic
        self.flights = Flights()
        """Answers under way."""
        self._spaces = Spaces(config)
        self._policies: Mapping[str, Policy] = {
            name: Policy(model.cache) for name, model in config.models.items() if model.cache is not None
        }

    def look(self, ex: Exchange, asked: Asked) -> Lookup | None:
        """Look for an answer in memory. None when this request is none of the cache's business."""
        policy = self._policies.get(ex.model)
        if policy is None:
            return None
        headers = ex.call.head.headers
        wishes = control(headers.get(b"cache-control"))
        space = self._spaces.of(ex.model, ex.tenant or DEFAULT_TENANT)
        request = read(ex.api.name, ex.body)
        reason = _bypass(policy, ex.api.name, request, wishes)
        if reason or request is None or space is None:
            ex.cache_headers = b"x-fairlead-cache: bypass\r\n"
            ex.cache = "bypass"
            self.cache.stats.bypassed[ex.model, reason or "body"] += 1
            return None
        extra = b"".join(b"%b:%b\n" % (name, headers[name]) for name in _ASKED_FOR if name in headers)
        lookup = Lookup(policy, space, space.key(request, extra), wishes)
        if self._semantic is not None and policy.options.semantic is not None:
            lookup.request = request
        lookup.extra = extra
        if request.api == "embeddings":
            lookup.batch = batch_of(self.cache, policy, space, request, extra)
        if wishes.no_cache:
            return lookup
        if lookup.batch is not None:
            lookup.batch.look(ex.started_at, wishes)
        else:
            lookup.entry = self.cache.get(lookup.key, space, ex.started_at, wishes.max_age_s)
        return lookup

    def join(self, ex: Exchange, asked: Asked, lookup: Lookup) -> Flight | None:
        """The answer to the same request that is under way and may be shared; None for none."""
        if not lookup.shareable:
            return None
        flight = self.flights.find(lookup.key)
        if flight is not None:
            ex.cache_headers = b"x-fairlead-cache: coalesced\r\n"
            ex.cache = "coalesced"
        return flight

    def shared(self, ex: Exchange, lookup: Lookup, facts: Facts) -> None:
        """This request was answered with what another one had asked for."""
        saved(ex, facts)
        self.cache.stats.hit("coalesced", lookup.space.tenant, lookup.space.model, facts)

    def fetch(self, ex: Exchange, lookup: Lookup) -> Awaitable[Entry | None] | None:
        """Look behind the memory; None when there is nothing to wait for."""
        if lookup.entry is not None or lookup.control.no_cache:
            return None
        return self.cache.fetch(lookup.key, lookup.space, ex.started_at, lookup.control.max_age_s)

    def reworded(self, ex: Exchange, asked: Asked, lookup: Lookup) -> Awaitable[Entry | None] | None:
        """Look for the answer to the same request in another dialect; None when there cannot be one."""
        if ex.api.name not in DIALECTS or not lookup.policy.options.share_dialects or lookup.extra:
            return None
        try:
            text = text_of(asked.neutral())
        except InvalidRequest:
            return None  # the upstream may know more fields
        if text is None:
            return None
        lookup.alike = lookup.space.alike(text)
        if not lookup.shareable or not self.cache.linked(lookup.alike):
            return None
        looking = self._reworded(ex, lookup, lookup.alike)
        return asyncio.get_running_loop().create_task(looking, name="cache fetch")

    async def _reworded(self, ex: Exchange, lookup: Lookup, alike: bytes) -> Entry | None:
        found = await self.cache.follow(alike, lookup.space, ex.started_at)
        if found is None or found[0] == ex.api.name:
            return None
        api, entry = found
        body = reworded(api, entry.payload, ex.api.name, ex.id)
        return None if body is None else self.cache.copy(lookup.key, lookup.space, body, entry)

    def similar(self, ex: Exchange, lookup: Lookup) -> Awaitable[Found | None] | None:
        """Look for the answer to a question that means the same; None when there is nothing to wait for."""
        request, lookup.request = lookup.request, None
        if self._semantic is None or request is None:
            return None
        lookup.quest = self._semantic.look(
            request, lookup.space, lookup.key, body=ex.body, extra=lookup.extra
        )
        if lookup.quest is None or lookup.control.no_cache:
            return None
        return self._semantic.find(lookup.quest, lookup.control.max_age_s)

    def missed(self, ex: Exchange, asked: Asked, lookup: Lookup) -> None:
        """The model will be asked: prepare to keep what it answers.

        Raises:
            NotCached: the client wants nothing but a kept answer.
        """
        self.cache.stats.missed(lookup.space, 1 if lookup.batch is None else len(lookup.batch.missing))
        ex.cache_headers = b"x-fairlead-cache: miss\r\n"
        ex.cache = "miss"
        if lookup.control.only_if_cached:
            raise NotCached
        if ex.flight is None and streams(ex, asked):
            lookup.parts = []
            lookup.room = self.room
            ex.kept = lookup

    @property
    def room(self) -> int:
        """The longest stream, in bytes, whose answer may be kept."""
        return 2 * self.cache.max_entry_bytes

    def rendered(self, ex: Exchange, asked: Asked, lookup: Lookup, body: bytes) -> bytes | None:
        """A whole answer in the form that is asked for; None when it cannot be given in that form."""
        name = ex.api.name
        if name == "embeddings":
            try:
                return in_encoding(body, "base64" if asked.head.encoding_format == "base64" else "float")
            except BadUpstreamAnswer:
                self.cache.drop(lookup.key, lookup.space)
                return None
        if not streams(ex, asked):
            return body
        include_usage = not ex.api.asks_usage or asked.head.include_usage
        return stream_of_whole(name, body, include_usage=include_usage, request_id=ex.id)

    def give_vectors(self, ex: Exchange, asked: Asked, batch: Batch, *, stale: bool = False) -> bytes:
        """Answer with vectors that are all there. Returns the body."""
        ex.cache = "stale" if stale else "hit"
        age_s = batch.age_s(ex.started_at)
        ex.cache_headers = b"x-fairlead-cache: %b\r\nage: %d\r\n" % (ex.cache.encode(), age_s)
        saved(ex, batch.facts())
        ex.status = 200
        body = batch.body(asked.head.encoding_format)
        ex.out.reply(200, _JSON + own_headers(ex), body)
        return body

    def give(
        self,
        ex: Exchange,
        asked: Asked,
        entry: Entry,
        body: bytes,
        *,
        stale: bool = False,
        similar: Found | None = None,
    ) -> None:
        """Answer with what was `rendered`: kept for this request, or for one that is `similar`."""
        age_s = max(0, int(ex.started_at - entry.created_at))
        ex.cache = "stale" if stale else "hit" if similar is None else "semantic"
        ex.cache_headers = b"x-fairlead-cache: %b\r\nage: %d\r\n" % (ex.cache.encode(), age_s)
        if similar is not None:
            ex.cache_headers += b"x-fairlead-cache-score: %.4f\r\nx-fairlead-cache-bound: %.4f\r\n" % (
                similar.score, similar.bound,
            )  # fmt: skip
            self.cache.stats.hit(SEMANTIC, ex.tenant or DEFAULT_TENANT, ex.model, entry.facts)
        saved(ex, entry.facts)
        ex.status = 200
        call = ex.call
        call.quiet()
        if not streams(ex, asked):
            call.reply(200, _JSON + own_headers(ex), body)
            return
        if not call.started:
            call.start(200, stream_headers(ex))
        call.write(body)
        call.end()

    def joined(
        self, ex: Exchange, asked: Asked, lookup: Lookup, batch: Batch, answer: bytes, facts: Facts
    ) -> bytes:
        """The vectors that a model has made and those that were there, as one body.

        What cannot be taken apart goes out as it came, unless something has to be added.

        Raises:
            BadUpstreamAnswer: it is not a vector for each input that was asked for.
        """
        unstored = self.cache.stats.unstored
        if ex.route is not None and ex.route.name != lookup.space.model:
            unstored[lookup.space.model, "fallback"] += 1
            return answer
        alone = not batch.found and len(batch.keys) == batch.size
        try:
            batch.keep(answer, facts)
        except BadUpstreamAnswer:
            unstored[lookup.space.model, "form"] += 1
            if alone:
                return answer
            raise
        return answer if alone else batch.body(asked.head.encoding_format)

    def facts_of(self, ex: Exchange, space: Space) -> Facts:
        """What the answer of a model took."""
        target, usage = ex.target, ex.usage
        gpu_s = self.gpu_seconds(target.name, usage) if target is not None and usage is not None else 0.0
        return _facts(ex, space, gpu_s)

    def may_be_stale(self, ex: Exchange, lookup: Lookup) -> bool:
        """Whether an expired answer is better than none to this request."""
        return not (lookup.control.no_cache or lookup.control.max_age_s is not None or ex.call.started)

    def stale(self, ex: Exchange, lookup: Lookup) -> Entry | None:
        """An answer that has expired, where the route allows it and every target is down."""
        if not self.may_be_stale(ex, lookup):
            return None
        return self.cache.get_stale(lookup.key, lookup.space, ex.started_at)

    def keep(
        self, ex: Exchange, lookup: Lookup, answer: bytes | None, *, streamed: bool
    ) -> tuple[bytes | None, Facts]:
        """Keep what the model has answered, if it may be.

        Args:
            ex: whose request it was.
            lookup: what is known of it.
            answer: what went to the client; None when it was too long to be held.
            streamed: that is a stream.

        Returns:
            The answer as a whole body, None when it cannot be had, and what it took.
        """
        facts = self.facts_of(ex, lookup.space)
        body = answer
        reason = ""
        if body is None:
            reason = "large"
        elif streamed:
            body = whole_of_stream(ex.api.name, body, ex.usage, ex.id)
        seen = glance(ex.api.name, body) if body is not None else None
        if seen is None:
            reason = reason or "form"
        else:
            route = ex.route
            fallback = route is None or route.name != lookup.space.model
            reason = lookup.policy.refuses(seen.finishes, calls_tools=seen.calls_tools, fallback=fallback)
        if reason or body is None:
            self.cache.stats.unstored[lookup.space.model, reason] += 1
        else:
            now, space, policy = time.time(), lookup.space, lookup.policy
            kept = self.cache.put(lookup.key, space, body, facts, now=now, policy=policy)
            if kept and lookup.alike is not None:
                self.cache.link(lookup.alike, lookup.key, ex.api.name, facts, now=now, policy=policy)
            if kept and lookup.quest is not None and self._semantic is not None:
                self._semantic.answered(lookup.quest, body, lookup.policy.ttl_s)
        return body, facts


def saved(ex: Exchange, facts: Facts) -> None:
    """Note what the request did not have to take."""
    ex.saved_tokens = facts.input_tokens + facts.output_tokens
    ex.saved_microusd = facts.cost_microusd
    ex.saved_gpu_s = facts.gpu_s


def _facts(ex: Exchange, space: Space, gpu_s: float) -> Facts:
    usage, cost = ex.usage, ex.cost_microusd()
    return Facts(
        scope=space.scope,
        tenant=space.tenant,
        model=space.model,
        target=ex.target.name if ex.target is not None else "",
        input_tokens=min(usage.input_tokens, _LARGEST) if usage is not None else 0,
        output_tokens=min(usage.output_tokens, _LARGEST) if usage is not None else 0,
        cost_microusd=None if cost is None else min(cost, _LARGEST),
        gpu_s=gpu_s,
    )


def streams(ex: Exchange, asked: Asked) -> bool:
    """Whether the client wants a stream of an answer that can also be had whole."""
    return asked.stream and ex.api.name in STREAMED


def _bypass(policy: Policy, api: str, request: Canonical | None, wishes: Control) -> str:
    """Why a request is neither looked up nor kept; "" when it is."""
    if wishes.no_store:
        return "no-store"
    if request is None:
        return "body" if api in CACHED else "endpoint"
    return policy.bypass(request)

"""The path of a request, top to bottom. The only module that knows the order.

`handle` runs the line and emits exactly one record in every case: answered,
refused, failed, or with the client gone (the server cancels the coroutine,
and `finally` runs). What goes wrong is raised as a `FairleadError`; only
`gateway.routes` turns it into the client's words.

It suspends only to wait for the upstream or the client: authentication and
routing read what is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from fairlead import config as cfg
from fairlead.cache.entry import Entry, Facts, Found
from fairlead.cache.flight import Flight
from fairlead.errors import FairleadError, ModelNotFound, Overloaded, UpstreamError
from fairlead.gateway import auth
from fairlead.gateway.admission import Admission
from fairlead.gateway.caching import Caching, Lookup, saved
from fairlead.gateway.coalesce import follow, form_of, launch
from fairlead.gateway.dispatch import Dispatch
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.headers import client_facts, forwarded, stream_headers
from fairlead.gateway.prepare import Asked, require_model
from fairlead.gateway.relay import deliver, relay
from fairlead.gateway.router import RouteTable
from fairlead.gateway.sampling import Sampling
from fairlead.gateway.vectors import Batch, Held
from fairlead.net.server import Head
from fairlead.providers.dialect import ClientDialect
from fairlead.providers.rewrite import read_head
from fairlead.telemetry.otel.content import Contents
from fairlead.telemetry.otel.trace_context import Sampler
from fairlead.telemetry.recorder import Recorder
from fairlead.types import Outcome

_OK: Final = Outcome.OK  # an enum's attribute costs as much as a call


class Pipeline:
    """One configuration's path. A reload builds a new one; requests under way keep theirs."""

    def __init__(
        self,
        *,
        config: cfg.Config,
        routes: RouteTable,
        dispatch: Dispatch,
        keys: Callable[[], auth.KeySnapshot],
        admission: Admission,
        caching: Caching | None,
        recorder: Recorder,
        roll: Callable[[], float],
        now: Callable[[], float],
        openai: ClientDialect,
        sampler: Sampler | None = None,
        contents: Contents | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        """Join the parts.

        Args:
            config: the whole configuration.
            routes: models and their targets.
            dispatch: asks targets until one answers.
            keys: gives the current snapshot of API keys.
            admission: reserves and charges what tenants may use.
            caching: finds and keeps answers; None when no model's are.
            recorder: takes the record of each request.
            roll: a random number in [0, 1) at each call.
            now: Unix seconds.
            openai: the dialect of errors where an API has no other.
            sampler: gives requests their place in a trace; None when no spans are made.
            contents: holds what is said in sampled requests until its span is made; None for nobody.
            sampling: has semantic metrics look at some answers; None when there are no such metrics.
        """
        self.config = config
        self.routes = routes
        self.dispatch = dispatch
        self.roll = roll
        self.now = now
        self.openai = openai
        self.admission = admission
        self.caching = caching
        self.in_flight = 0
        self._auth_required = config.auth.required
        self._stall_s = config.telemetry.stall_s
        self._keys = keys
        self._recorder = recorder
        self._sampler = sampler
        self._contents = contents
        self._sampling = sampling

    async def handle(self, ex: Exchange) -> None:
        """Answer one request.

        Raises:
            FairleadError: it could not be answered; when `ex.call.started` is true the client
                has the beginning of an answer and must be told in-band.
            asyncio.CancelledError: the client has left.
        """
        self.in_flight += 1
        if self._sampler is not None:
            self.trace(ex)
        try:
            grant = self.authenticate(ex)
            asked = self.route(ex, grant)
            if self._sampling is not None:
                self._sampling.begin(ex)
            key_name = "" if grant is None else grant.caller.name
            caching = self.caching
            lookup = None if caching is None else caching.look(ex, asked)
            if caching is not None and lookup is not None:
                await self._from_cache(ex, asked, key_name, caching, lookup)
            else:
                waiting = self.admission.reserve(ex, asked, key_name)
                if waiting is not None:
                    await waiting
                if not asked.answered_here():
                    await self._from_target(ex, asked)
            ex.outcome = _OK
        except FairleadError as error:
            ex.failed(error)
            raise
        except asyncio.CancelledError:
            ex.client_gone()
            raise
        finally:
            self.in_flight -= 1
            flight = ex.flight
            if flight is None or flight.over:
                self._end(ex)
            else:
                # The client has left, and the call goes on for those who share it.
                flight.end = partial(self._end, ex, ex.status)

    def _end(self, ex: Exchange, status: int | None = None) -> None:
        """Nothing more will happen for this request: charge it and record it.

        `status` is what its client was sent, where the call went on without it.
        """
        if status is not None:
            ex.status = status
        try:
            self.admission.settle(ex)
        finally:
            self._recorder.emit(ex.record())
        if self._sampling is not None:
            self._sampling.end(ex)

    async def _from_target(self, ex: Exchange, asked: Asked) -> bytes | None:
        """Ask the model. The whole answer, or None after a stream."""
        call = await self.dispatch.answer(ex, asked)
        if call.reader is None:
            deliver(ex, call, self.dispatch)
            return call.body
        await relay(ex, asked, call, self.dispatch)
        return None

    async def _from_cache(
        self, ex: Exchange, asked: Asked, key_name: str, caching: Caching, lookup: Lookup
    ) -> None:
        """Give a kept answer, or one that is under way for another request, or ask the model."""
        entry, batch = lookup.entry, lookup.batch
        try:
            if batch is not None and not batch.missing:
                await self._reserve_kept(ex, asked, key_name)
                caching.give_vectors(ex, asked, batch)
                return
            if entry is not None:
                if await self._give(ex, asked, key_name, caching, lookup, entry):
                    return
            elif lookup.shareable and await self._shared(ex, asked, key_name, caching, lookup):
                return
            else:
                entry = await self._fetched(ex, asked, caching, lookup)
                similar = await self._similar(ex, caching, lookup) if entry is None else None
                entry = entry if similar is None else similar.entry
                if entry is not None and await self._give(
                    ex, asked, key_name, caching, lookup, entry, similar=similar
                ):
                    return
            await self._ask(ex, asked, key_name, caching, lookup)
        except (UpstreamError, Overloaded):
            ex.out = ex.call  # if others shared it, the call is over for them too
            if batch is not None and caching.may_be_stale(ex, lookup) and batch.take_stale(ex.started_at):
                caching.give_vectors(ex, asked, batch, stale=True)
                return
            entry = caching.stale(ex, lookup)
            if entry is None or not await self._give(ex, asked, key_name, caching, lookup, entry, stale=True):
                raise

    async def _shared(
        self, ex: Exchange, asked: Asked, key_name: str, caching: Caching, lookup: Lookup
    ) -> bool:
        """Share one call with all who ask the same now. False when there is nothing in it for this one."""
        patience_s = ex.patience_s
        flight = caching.join(ex, asked, lookup)
        if flight is not None:
            await self._reserve_kept(ex, asked, key_name)
        else:
            flight = caching.flights.begin(lookup.key, room=caching.room, form=form_of(ex, asked))
            launch(ex, flight, self._fly(ex, asked, key_name, caching, lookup, flight))
        if await follow(ex, asked, caching, lookup, flight, patience_s=patience_s):
            return True
        entry = flight.entry
        if entry is not None and await self._give(
            ex, asked, key_name, caching, lookup, entry, similar=flight.similar
        ):
            return True
        self.admission.give_back(ex)
        ex.flight, ex.out = None, ex.call
        ex.patience_s, ex.deadline = patience_s, ex.started + patience_s
        return False

    async def _fly(
        self, ex: Exchange, asked: Asked, key_name: str, caching: Caching, lookup: Lookup, flight: Flight
    ) -> None:
        """The call that many share, begun by the first of them."""
        entry = await self._fetched(ex, asked, caching, lookup)
        similar = await self._similar(ex, caching, lookup) if entry is None else None
        if entry is not None:
            flight.found(entry)
        elif similar is not None:
            flight.found(similar.entry, similar)
        else:
            flight.land(*await self._ask(ex, asked, key_name, caching, lookup))

    async def _fetched(self, ex: Exchange, asked: Asked, caching: Caching, lookup: Lookup) -> Entry | None:
        """A kept answer that was not in memory."""
        batch = lookup.batch
        if batch is None:
            rewording = caching.reworded(ex, asked, lookup)
            fetching = caching.fetch(ex, lookup)
            entry = None if fetching is None else await fetching
            if entry is None and rewording is not None:
                entry = await rewording
            return entry
        looking = None if lookup.control.no_cache else batch.fetch(ex.started_at, lookup.control)
        if looking is not None:
            batch.take(await looking)
        return None

    async def _similar(self, ex: Exchange, caching: Caching, lookup: Lookup) -> Found | None:
        """A kept answer to a question that means the same."""
        finding = caching.similar(ex, lookup)
        return None if finding is None else await finding

    async def _ask(
        self, ex: Exchange, asked: Asked, key_name: str, caching: Caching, lookup: Lookup
    ) -> tuple[bytes | None, Facts]:
        """Ask the model, and keep what it answers."""
        batch = lookup.batch
        if batch is not None:
            return await self._embed(ex, asked, key_name, caching, lookup, batch)
        caching.missed(ex, asked, lookup)
        waiting = self.admission.reserve(ex, asked, key_name)
        if waiting is not None:
            await waiting
        body = await self._from_target(ex, asked)
        if body is not None:
            return caching.keep(ex, lookup, body, streamed=False)
        flight = ex.flight
        body = lookup.captured() if flight is None else flight.whole()
        return caching.keep(ex, lookup, body, streamed=True)

    async def _embed(
        self, ex: Exchange, asked: Asked, key_name: str, caching: Caching, lookup: Lookup, batch: Batch
    ) -> tuple[bytes | None, Facts]:
        """Ask the model for those vectors that are missing, and answer with all of them."""
        if not batch.missing:
            await self._reserve_kept(ex, asked, key_name)
            return caching.give_vectors(ex, asked, batch), batch.facts()
        caching.missed(ex, asked, lookup)
        whole, out, known = ex.body, ex.out, batch.facts()
        held = ex.out = Held()
        try:
            ex.body = batch.rest(whole)
            waiting = self.admission.reserve(ex, asked, key_name)
            if waiting is not None:
                await waiting
            await self._from_target(ex, asked)
            if batch.found and ex.route is not None and ex.route.name != lookup.space.model:
                # A fallback has answered, and its vectors are not to be compared with others.
                batch.found.clear()
                ex.body, known = whole, batch.facts()
                await self._from_target(ex, asked)
        finally:
            ex.body, ex.out = whole, out
        facts = caching.facts_of(ex, lookup.space)
        body = caching.joined(ex, asked, lookup, batch, held.body, facts)
        saved(ex, known)
        ex.out.reply(200, held.headers, body)
        return body, batch.facts()

    async def _reserve_kept(self, ex: Exchange, asked: Asked, key_name: str) -> None:
        waiting = self.admission.reserve_kept(ex, asked, key_name)
        if waiting is not None:
            await waiting

    async def _give(
        self,
        ex: Exchange,
        asked: Asked,
        key_name: str,
        caching: Caching,
        lookup: Lookup,
        entry: Entry,
        *,
        stale: bool = False,
        similar: Found | None = None,
    ) -> bool:
        """Answer with what was kept. False when it cannot be given in the form that is asked for."""
        body = caching.rendered(ex, asked, lookup, entry.payload)
        if body is None:
            return False
        if ex.permit is None:
            await self._reserve_kept(ex, asked, key_name)
        caching.give(ex, asked, entry, body, stale=stale, similar=similar)
        return True

    def trace(self, ex: Exchange) -> None:
        """Give a request its place in a trace, where spans are made."""
        if self._sampler is not None:
            facts = client_facts(ex.call.head)
            ex.trace_parent = facts.trace_parent
            ex.trace = self._sampler.begin(facts.trace_parent, facts.trace_state)

    def authenticate(self, ex: Exchange) -> auth.Grant | None:
        """Who asks. None when keys are not required.

        Raises:
            Overloaded: the ledger is behind; nothing is served unrecorded.
            Unauthenticated: no valid key.
        """
        if self._recorder.behind:
            raise Overloaded("the request ledger is behind", retry_after_s=2.0)
        if not self._auth_required:
            return None
        head = ex.call.head
        facts = client_facts(head)
        keys = self._keys()
        grant = facts.grant
        # The same fields carry the same key, which is what it was while the snapshot is.
        if grant is None or facts.keys is not keys.mark or ex.started_at >= grant.ends_at:
            facts.grant = facts.allowed = None
            grant = facts.grant = keys.authenticate(head.headers, ex.started_at)
            facts.keys = keys.mark
        caller = grant.caller
        ex.key_id = caller.key_id
        ex.tenant = caller.tenant
        return grant

    def check_key(self, head: Head) -> auth.Grant | None:
        """The key of a request that is no exchange (yet); None when keys are not required.

        Raises:
            Unauthenticated: no valid key.
        """
        return self._keys().authenticate(head.headers, self.now()) if self._auth_required else None

    def emit(self, ex: Exchange) -> None:
        """Record an exchange that another path than `handle` has carried out."""
        self._recorder.emit(ex.record())

    def route(self, ex: Exchange, grant: auth.Grant | None) -> Asked:
        """What is asked for, may this key have it, and which route serves it.

        Raises:
            InvalidRequest: the body is not a request.
            Forbidden: outside the key's scope.
            ModelNotFound: no route.
        """
        head = read_head(ex.body)
        model = require_model(head)
        facts = client_facts(ex.call.head)
        if grant is not None and facts.allowed != (ex.api.scope, model):
            auth.authorise(grant, ex.api.scope, model, ex.call.head.peer, ex.started_at)
            facts.allowed = (ex.api.scope, model)
        found = self.routes.find(model)
        if found is None:
            raise ModelNotFound(
                f"no route serves the model `{model[:200]}`",
                hint="`GET /v1/models` lists what there is",
                param="model",
            )
        ex.route, upstream_model = found
        ex.model = ex.route.name
        ex.stream = head.stream is True
        self.dispatch.budget.earn()
        if facts.trace_parent:
            ex.trace_parent = facts.trace_parent
        if facts.retry:
            ex.client_retry = facts.retry
        ex.patience_s = facts.patience(ex.route.config.timeouts.total_s)
        ex.deadline = ex.started + ex.patience_s
        if ex.stream and ex.api.watcher is not None:
            ex.stall_s = self._stall_s
            # Only a stream of events can begin with heartbeats.
            server = self.config.server
            beat = ex.api.dialect.heartbeat()
            ex.call.keepalive(server.commit_s, server.heartbeat_s, 200, lambda: stream_headers(ex), beat)
        trace = ex.trace
        if self._contents is not None and trace is not None and trace.sampled:
            ex.call.tap = self._contents.hold(ex.id, ex.body)
        return Asked(ex, head, upstream_model, forwarded(ex))

"""Tenants' limits on the way of a request: what is reserved before, and charged after.

Joins what the request path knows (the key, the route, the body's size) with
what `limits` decides. The state is in this process, where `reserve` decides at
once, or shared, where it gives a wait to await. `settle` never waits and is
called once for every request that `reserve` let pass, however it ended: what
was used is charged, also when the client left, and what never reached a
target is given back.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

import msgspec

from fairlead.errors import Exceeded, RateLimited
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.precheck import MOST_OUTPUT_TOKENS
from fairlead.gateway.prepare import Asked
from fairlead.limits.answer import headroom
from fairlead.limits.flows import Band, Flow
from fairlead.limits.limiter import Limiter, Permit, Wanted
from fairlead.limits.quota import Refused, State, What
from fairlead.limits.shared import SharedLimiter
from fairlead.limits.tree import DEFAULT_TENANT, Path
from fairlead.telemetry.billing.cost import cost_microusd, dearest_microusd
from fairlead.types import LimitFact, Outcome, Usage

_WITHOUT_OUTPUT: Final = frozenset({"embeddings", "rerank", "count_tokens"})
_BANDS: Final = {"interactive": Band.INTERACTIVE, "batch": Band.BATCH}
_LONGEST_MODEL: Final = 256
_MOST_WAYS: Final = 20_000


class Way(msgspec.Struct, frozen=True):
    """What applies to the requests of one key for one model."""

    path: Path
    free: Path
    """Less what counts tokens and money."""
    flow: Flow
    """Its place in the fair queues."""


class Admission:
    """The limits of one configuration, as the request path calls them."""

    def __init__(self, limiter: Limiter, shared: SharedLimiter | None, *, slack_s: float = 60.0) -> None:
        """Join the parts.

        Args:
            limiter: decides, where this process is alone.
            shared: decides, where several processes share the state.
            slack_s: by how much a reservation outlives the longest request.
        """
        self._limiter = limiter
        self._shared = shared
        self._slack_s = slack_s
        self._ways: dict[tuple[str, str, str], Way] = {}

    def way(self, ex: Exchange, key_name: str, model: str) -> Way:
        """What applies to this request for `model`, as it was asked for.

        Raises:
            Forbidden: the key's tenant is not (any more) in the configuration.
        """
        tenant = ex.tenant or DEFAULT_TENANT
        key = (tenant, ex.key_id, model)
        way = self._ways.get(key)
        if way is None:
            path = self._limiter.path(tenant, ex.key_id, key_name, model)
            way = Way(path, _free(path), _flow(path))
            if len(model) > _LONGEST_MODEL:
                return way  # clients may invent names where a wildcard serves them
            if len(self._ways) >= _MOST_WAYS:
                self._ways.clear()
            self._ways[key] = way
        return way

    def reserve(self, ex: Exchange, asked: Asked, key_name: str) -> Awaitable[None] | None:
        """Take what this request may use from every limit on its way, or from none.

        Returns:
            None when it is decided, else what to await for the decision.

        Raises:
            Forbidden: the key's tenant is unknown.
            RateLimited: a limit refuses.
        """
        model = asked.head.model or ""
        way = self.way(ex, key_name, model)
        ex.flow = way.flow
        if not way.path.limits and not asked.queued:
            return None
        asked.input_tokens = 0 if ex.api.name == "count_tokens" else asked.prompt_tokens()
        asked.output_tokens = self._expected_output(ex, asked)
        if not way.path.limits:
            return None
        return self._admit(ex, self._wanted(ex, asked, key_name), way.path)

    def reserve_bytes(self, ex: Exchange, key_name: str) -> Awaitable[None] | None:
        """As `reserve`, for a request whose tokens nobody counts: uploads, files, audio."""
        return self._reserve_nothing(ex, key_name, ex.model, self.way(ex, key_name, ex.model).path)

    def reserve_kept(self, ex: Exchange, asked: Asked, key_name: str) -> Awaitable[None] | None:
        """As `reserve`, for a kept answer: a request, but no tokens and no money, so these refuse none."""
        model = asked.head.model or ""
        return self._reserve_nothing(ex, key_name, model, self.way(ex, key_name, model).free)

    def _reserve_nothing(self, ex: Exchange, key_name: str, model: str, path: Path) -> Awaitable[None] | None:
        if not path.limits:
            return None
        wanted = Wanted(
            request_id=ex.id, tenant=ex.tenant or DEFAULT_TENANT, key_id=ex.key_id, key_name=key_name,
            model=model, input_tokens=0, output_tokens=0, cost_microusd=0,
            ttl_s=ex.deadline - ex.started + self._slack_s,
        )  # fmt: skip
        return self._admit(ex, wanted, path)

    def give_back(self, ex: Exchange) -> None:
        """Undo a `reserve`: the request goes another way than was thought, and will reserve for that."""
        permit, ex.permit = ex.permit, None
        if permit is not None:
            (self._limiter if self._shared is None else self._shared).release(permit)

    def settle(self, ex: Exchange) -> None:
        """The request has ended: charge what it used. Does nothing where nothing was reserved."""
        permit = ex.permit
        if permit is None:
            return
        ex.permit = None
        limiter = self._limiter if self._shared is None else self._shared
        if not ex.sent and not ex.saved:
            limiter.release(permit)
            return
        usage, cost = ex.usage, ex.cost_microusd() or 0
        if usage is None:
            usage = Usage()
            if ex.outcome is Outcome.CLIENT_GONE:
                # The prompt was sent, and nobody will tell what it took.
                usage = Usage(input_tokens=permit.wanted.input_tokens)
                cost = max(cost, _prompt_cost(ex, usage))
        limiter.settle(permit, usage, cost, whole=ex.outcome is Outcome.OK)

    def _admit(self, ex: Exchange, wanted: Wanted, path: Path) -> Awaitable[None] | None:
        if self._shared is not None:
            return self._admit_shared(ex, self._shared, wanted, path)
        try:
            _note(ex, self._limiter.admit(wanted, path))
        except RateLimited as error:
            _note_refusal(ex, error)
            ex.rate_headers = rate_headers(self._limiter.store.look(path.limits), ex.started_at)
            raise
        return None

    async def _admit_shared(self, ex: Exchange, shared: SharedLimiter, wanted: Wanted, path: Path) -> None:
        try:
            _note(ex, await shared.admit(wanted, path))
        except RateLimited as error:
            _note_refusal(ex, error)
            # Of the limit that refused alone: the others would take another round trip.
            ex.rate_headers = _headers_of(error.exceeded, ex.started_at)
            raise

    def _expected_output(self, ex: Exchange, asked: Asked) -> int:
        if ex.api.name in _WITHOUT_OUTPUT:
            return 0
        limit = asked.head.output_limit
        expected = self._limiter.expected_output(
            ex.key_id, asked.head.model or "", limit if limit and limit > 0 else None
        )
        return min(expected, MOST_OUTPUT_TOKENS) * asked.answers

    def _wanted(self, ex: Exchange, asked: Asked, key_name: str) -> Wanted:
        route = ex.route
        assert route is not None
        return Wanted(
            request_id=ex.id,
            tenant=ex.tenant or DEFAULT_TENANT,
            key_id=ex.key_id,
            key_name=key_name,
            model=asked.head.model or "",
            input_tokens=asked.input_tokens,
            output_tokens=asked.output_tokens,
            cost_microusd=dearest_microusd(
                (target.prices_for(asked.model) for target in route.targets),
                asked.input_tokens,
                asked.output_tokens,
            ),
            ttl_s=route.config.timeouts.total_s + self._slack_s,
        )


def _free(path: Path) -> Path:
    limits = tuple(limit for limit in path.limits if limit.what not in (What.TOKENS, What.USD))
    return msgspec.structs.replace(path, limits=limits)


def _flow(path: Path) -> Flow:
    return Flow(
        names=tuple(node.name for node in path.nodes),
        weights=tuple(node.weight for node in path.nodes),
        band=_BANDS[path.priority],
    )


def _note(ex: Exchange, permit: Permit) -> None:
    """Keep the permit, and what it says for the client's headers and the record."""
    ex.permit = permit
    admitted = permit.admitted
    if admitted is None:
        return
    shadowed = {refused.state.limit.id: refused for refused in admitted.shadowed}
    ex.limits = tuple(_fact(state, shadowed.get(state.limit.id)) for state in admitted.states)
    ex.rate_headers = rate_headers(admitted.states, ex.started_at)


def _fact(state: State, shadowed: Refused | None) -> LimitFact:
    limit = state.limit
    used = state.used + state.reserved
    if shadowed is not None:
        return LimitFact(
            limit=limit.id, verdict="shadowed", amount=limit.amount, used=used, asked=shadowed.cost
        )
    return LimitFact(limit=limit.id, amount=limit.amount, used=used)


def _note_refusal(ex: Exchange, error: RateLimited) -> None:
    exceeded = error.exceeded
    if exceeded is not None:
        ex.limits = (
            LimitFact(
                limit=exceeded.limit,
                verdict="refused",
                amount=exceeded.amount,
                used=exceeded.used + exceeded.reserved,
                asked=exceeded.asked,
            ),
        )


def rate_headers(states: tuple[State, ...], now: float) -> bytes:
    """The `x-ratelimit-*` lines of the tightest rates, in OpenAI's form: resets are durations in seconds."""
    block = b""
    for what in (What.REQUESTS, What.TOKENS):
        room = headroom(states, what)
        if room is not None:
            block += _lines(what, room.limit, room.remaining, room.resets_at - now)
    return block


def _headers_of(exceeded: Exceeded | None, now: float) -> bytes:
    if exceeded is None or exceeded.what not in (What.REQUESTS, What.TOKENS):
        return b""
    return _lines(exceeded.what, exceeded.amount, exceeded.remaining, (exceeded.resets_at or now) - now)


def _lines(what: str, limit: int, remaining: int, reset_s: float) -> bytes:
    name = what.encode()
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %.3fs\r\n" % (
        name, limit, name, remaining, name, max(0.0, reset_s),
    )  # fmt: skip


def _prompt_cost(ex: Exchange, usage: Usage) -> int:
    """What the prompt costs at the target that was asked last."""
    route = ex.route
    if route is None or not ex.attempts:
        return 0
    last = ex.attempts[-1]
    prices = next((one.prices_for(last.model) for one in route.targets if one.name == last.target), None)
    return 0 if prices is None else cost_microusd(usage, prices)

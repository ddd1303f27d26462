"""Asks targets until one answers: retries, fallbacks, hedges, and waiting for concurrency.

The choices are pure (`router.choose`, `retry.decide`); this module carries
them out and keeps the books: a target's requests in flight, its breaker, its
latency, and the attempts of the exchange.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from fairlead import config as cfg
from fairlead.errors import DeadlineExceeded, Overloaded
from fairlead.gateway.attempt import AttemptFailed, UpstreamCall, ask
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.hedge import HedgeShare, race
from fairlead.gateway.prepare import Asked
from fairlead.gateway.refusal import client_error
from fairlead.gateway.retry import RetryBudget, Step, decide
from fairlead.gateway.router import Load, Route, RouteTable, Target
from fairlead.gateway.waiting import WaitingRoom
from fairlead.net.client import Client
from fairlead.providers.estimate import estimate_from_body
from fairlead.types import Attempt, Failure, FailureKind, Usage

_TRIAL_PATIENCE_S: Final = 2.0
"""Least time a half-open target's trial gets for its first token when others could answer."""
_TIMER_SLACK_S: Final = 0.005
_MOST_OUTPUT_TOKENS: Final = 1_000_000_000
_ASSUMED_OUTPUT_TOKENS: Final = 1024
"""Output assumed for cost caps when a request names no maximum."""


class Dispatch:
    """Asks targets on behalf of exchanges."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        client: Client,
        budget: RetryBudget,
        waiting: WaitingRoom,
        retry: cfg.Retry,
        roll: Callable[[], float],
    ) -> None:
        """Join the parts.

        Args:
            routes: models and their targets, for fallbacks.
            client: the upstream client.
            budget: the retry budget of the whole gateway.
            waiting: where requests wait for a target's concurrency.
            retry: the configured bounds of retries.
            roll: a random number in [0, 1) at each call.
        """
        self.budget = budget
        self.retry = retry
        self._routes = routes
        self._client = client
        self._waiting = waiting
        self._roll = roll
        self._hedges = HedgeShare()
        # One target may serve several models, and its places are theirs together.
        self._sharing: dict[Load, list[str]] = {}
        for route in routes.routes:
            for target in route.targets:
                if target.config.max_concurrency is not None:
                    self._sharing.setdefault(target.load_state, []).append(route.name)

    async def answer(self, ex: Exchange, asked: Asked) -> UpstreamCall:
        """The first answer worth committing to, over the route and its fallbacks.

        Raises:
            DeadlineExceeded: the request's time ran out.
            FairleadError: nobody answered; what the last failure means for the client.
        """
        route = ex.route
        assert route is not None
        try:
            return await self._from_route(ex, asked, route)
        except AttemptFailed as failed:
            last = failed
        pending: list[tuple[Route, str]] = []
        seen = {route.name}
        while True:
            failure = last.failure
            if time.monotonic() >= ex.deadline:
                message = f"no answer began within the request's deadline; last: {failure.message}"
                raise DeadlineExceeded(message) from last
            pending[:0] = self._fallbacks(route, failure, seen)
            if not pending:
                raise client_error(failure, last.body) from last
            route, asked.model = pending.pop(0)
            ex.route = route
            try:
                return await self._from_route(ex, asked, route)
            except AttemptFailed as failed:
                last = failed

    async def _from_route(self, ex: Exchange, asked: Asked, route: Route) -> UpstreamCall:
        """The first answer of `route`'s targets. Raises the AttemptFailed that ended the search."""
        tried: dict[Target, int] = {}
        failure: AttemptFailed | None = None
        if route.guarded:
            _refuse_costly(route, asked)
            failure = _too_small(route, asked, tried)
        attempts = 0
        config = route.config
        prefix = asked.affinity() if config.strategy == "prefix-affinity" else b""
        again: Target | None = None
        woken = False
        while True:
            now = time.monotonic()
            target = again or route.choose(tried=tried, now=now, roll=self._roll(), prefix=prefix)
            again = None
            if target is None:
                if failure is not None:
                    raise failure
                await self._wait(ex, route, now, woken=woken)
                woken = True
                continue
            attempts += 1
            tried[target] = tried.get(target, 0) + 1
            try:
                if config.hedge is not None and ex.stream and attempts == 1:
                    return await self._hedged(ex, asked, route, target, tried)
                call = asked.for_target(target, keep_text=config.continue_cut_streams)
                await self.send(ex, route, call)
                return call
            except AttemptFailed as failed:
                failure = failed
            now = time.monotonic()
            decision = decide(
                failure.failure,
                attempts=attempts,
                same_target=tried[target],
                others=route.choose(tried=tried, now=now, roll=0.0) is not None,
                budget=self.budget.remaining(now) >= 1,
                remaining_s=ex.deadline - now,
                config=self.retry,
                roll=self._roll(),
            )
            if decision.step is Step.AGAIN or decision.step is Step.NEXT:
                # Only what is repeated costs: a client's malformed requests use up nobody's retries.
                self.budget.spend(failure.failure, now)
            if decision.step is Step.AGAIN:
                await asyncio.sleep(decision.pause_s)
                # Meanwhile its breaker may have opened; then nobody is left to ask.
                # (The loop's timers may fire a little before the pause that the upstream asked for is over.)
                if not target.admits(time.monotonic() + _TIMER_SLACK_S):
                    raise failure
                again = target
            elif decision.step is not Step.NEXT:
                raise failure

    async def send(self, ex: Exchange, route: Route, call: UpstreamCall) -> None:
        """Carry out a prepared attempt, with its bookkeeping.

        Once this has returned, the call counts as in flight until `close`.

        Raises:
            AttemptFailed: it was not answered.
        """
        target = call.target
        breaker = target.breaker
        started = call.started = time.monotonic()
        trial = breaker.start()
        if not ex.sent:
            ex.sent = started
            ex.waited_s = ex.queue_s
        target.load_state.in_flight += 1
        failure: Failure | None = None
        answered = False
        _set_patience(call, ex, route, trial=trial)
        try:
            await ask(self._client, call)
            answered = True
        except AttemptFailed as failed:
            failure = failed.failure
            if not call.native:
                failed.body = b""
            now = time.monotonic()
            if failure.kind is FailureKind.TIMEOUT and now >= ex.deadline:
                breaker.abandon()  # the caller's patience ended; that says nothing of the target
            elif failed.stale:
                breaker.abandon()  # servers close idle connections; the next one is new
            else:
                breaker.fail(failure, now)
            raise
        finally:
            if not answered:
                if failure is None:
                    breaker.abandon()
                self.left(target)
                ex.attempts.append(_record(ex, call, failure))
        if trial:
            breaker.succeed(call.first_token)
        target.load_state.observe(call.first_token - started)

    def close(
        self,
        ex: Exchange,
        route: Route,
        call: UpstreamCall,
        *,
        failure: Failure | None = None,
        abandoned: bool = False,
        usage: Usage | None = None,
    ) -> None:
        """An answered call has ended: completely, with `failure`, or because nobody wants it any more."""
        target = call.target
        now = time.monotonic()
        late = failure is not None and failure.kind is FailureKind.TIMEOUT and now >= ex.deadline
        if failure is not None and not late:
            target.breaker.fail(failure, now)
        elif abandoned or late:
            target.breaker.abandon()
        else:
            target.breaker.succeed(now)
        if call.reader is not None:
            # A whole answer's connection went back when its body was complete.
            if failure is None and not abandoned:
                call.conn.release()
            else:
                call.conn.abort()
        self.left(target)
        ex.attempts.append(_record(ex, call, failure, usage))

    def continuation(self, ex: Exchange, route: Route, failure: Failure, now: float) -> Target | None:
        """Who may go on with a stream that was cut; None when it is not allowed or nobody can."""
        if not route.config.continue_cut_streams or len(ex.attempts) >= self.retry.max_attempts:
            return None
        target = route.choose(tried=(), now=now, roll=self._roll())
        if target is None or not self.budget.spend(failure, now):
            return None
        return target

    async def _hedged(
        self, ex: Exchange, asked: Asked, route: Route, first: Target, tried: dict[Target, int]
    ) -> UpstreamCall:
        """Ask `first`, and a second target when it is slow to start; the first token wins."""
        hedge = route.config.hedge
        assert hedge is not None
        self._hedges.requested()

        def second() -> Target | None:
            target = route.choose(tried=tried, now=time.monotonic(), roll=self._roll())
            if target is None or not self._hedges.allows(hedge.max_fraction):
                return None
            cost = estimated_usd(target, asked)
            if cost is not None and cost > hedge.max_cost_usd:
                return None
            tried[target] = 1
            self._hedges.hedged()
            return target

        async def attempt(target: Target, hedged: bool) -> UpstreamCall:
            call = asked.for_target(target, keep_text=route.config.continue_cut_streams)
            call.hedge = hedged
            await self.send(ex, route, call)
            return call

        def discard(call: UpstreamCall) -> None:
            self.close(ex, route, call, abandoned=True)

        # A race needs tasks; this one is the only thing a request does in them.
        contest = race(attempt, first, second, discard, hedge.after_s)
        return await asyncio.get_running_loop().create_task(contest)

    async def _wait(self, ex: Exchange, route: Route, now: float, *, woken: bool) -> None:
        """No target admits a request now: wait for concurrency, or fail with an honest wait."""
        wait_s = route.wait_s(now)
        if wait_s == 0.0:
            try:
                await self._waiting.wait(route.name, ex.deadline, woken=woken)
            except Overloaded as error:
                if time.monotonic() >= ex.deadline:
                    raise
                raise AttemptFailed(_none(error.message, error.retry_after_s)) from error
            finally:
                ex.queue_s += time.monotonic() - now
            return
        if wait_s is None:
            raise AttemptFailed(_none(f"every target of `{route.name}` is drained", None))
        if all(t.breaker.rate_limited(now) for t in route.targets if t.config.weight):
            message = f"every target of `{route.name}` is at its rate limit"
            limit = Failure(kind=FailureKind.RATE_LIMITED, message=message, retry_after_s=max(wait_s, 0.5))
            raise AttemptFailed(limit)
        last = next((t.breaker.last_failure for t in route.targets if t.breaker.last_failure), None)
        reason = f"; last failure: {last.message}" if last is not None else ""
        message = f"every target of `{route.name}` is down or paused{reason}"
        raise AttemptFailed(_none(message, max(wait_s, 0.5)))

    def left(self, target: Target) -> None:
        """A request has left `target`: its place is free for whoever waits for one."""
        target.load_state.in_flight -= 1
        for name in self._sharing.get(target.load_state, ()):
            self._waiting.wake(name)

    def _fallbacks(self, route: Route, failure: Failure, seen: set[str]) -> list[tuple[Route, str]]:
        """Routes to turn to after `failure`, with the model to ask for; each at most once per request."""
        options = route.config.fallbacks
        if failure.kind is FailureKind.CONTEXT_WINDOW:
            names = options.context_window
        elif failure.kind is FailureKind.CONTENT_POLICY:
            names = options.content_policy
        elif failure.code == "cost_cap":
            names = options.cost_cap
        elif failure.kind is FailureKind.INVALID_REQUEST:
            names = []
        else:
            names = options.any
        found: list[tuple[Route, str]] = []
        for name in names:
            match = self._routes.find(name)
            if match is not None and name not in seen:
                seen.add(name)
                found.append(match)
        return found


def estimated_usd(target: Target, asked: Asked) -> float | None:
    """What a request may cost at `target`'s configured prices, in USD; None when it has none."""
    config = target.config
    if config.input_usd_per_mtok is None and config.output_usd_per_mtok is None:
        return None
    # JSON knows no largest integer, and floats do.
    output = min(max(asked.head.output_limit or _ASSUMED_OUTPUT_TOKENS, 0), _MOST_OUTPUT_TOKENS)
    return (
        estimate_from_body(asked.ex.body) * (config.input_usd_per_mtok or 0.0)
        + output * (config.output_usd_per_mtok or 0.0)
    ) / 1e6


def timeouts_of(route: Route, target: Target) -> cfg.Timeouts:
    """The target's own time-outs, else its model's."""
    return target.config.timeouts or route.config.timeouts


def _refuse_costly(route: Route, asked: Asked) -> None:
    cap = route.config.max_cost_usd
    if cap is None:
        return
    costs = [cost for target in route.targets if (cost := estimated_usd(target, asked)) is not None]
    if costs and min(costs) > cap:
        message = f"the estimated cost of {min(costs):.4f} USD is above `max_cost_usd` of `{route.name}`"
        raise AttemptFailed(
            Failure(kind=FailureKind.INVALID_REQUEST, code="cost_cap", status=400, message=message)
        )


def _too_small(route: Route, asked: Asked, tried: dict[Target, int]) -> AttemptFailed | None:
    """Count targets whose context window the prompt certainly exceeds as tried."""
    failure: AttemptFailed | None = None
    for target in route.targets:
        window = target.config.context_window
        if window is not None and estimate_from_body(asked.ex.body) > window:
            tried[target] = 1
            message = f"the prompt is longer than the {window} tokens of {target.name}"
            kind = FailureKind.CONTEXT_WINDOW
            failure = AttemptFailed(Failure(kind=kind, message=message, status=400))
    return failure


def _none(message: str, retry_after_s: float | None) -> Failure:
    return Failure(
        kind=FailureKind.OVERLOADED, code="no_target", message=message, retry_after_s=retry_after_s
    )


def _set_patience(call: UpstreamCall, ex: Exchange, route: Route, *, trial: bool) -> None:
    """How long this attempt may take: the configured times, bounded by the request's deadline."""
    timeouts = timeouts_of(route, call.target)
    deadline = call.deadline = ex.deadline
    headers = call.started + timeouts.headers_s
    first_token = call.started + timeouts.first_token_s if call.reader is not None else headers
    if trial and len(route.targets) > 1:
        # A trial that hangs costs one request this much and no more.
        patience_s = max(_TRIAL_PATIENCE_S, 4 * call.target.load_state.latency_s)
        first_token = min(first_token, call.started + patience_s)
    if first_token > deadline:
        first_token = deadline
    call.first_token_by = first_token
    call.headers_by = headers if headers < first_token else first_token
    call.commit_tokens = timeouts.commit_tokens
    call.min_tokens_per_s = timeouts.min_tokens_per_s


def _record(ex: Exchange, call: UpstreamCall, failure: Failure | None, usage: Usage | None = None) -> Attempt:
    started = ex.started
    answered = 200 if call.headers else None
    return Attempt(
        target=call.target.name,
        started_s=call.started - started,
        connect_s=call.connect_s,
        headers_s=call.headers - started if call.headers else None,
        first_token_s=call.first_token - started if call.first_token else None,
        ended_s=time.monotonic() - started,
        status=failure.status if failure is not None else answered,
        failure=failure,
        usage=usage,
        hedge=call.hedge,
    )

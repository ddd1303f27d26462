"""Asks targets until one answers: retries, fallbacks, hedges, and waiting for concurrency.

The choices are pure (`router.choose`, `retry.decide`); this module carries
them out and keeps the books: a target's requests in flight, its breaker, its
latency, and the attempts of the exchange.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container, Iterable
from typing import Final

from fairlead import config as cfg
from fairlead.errors import DeadlineExceeded, Overloaded
from fairlead.gateway.attempt import AttemptFailed, UpstreamCall, ask
from fairlead.gateway.billing import cost_of, unanswered
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.hedge import HedgeShare, race
from fairlead.gateway.precheck import most_microusd, pass_over, refuse_costly
from fairlead.gateway.prepare import Asked
from fairlead.gateway.queue import TargetQueue, turn
from fairlead.gateway.rate_headers import rate_facts
from fairlead.gateway.refusal import client_error
from fairlead.gateway.retry import RetryBudget, Step, decide
from fairlead.gateway.router import Route, RouteTable, Target
from fairlead.limits.flows import Entry
from fairlead.net.client import Client
from fairlead.telemetry.labels import clean
from fairlead.types import Attempt, Failure, FailureKind, Usage

_TRIAL_PATIENCE_S: Final = 2.0
"""Least time a half-open target's trial gets for its first token when others could answer."""
_TIMER_SLACK_S: Final = 0.005


class Dispatch:
    """Asks targets on behalf of exchanges."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        client: Client,
        budget: RetryBudget,
        retry: cfg.Retry,
        roll: Callable[[], float],
    ) -> None:
        """Join the parts.

        Args:
            routes: models and their targets, for fallbacks.
            client: the upstream client.
            budget: the retry budget of the whole gateway.
            retry: the configured bounds of retries.
            roll: a random number in [0, 1) at each call.
        """
        self.budget = budget
        self.retry = retry
        self._routes = routes
        self._client = client
        self._roll = roll
        self._hedges = HedgeShare()

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
                if isinstance(last.__cause__, Overloaded):
                    raise last.__cause__
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
            refuse_costly(route, asked)
            failure = pass_over(route, asked, tried)
        attempts = 0
        config = route.config
        prefix = asked.affinity() if config.strategy == "prefix-affinity" else b""
        again: Target | None = None
        while True:
            now = time.monotonic()
            target = again or route.choose(tried=tried, now=now, roll=self._roll(), prefix=prefix)
            place: Entry | None = None
            if target is not None and target.queue is not None:
                place = target.queue.enter(asked.share(), now)
            if target is None or (place is None and target.queue is not None):
                lines = _lines((again,) if again is not None else route.targets, () if again else tried, now)
                if failure is not None and not lines:
                    raise failure
                target, place = await self._turn(ex, asked, route, lines, now)
            again = None
            attempts += 1
            tried[target] = tried.get(target, 0) + 1
            try:
                if config.hedge is not None and ex.stream and attempts == 1:
                    return await self._hedged(ex, asked, route, target, place, tried)
                call = self._prepared(asked, target, place, keep_text=config.continue_cut_streams)
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
                if not target.healthy(time.monotonic() + _TIMER_SLACK_S):
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
        reported: Usage | None = None
        answered = False
        blamed = True
        _set_patience(call, ex, route, trial=trial)
        try:
            await ask(self._client, call)
            answered = True
        except AttemptFailed as failed:
            failure, reported = failed.failure, failed.usage
            if not call.native:
                failed.body = b""
            now = time.monotonic()
            if (
                failure.kind is FailureKind.RATE_LIMITED
                and failure.retry_after_s
                and target.queue is not None
            ):
                target.queue.limited(failure.retry_after_s, now)
            # A caller's patience that has ended says nothing of the target. Nor does a closed connection
            # that had idled, as servers close them.
            if failed.stale or (failure.kind is FailureKind.TIMEOUT and now >= ex.deadline):
                blamed = False
            else:
                breaker.fail(failure, now)
            raise
        finally:
            if not answered:
                if trial and (failure is None or not blamed):
                    breaker.abandon()
                self._leave(call, None, time.monotonic())
                usage, estimated = unanswered(call, failure, reported)
                ex.attempts.append(_record(ex, call, failure, usage, estimated=estimated))
        if trial:
            breaker.succeed(call.first_token)
        target.load_state.observe(call.first_token - started)
        if call.place is not None:
            _tell_queue(call)

    def close(
        self,
        ex: Exchange,
        route: Route,
        call: UpstreamCall,
        *,
        failure: Failure | None = None,
        abandoned: bool = False,
        usage: Usage | None = None,
        estimated: bool = False,
    ) -> None:
        """An answered call has ended: completely, with `failure`, or because nobody wants it any more.

        `usage` is what it used, `estimated` when that was counted here.
        """
        target = call.target
        now = time.monotonic()
        late = failure is not None and failure.kind is FailureKind.TIMEOUT and now >= ex.deadline
        if failure is not None and not late:
            target.breaker.fail(failure, now)
        elif not (abandoned or late):
            target.breaker.succeed(now)
        if call.reader is not None:
            # A whole answer's connection went back when its body was complete.
            if failure is None and not abandoned:
                call.conn.release()
            else:
                call.conn.abort()
        self._leave(call, usage, now)
        ex.attempts.append(_record(ex, call, failure, usage, estimated=estimated))

    def continuation(self, ex: Exchange, route: Route, failure: Failure, now: float) -> Target | None:
        """Who may go on with a stream that was cut; None when it is not allowed or nobody can."""
        if not route.config.continue_cut_streams or len(ex.attempts) >= self.retry.max_attempts:
            return None
        target = route.choose(tried=(), now=now, roll=self._roll())
        if target is None or not self.budget.spend(failure, now):
            return None
        return target

    def hold(self, call: UpstreamCall, asked: Asked) -> bool:
        """Take a place at the call's target, if it needs one, without a wait. False when there is none."""
        queue = call.target.queue
        if queue is not None:
            call.place = queue.enter(asked.share(), time.monotonic())
            return call.place is not None
        return True

    async def _hedged(
        self,
        ex: Exchange,
        asked: Asked,
        route: Route,
        first: Target,
        place: Entry | None,
        tried: dict[Target, int],
    ) -> UpstreamCall:
        """Ask `first`, and a second target when it is slow to start; the first token wins."""
        hedge = route.config.hedge
        assert hedge is not None
        self._hedges.requested()
        places = {first: place}

        def second() -> Target | None:
            now = time.monotonic()
            target = route.choose(tried=tried, now=now, roll=self._roll())
            if target is None or not self._hedges.allows(hedge.max_fraction):
                return None
            cost = most_microusd(target, asked)
            if cost is not None and cost > hedge.max_cost_usd * 1e6:
                return None
            if target.queue is not None:
                places[target] = target.queue.enter(asked.share(), now)
                if places[target] is None:
                    return None  # a hedge waits for nobody
            tried[target] = 1
            self._hedges.hedged()
            return target

        async def attempt(target: Target, hedged: bool) -> UpstreamCall:
            keep_text = route.config.continue_cut_streams
            call = self._prepared(asked, target, places.pop(target, None), keep_text=keep_text)
            call.hedge = hedged
            await self.send(ex, route, call)
            return call

        def discard(call: UpstreamCall) -> None:
            usage, estimated = unanswered(call, None, None)
            self.close(ex, route, call, abandoned=True, usage=usage, estimated=estimated)

        # A race needs tasks; this one is the only thing a request does in them.
        contest = race(attempt, first, second, discard, hedge.after_s)
        try:
            return await asyncio.get_running_loop().create_task(contest)
        finally:
            # A task that is cancelled before its first step never takes what was meant for it.
            for target, unused in places.items():
                if unused is not None and target.queue is not None:
                    target.queue.give_back(unused, time.monotonic())

    async def _turn(
        self, ex: Exchange, asked: Asked, route: Route, lines: dict[TargetQueue, Target], now: float
    ) -> tuple[Target, Entry | None]:
        """No target has a place for this request now: wait for one, or fail with an honest wait."""
        while lines:
            begun = now
            try:
                queue, place = await turn(
                    list(lines), asked.share(), now, deadline=ex.deadline, max_wait_s=route.config.max_wait_s
                )
            except Overloaded as error:
                if time.monotonic() >= ex.deadline:
                    raise
                raise AttemptFailed(_none(error.message, error.retry_after_s)) from error
            finally:
                now = time.monotonic()
                ex.queue_s += now - begun
            target = lines[queue]
            if target.healthy(now + _TIMER_SLACK_S):
                return target, place
            queue.give_back(place, now)  # it went down while the request waited for it
            lines = _lines(lines.values(), (), now)
        raise AttemptFailed(_nobody(route, now))

    def _prepared(
        self, asked: Asked, target: Target, place: Entry | None, *, keep_text: bool
    ) -> UpstreamCall:
        """The request for a target at which it has a place; gives that back when there is no such request."""
        try:
            call = asked.for_target(target, keep_text=keep_text)
        except BaseException:
            if place is not None and target.queue is not None:
                target.queue.give_back(place, time.monotonic())
            raise
        call.place = place
        return call

    def _leave(self, call: UpstreamCall, usage: Usage | None, now: float) -> None:
        """A request has left its target: the place is free for whoever waits for one."""
        target = call.target
        target.load_state.in_flight -= 1
        queue, place = target.queue, call.place
        if queue is None or place is None:
            return
        call.place = None
        if not call.first_token:
            queue.give_back(place, now)
        elif usage is None:
            queue.leave(place, now)
        else:
            queue.leave(
                place,
                now,
                input_tokens=usage.input_tokens,
                cached_tokens=usage.cache_read_tokens,
                output_tokens=usage.output_tokens,
            )

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


def _nobody(route: Route, now: float) -> Failure:
    """Why no target of the route can be asked, now or after a wait for a place."""
    wait_s = route.wait_s(now)
    if wait_s is None:
        return _none(f"every target of `{route.name}` is drained", None)
    last = [target.breaker.last_failure for target in route.targets]
    limited = all(target.breaker.rate_limited(now) for target in route.targets)
    reason = next((f"; {failure.message}" for failure in last if failure is not None), "")
    if limited:
        message = f"every target of `{route.name}` is rate limited upstream"
        return Failure(kind=FailureKind.RATE_LIMITED, message=message, retry_after_s=wait_s)
    message = f"every target of `{route.name}` is down or paused{reason}"
    return _none(message, max(wait_s, 0.5))


def _lines(targets: Iterable[Target], tried: Container[Target], now: float) -> dict[TargetQueue, Target]:
    """The queues of those targets that were not asked yet and could be, once there is a place."""
    return {
        target.queue: target
        for target in targets
        if target.queue is not None and target not in tried and target.healthy(now + _TIMER_SLACK_S)
    }


def _tell_queue(call: UpstreamCall) -> None:
    """What the beginning of an answer tells of its target's capacity."""
    queue = call.target.queue
    assert queue is not None
    now = call.first_token
    if call.reader is not None:
        # The time of a whole answer tells of its length.
        queue.first_token(now - call.started, now)
    if queue.rate is not None:
        tokens, requests = rate_facts(call.head.raw_headers, time.time())
        if tokens is not None or requests is not None:
            queue.told(tokens, requests, now)


def timeouts_of(route: Route, target: Target) -> cfg.Timeouts:
    """The target's own time-outs, else its model's."""
    return target.config.timeouts or route.config.timeouts


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


def _record(
    ex: Exchange, call: UpstreamCall, failure: Failure | None, usage: Usage | None, *, estimated: bool
) -> Attempt:
    started = ex.started
    cost = cost_of(call, failure, usage)
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
        cost_microusd=cost,
        model=clean(call.model) if call.target.model is None else "",
        priced_by=call.prices.source if usage is not None and call.prices is not None else "",
        usage_estimated=estimated,
        span_id=call.span_id,
    )

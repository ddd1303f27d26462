"""Why a request went as it did, from its record alone: sentences for people, the facts beside them.

Pure: the same record gives the same explanation, with or without a running
gateway, and after the configuration has changed. What a record does not hold is
not guessed: which other targets there were, for example, or how their breakers
stood.

The steps are in the order of the request's path (`pipeline`), each part of it
one function here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from fairlead.errors import AboveLimit, FairleadError, ModelNotFound, NotCached
from fairlead.limits.answer import amount_text, limit_name
from fairlead.limits.quota import Limit, What, Window
from fairlead.types import GIVEN_AGAIN, Attempt, Failure, FailureKind, LimitFact, Outcome, RequestRecord

Part = Literal["request", "cache", "limits", "queue", "attempt", "fallback", "answer", "cost"]

_KINDS: Final[dict[FailureKind, str]] = {
    FailureKind.UNREACHABLE: "could not be reached",
    FailureKind.TLS: "could not be reached: TLS failed",
    FailureKind.TIMEOUT: "did not answer in time",
    FailureKind.TOO_SLOW: "was slower than `min_tokens_per_s`",
    FailureKind.DISCONNECTED: "closed the connection without an answer",
    FailureKind.CUT: "ended in the middle of its answer",
    FailureKind.EMPTY: "gave an empty answer",
    FailureKind.BAD_ANSWER: "gave an answer that is not its dialect",
    FailureKind.SERVER_ERROR: "failed",
    FailureKind.OVERLOADED: "was overloaded",
    FailureKind.RATE_LIMITED: "limited the rate",
    FailureKind.QUOTA: "has no credit left for the gateway's account",
    FailureKind.AUTH: "refused the gateway's credential",
    FailureKind.NOT_FOUND: "does not know the model",
    FailureKind.INVALID_REQUEST: "refused the request as invalid",
    FailureKind.CONTEXT_WINDOW: "refused the prompt as too long",
    FailureKind.CONTENT_POLICY: "refused the content",
    FailureKind.UNSUPPORTED: "cannot carry the request",
}
_LEAST_PAUSE_S: Final = 0.02
"""Shorter gaps between two attempts are the gateway's own work and no pause."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened, in words and as data."""

    part: Part
    verdict: str
    """What became of it, one word: `admitted`, `shadowed`, `waited`, `failed`, ..."""
    text: str
    at_s: float | None = None
    """Seconds after the request's arrival; None where the record does not say."""
    target: str = ""
    limit: LimitFact | None = None
    failure: FailureKind | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request went as it did."""

    id: str
    """As in the answer's `x-request-id`."""
    started_at: float
    outcome: Outcome
    status: int
    error: str
    summary: str
    """The whole in one sentence."""
    steps: tuple[Step, ...]


def explain(record: RequestRecord) -> Explanation:
    """What the record says of its request."""
    answer = _answer(record)
    return Explanation(
        id=record.id,
        started_at=record.started_at,
        outcome=record.outcome,
        status=record.status,
        error=record.error,
        summary=_summary(record, answer),
        steps=(
            _request(record),
            *_looked_up(record),
            *_limits(record),
            *_queue(record),
            *_attempts(record),
            *_fallback(record),
            *_stale(record),
            answer,
            *_cost(record),
        ),
    )


def _summary(record: RequestRecord, answer: Step) -> str:
    if refusal := next((fact for fact in record.limits if fact.verdict == "refused"), None):
        name, asked = _limit_words(refusal)[0], _limit_words(refusal)[3]
        if record.error == AboveLimit.code:
            return f"Limited: it asked for {asked}, more than {name} ever admits at once."
        return f"Limited: {name} had no room for it."
    extra = []
    if record.queue_s >= 0.001:
        extra.append(f"it waited {_seconds(record.queue_s)} for a place")
    failed = sum(attempt.failure is not None for attempt in record.attempts)
    if failed and record.outcome is Outcome.OK:
        extra.append(f"{failed} {'attempt' if failed == 1 else 'attempts'} failed first")
    if record.fallback and record.outcome is Outcome.OK:
        extra.append(f"the fallback `{record.fallback}` answered")
    if any(fact.verdict == "shadowed" for fact in record.limits):
        extra.append("a shadow limit would have refused it")
    return answer.text.removesuffix(".") + (f" ({'; '.join(extra)})." if extra else ".")


# --- the parts of the path ----------------------------------------------------------------------


def _request(record: RequestRecord) -> Step:
    model = _model(record)
    whose = f"the API key {record.key_id} of the tenant `{record.tenant}`" if record.key_id else "no API key"
    again = f" It was the client's own retry number {record.client_retry}." if record.client_retry else ""
    stream = ", as a stream" if record.stream else ""
    text = f"It asked for {model} by `{record.endpoint}`{stream}, with {whose}.{again}"
    return Step(part="request", verdict="asked", text=text, at_s=0.0)


def _model(record: RequestRecord) -> str:
    if record.model:
        return f"the model `{record.model}`"
    # Who may not ask, or asks nothing that can be read, is refused before anybody reads which model.
    if record.error == ModelNotFound.code:
        return "a model that is not known here"
    return "a model (it was refused before that was read)"


def _looked_up(record: RequestRecord) -> Iterator[Step]:
    match record.cache:
        case "hit":
            text = f"The cache had the answer of an earlier request that was the same{_saved(record)}."
        case "miss" | "stale":
            text = "The cache had no answer to it that was fresh enough."
            if record.error == NotCached.code:
                text += " The request wanted nothing else (`only-if-cached`), so no model was asked."
        case "semantic":
            text = (
                "The cache had the answer to another request that means the same, and its bound on wrong "
                f"answers allowed to give it{_saved(record)}."
            )
        case "coalesced":
            text = f"The same request was under way already, and it shared that one's answer{_saved(record)}."
        case "bypass":
            text = (
                "The cache was not asked and keeps nothing of it, by the rules of the route or the request's "
                "own `cache-control`."
            )
        case _:
            return
    verdict = "miss" if record.cache == "stale" else record.cache
    yield Step(part="cache", verdict=verdict, text=text)


def _stale(record: RequestRecord) -> Iterator[Step]:
    if record.cache == "stale":
        text = (
            "No target could answer, and the cache had an answer that has expired, which the route allows in "
            f"an outage{_saved(record)}."
        )
        yield Step(part="cache", verdict="stale", text=text)


def _saved(record: RequestRecord) -> str:
    saved = record.saved_microusd
    cost = f", which cost {_dollars(saved)}" if saved is not None else ""
    return f": {record.saved_tokens} tokens{cost}"


def _limits(record: RequestRecord) -> Iterator[Step]:
    if record.error == "limits_unavailable":
        text = "The shared store of limits could not be asked, and a limit on its way is `closed` without it."
        yield Step(part="limits", verdict="unavailable", text=text)
        return
    for fact in record.limits:
        name, used, amount, asked = _limit_words(fact)
        capital = name[0].upper() + name[1:]
        if fact.verdict == "refused":
            text = (
                f"{capital} refused it: {used} of {amount} used, {asked} asked. Nothing was taken from any."
            )
        elif fact.verdict == "shadowed":
            text = (
                f"{capital} would have refused it, but only counts: {used} of {amount} used, {asked} asked."
            )
        else:
            text = f"{capital} admitted it: {used} of {amount} used, what it reserved included."
        yield Step(part="limits", verdict=fact.verdict, text=text, limit=fact)
    if not record.limits and (record.attempts or record.outcome is Outcome.OK or record.priority):
        yield Step(part="limits", verdict="none", text="No limit was on its way.")


def _queue(record: RequestRecord) -> Iterator[Step]:
    waited_s = record.queue_s
    band = f", in the band `{record.priority}`" if record.priority else ""
    if record.error == "queue_full":
        text = f"It was not let into the queue{band}: full, or the wait longer than allowed."
        yield Step(part="queue", verdict="full", text=text)
    elif record.error == "queue_timeout":
        text = f"It waited {_seconds(waited_s)} for a place{band}, and none became free in time."
        yield Step(part="queue", verdict="timed_out", text=text)
    elif waited_s >= 0.001:
        text = f"It waited {_seconds(waited_s)} in the fair queue for a place at a target{band}."
        yield Step(part="queue", verdict="waited", text=text)
    elif record.priority and record.attempts:
        text = f"A place at the target was free: it did not wait{band}."
        yield Step(part="queue", verdict="passed", text=text)


def _attempts(record: RequestRecord) -> Iterator[Step]:
    before: list[Attempt] = []
    attempts = sorted(record.attempts, key=lambda attempt: attempt.started_s)
    for attempt in attempts:
        asked = _asked(attempt, before)
        dropped = attempt.failure is None and attempt is not record.attempts[-1]
        verdict, how = _result(attempt, record, dropped=dropped)
        before.append(attempt)
        yield Step(
            part="attempt",
            verdict=verdict,
            text=f"{asked}{how}",
            at_s=round(attempt.started_s, 6),
            target=attempt.target,
            failure=attempt.failure.kind if attempt.failure is not None else None,
        )


def _asked(attempt: Attempt, before: Sequence[Attempt]) -> str:
    if not before:
        return f"`{attempt.target}` was asked"
    last = before[-1]
    if attempt.hedge:
        return f"`{attempt.target}` was asked as well, because the first was slow to begin (a hedge)"
    pause_s = attempt.started_s - last.ended_s
    pause = f" after {_seconds(pause_s)}" if pause_s >= _LEAST_PAUSE_S else ""
    if last.failure is not None and last.failure.kind is FailureKind.CUT and last.first_token_s is not None:
        return f"`{attempt.target}` was asked{pause} to continue what was cut"
    if attempt.target == last.target:
        return f"`{attempt.target}` was asked again{pause}"
    return f"`{attempt.target}` was asked instead{pause}"


def _result(attempt: Attempt, record: RequestRecord, *, dropped: bool) -> tuple[str, str]:
    """One word, and the end of the sentence."""
    failure = attempt.failure
    if failure is not None:
        return "failed", f" and {_KINDS.get(failure.kind, 'failed')}{_said(failure)}."
    if dropped:
        return "dropped", ", and left when another had begun to answer."
    if record.outcome is Outcome.CLIENT_GONE:
        return "left", ", and left when the client had gone."
    begun = attempt.first_token_s if attempt.first_token_s is not None else attempt.headers_s
    began = f" after {_seconds(begun - attempt.started_s)}" if begun is not None else ""
    return "answered", f" and began to answer{began}."


def _said(failure: Failure) -> str:
    status = f" (status {failure.status})" if failure.status is not None else ""
    wait_s = failure.retry_after_s
    wait = f"; it asked to come back after {_seconds(wait_s)}" if wait_s is not None else ""
    return f"{status}: {failure.message}{wait}" if failure.message else status + wait


def _fallback(record: RequestRecord) -> Iterator[Step]:
    if record.fallback:
        text = f"No target of `{record.model}` could answer, so its fallback `{record.fallback}` was asked."
        yield Step(part="fallback", verdict="fell_back", text=text)


def _answer(record: RequestRecord) -> Step:
    took, status = _seconds(record.duration_s), f"status {record.status}"
    by = f" by `{record.target}`" if record.target else " by the gateway itself"
    by = " from the cache" if record.cache in GIVEN_AGAIN else by
    verdict = record.outcome.value
    match record.outcome:
        case Outcome.OK:
            text = f"It was answered{by} with {status} in {took}."
        case Outcome.REFUSED:
            text = f"It was refused with {status}, `{record.error}`: {_meaning(record.error)}"
        case Outcome.UPSTREAM_REFUSED:
            text = (
                f"It was refused upstream with {status}, `{record.error}`, and nothing else was tried, since "
                f"the client has to change it: {_meaning(record.error)}"
            )
        case Outcome.FAILED:
            text = f"It failed after {took} with {status}, `{record.error}`: {_meaning(record.error)}"
        case Outcome.CUT:
            text = (
                f"Its answer{by} was cut after {record.chunks} events and {took}, `{record.error}`, and the "
                f"client was told so in the stream: {_meaning(record.error)}"
            )
        case Outcome.CLIENT_GONE:
            when = f"after {record.chunks} events" if record.chunks else "before an answer began"
            text = f"The client left {when}, {took} after it had asked."
    return Step(
        part="answer", verdict=verdict, text=text, at_s=round(record.duration_s, 6), target=record.target
    )


def _cost(record: RequestRecord) -> Iterator[Step]:
    usage, cost = record.usage, record.cost_microusd
    tokens = f"{usage.input_tokens} input and {usage.output_tokens} output tokens"
    counted = ", counted by the gateway" if record.usage_estimated else ""
    if cost is not None:
        text = f"It used {tokens}{counted}, for {_dollars(cost)}."
        yield Step(part="cost", verdict="priced", text=text)
    elif usage.input_tokens or usage.output_tokens:
        text = f"It used {tokens}{counted}. What they cost is not known: the target has no prices."
        yield Step(part="cost", verdict="unpriced", text=text)


# --- words --------------------------------------------------------------------------------------


def _limit_words(fact: LimitFact) -> tuple[str, str, str, str]:
    """Name, used, amount and asked of a limit, from its id: `NODE[/MODEL]/WHAT[:WINDOW]`."""
    node, _, rest = fact.limit.partition("/")
    model, _, kind = rest.rpartition("/")
    what, _, window = kind.partition(":")
    try:
        limit = Limit(
            id=fact.limit,
            node=node,
            model=model or None,
            what=What(what),
            amount=fact.amount,
            window=Window(window) if window else None,
        )
    except ValueError:
        # Written by another version: the numbers still say something.
        return f"the limit `{fact.limit}`", str(fact.used), str(fact.amount), str(fact.asked)
    used = amount_text(limit, fact.used).partition(" ")[0]
    return limit_name(limit), used, amount_text(limit, fact.amount), amount_text(limit, fact.asked)


def _dollars(microusd: int) -> str:
    return f"{microusd // 1_000_000}.{microusd % 1_000_000:06d} USD"


def _seconds(duration_s: float) -> str:
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f} ms"
    return f"{duration_s:.2f} s" if duration_s < 10 else f"{duration_s:.1f} s"


def _meaning(code: str) -> str:
    """What an error code stands for: its class's own words."""
    pending: list[type[FairleadError]] = [FairleadError]
    while pending:
        kind = pending.pop()
        if kind.code == code:
            return (kind.__doc__ or "").strip()
        pending += kind.__subclasses__()
    return "an error that this version does not know."

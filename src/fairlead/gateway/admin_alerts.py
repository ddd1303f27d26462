"""What the control API takes and gives about alerts and silences."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest, NotFound
from fairlead.telemetry.alerts import text
from fairlead.telemetry.alerts.engine import Engine
from fairlead.telemetry.alerts.silence import Silence, covering
from fairlead.telemetry.labels import clean

_LONGEST_SILENCE_S = 366 * 86_400.0

_Label = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
_Value = Annotated[str, Meta(min_length=1, max_length=200)]
# The format is ours: no regular expression says what is printable.
_PRINTABLE = {"format": "printable"}
_Words = Annotated[str, Meta(min_length=1, max_length=500, extra_json_schema=_PRINTABLE)]


class AlertsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which alerts to list."""

    state: Literal["pending", "firing", "resolved"] | None = None


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. Times are Unix seconds."""

    fingerprint: str
    rule: str
    severity: str
    labels: dict[str, str]
    state: Literal["inactive", "pending", "firing", "resolved"]
    value: float
    objective: float
    effect: str
    """What is wrong, in words."""
    since_at: float
    fired_at: float | None
    resolved_at: float | None
    silenced_by: str | None
    """The id of a silence."""
    examples: tuple[str, ...]
    """Ids of requests."""
    top: dict[str, str]
    """The model, tenant and target that are affected most."""
    command: str
    """What to run to look further."""


class DeadView(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that no receiver took."""

    id: str
    receiver: str
    title: str
    created_at: float
    attempts: int
    error: str


class AlertList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[AlertView, ...]
    waiting: int
    """Notifications that have not been taken yet."""
    dead: tuple[DeadView, ...]
    """Notifications that were given up, the newest first."""


class ReceiverView(msgspec.Struct, frozen=True, kw_only=True):
    """How a test notification fared."""

    receiver: str
    sent: bool
    status: int | None
    detail: str


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule said when it was last evaluated."""

    rule: str
    severity: str
    labels: dict[str, str]
    holds: bool | None
    """null: there was nothing to judge by."""
    effect: str


class TrialView(msgspec.Struct, frozen=True, kw_only=True):
    receivers: tuple[ReceiverView, ...]
    evaluated_at: float | None
    """Unix seconds; null before the first time."""
    rules: tuple[RuleView, ...]


class SilenceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A silence to be made."""

    matchers: Annotated[
        dict[_Label, _Value],
        Meta(min_length=1, max_length=20, description="Labels; `rule` is one; a `*` matches the rest."),
    ]
    duration_s: Annotated[float, Meta(gt=0, le=_LONGEST_SILENCE_S)]
    comment: _Words
    author: Annotated[str, Meta(min_length=1, max_length=100, extra_json_schema=_PRINTABLE)]


class SilenceView(msgspec.Struct, frozen=True, kw_only=True):
    """One silence. Times are Unix seconds."""

    id: str
    matchers: dict[str, str]
    until: float
    comment: str
    author: str
    created_at: float
    active: bool


class SilenceList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[SilenceView, ...]


def required(engine: Engine | None) -> Engine:
    """The alerts of this gateway.

    Raises:
        NotFound: it has none.
    """
    if engine is None:
        raise NotFound("alerts are turned off", hint="`alerts: {}` in fairlead.yaml turns them on")
    return engine


async def alert_list(engine: Engine, query: AlertsQuery, now: float) -> AlertList:
    """Alerts as the gateway that evaluates them has kept them. Raises StorageError."""
    store = engine.store
    silences = await store.silences()
    views = []
    for alert in await store.alerts():
        if query.state is not None and alert.phase.value != query.state:
            continue
        silence = covering(silences, alert.all_labels, now)
        views.append(
            AlertView(
                fingerprint=alert.fingerprint,
                rule=alert.rule,
                severity=alert.severity,
                labels=alert.labels,
                state=alert.phase.value,
                value=alert.value,
                objective=alert.objective,
                effect=alert.effect,
                since_at=alert.since_at,
                fired_at=alert.fired_at,
                resolved_at=alert.resolved_at,
                silenced_by=silence.id if silence is not None else None,
                examples=alert.evidence.examples,
                top=alert.evidence.top,
                command=text.command(alert),
            )
        )
    dead = tuple(
        DeadView(
            id=one.id,
            receiver=one.receiver,
            title=text.title(one.notification),
            created_at=one.created_at,
            attempts=one.attempts,
            error=one.error,
        )
        for one in await store.dead()
    )
    return AlertList(data=tuple(views), waiting=len(await store.due()), dead=dead)


async def try_alerts(engine: Engine) -> TrialView:
    """Send a test through every receiver, and tell what the rules say. Raises StorageError."""
    answers = await engine.test()
    at, findings = await engine.store.findings()
    return TrialView(
        receivers=tuple(
            ReceiverView(
                receiver=name, sent=answer.result == "sent", status=answer.status, detail=answer.detail
            )
            for name, answer in answers.items()
        ),
        evaluated_at=at or None,
        rules=tuple(
            RuleView(
                rule=finding.rule,
                severity=finding.severity,
                labels=finding.labels,
                holds=finding.holds,
                effect=finding.effect,
            )
            for finding in findings
        ),
    )


async def silence_list(engine: Engine, now: float) -> SilenceList:
    """Every silence that is kept. Raises StorageError."""
    return SilenceList(data=tuple(_view(silence, now) for silence in await engine.store.silences()))


async def make_silence(engine: Engine, body: SilenceBody, now: float) -> SilenceView:
    """Make a silence that begins now.

    Raises:
        InvalidRequest: a text does not print.
        StorageError: it cannot be kept.
    """
    for name, words in (("comment", body.comment), ("author", body.author)):
        if not words.strip() or not words.isprintable():
            raise InvalidRequest(f"{name}: expected printable text, not blanks alone", param=name)
    silence = Silence(
        id=secrets.token_hex(6),
        matchers={name: clean(value) for name, value in body.matchers.items()},
        until=now + body.duration_s,
        comment=body.comment,
        author=body.author,
        created_at=now,
    )
    await engine.store.silence(silence)
    return _view(silence, now)


def _view(silence: Silence, now: float) -> SilenceView:
    return SilenceView(
        id=silence.id,
        matchers=silence.matchers,
        until=silence.until,
        comment=silence.comment,
        author=silence.author,
        created_at=silence.created_at,
        active=now < silence.until,
    )

"""The SQL of alerts: what gateways share and what outlives them.

The lease needs no clock that gateways agree on: its holder's beat grows, and
who sees it stand still for long enough by its own clock may take it. A holder
that was away notices at its next turn that the lease is another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from fairlead.errors import NotFound
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.alerts.alert import Alert, Notification
from fairlead.telemetry.alerts.budget import Evidence
from fairlead.telemetry.alerts.facts import Folded, Group
from fairlead.telemetry.alerts.grouping import Told
from fairlead.telemetry.alerts.rules import Finding
from fairlead.telemetry.alerts.silence import Silence
from fairlead.telemetry.alerts.source import Point

Statement = tuple[str, tuple[Value, ...]]

MOST_DEAD: Final = 1000
"""Undeliverable notifications that are kept, the newest."""

_EVIDENCE: Final = "evidence"
_FINDINGS: Final = "findings"
_HISTORY: Final = "history/"
_OUTBOX: Final = "id, receiver, group_key, state, created_at, waited_s, attempts, error, detail"


class Report(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one gateway says of its metrics, by rule."""

    rules: dict[str, Folded]


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """A notification on its way, or one that nobody took."""

    id: str
    receiver: str
    group: str
    dead: bool
    created_at: float
    waited_s: float
    attempts: int
    error: str
    notification: Notification


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the holder of the lease works on."""

    alerts: dict[str, Alert]
    told: dict[tuple[str, str], Told]
    evidence: dict[str, Evidence]
    history: dict[str, tuple[float, dict[Group, list[Point]]]]
    """By rule: when it was saved (Unix seconds), and its points."""


class AlertStore:
    """Alerts in the state store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encode = msgspec.msgpack.Encoder().encode

    # --- gateways -------------------------------------------------------------------------------

    async def report(self, gateway: str, beat: int, report: Report) -> None:
        """Say what this gateway sees."""
        await self._database.execute(
            "INSERT INTO alert_reports (gateway, beat, detail) VALUES (?, ?, ?) "
            "ON CONFLICT (gateway) DO UPDATE SET beat = excluded.beat, detail = excluded.detail",
            (gateway, beat, self._encode(report)),
        )

    async def reports(self) -> dict[str, tuple[int, Report | None]]:
        """Beat and report of every gateway; None for one of another version that cannot be read."""
        rows = await self._database.fetch("SELECT gateway, beat, detail FROM alert_reports")
        return {str(name): (int(beat or 0), _decoded(detail, Report)) for name, beat, detail in rows}

    async def forget(self, gateways: Iterable[str]) -> None:
        """Drop the reports of gateways that are gone."""
        for gateway in gateways:
            await self._database.execute("DELETE FROM alert_reports WHERE gateway = ?", (gateway,))

    async def renew(self, holder: str) -> bool:
        """Show that the lease is still held; False when it is another's."""
        return bool(
            await self._database.execute(
                "UPDATE alert_lease SET beat = beat + 1 WHERE id = 1 AND holder = ?", (holder,)
            )
        )

    async def lease(self) -> tuple[str, int]:
        """Who holds it ("" for nobody), and the holder's beat."""
        rows = await self._database.fetch("SELECT holder, beat FROM alert_lease WHERE id = 1")
        return (str(rows[0][0]), int(rows[0][1] or 0)) if rows else ("", 0)

    async def take(self, holder: str, of: str, beat: int) -> bool:
        """Take the lease from `of`, whose beat was last seen at `beat`; False when it has moved."""
        return bool(
            await self._database.execute(
                "UPDATE alert_lease SET holder = ?, beat = beat + 1 WHERE id = 1 AND holder = ? AND beat = ?",
                (holder, of, beat),
            )
        )

    async def leave(self, holder: str) -> None:
        """Give the lease up and take the gateway's report away."""
        await self._database.execute(
            "UPDATE alert_lease SET holder = '' WHERE id = 1 AND holder = ?", (holder,)
        )
        await self.forget([holder])

    # --- what the holder works on ---------------------------------------------------------------

    async def held(self) -> Held:
        """What there is; what cannot be read is left out."""
        alerts = await self.alerts()
        told = {}
        for receiver, group, detail in await self._database.fetch(
            "SELECT receiver, group_key, detail FROM alert_groups"
        ):
            if (one := _decoded(detail, Told)) is not None:
                told[(str(receiver), str(group))] = one
        evidence: dict[str, Evidence] = {}
        history: dict[str, tuple[float, dict[Group, list[Point]]]] = {}
        for name, saved_at, detail in await self._database.fetch(
            "SELECT name, saved_at, detail FROM alert_memory"
        ):
            name = str(name)
            if name == _EVIDENCE:
                evidence = _decoded(detail, dict[str, Evidence]) or {}
            elif name.startswith(_HISTORY):
                points = _decoded(detail, list[tuple[Group, list[Point]]])
                if points is not None:
                    history[name.removeprefix(_HISTORY)] = (_number(saved_at), dict(points))
        return Held(
            alerts={alert.fingerprint: alert for alert in alerts},
            told=told,
            evidence=evidence,
            history=history,
        )

    async def alerts(self) -> list[Alert]:
        """Every alert that is not inactive."""
        rows = await self._database.fetch("SELECT detail FROM alert_states ORDER BY fingerprint")
        found = (_decoded(row[0], Alert) for row in rows)
        return [alert for alert in found if alert is not None]

    async def findings(self) -> tuple[float, list[Finding]]:
        """What every rule said last, and when (Unix seconds; 0.0 for never)."""
        rows = await self._database.fetch(
            "SELECT saved_at, detail FROM alert_memory WHERE name = ?", (_FINDINGS,)
        )
        if not rows:
            return 0.0, []
        return _number(rows[0][0]), _decoded(rows[0][1], list[Finding]) or []

    async def write(self, statements: Iterable[Statement]) -> None:
        """Write changes, all or none."""
        statements = list(statements)
        if statements:
            await self._database.transaction(statements)

    def alert_statement(self, fingerprint: str, alert: Alert | None) -> Statement:
        """Keep an alert, or with None forget it."""
        if alert is None:
            return "DELETE FROM alert_states WHERE fingerprint = ?", (fingerprint,)
        return (
            "INSERT INTO alert_states (fingerprint, detail) VALUES (?, ?) "
            "ON CONFLICT (fingerprint) DO UPDATE SET detail = excluded.detail",
            (fingerprint, self._encode(alert)),
        )

    def told_statement(self, key: tuple[str, str], told: Told | None) -> Statement:
        """Keep what a receiver was told of a group, or forget it."""
        if told is None:
            return "DELETE FROM alert_groups WHERE receiver = ? AND group_key = ?", key
        return (
            "INSERT INTO alert_groups (receiver, group_key, detail) VALUES (?, ?, ?) "
            "ON CONFLICT (receiver, group_key) DO UPDATE SET detail = excluded.detail",
            (*key, self._encode(told)),
        )

    def queue_statements(
        self, receiver: str, notification: Notification, instead_of: Sending | None = None
    ) -> list[Statement]:
        """Send a notification, in place of an older one of the group that is still waiting.

        It inherits how long that one has waited: a receiver that takes nothing is given up in time.
        """
        statements: list[Statement] = []
        if instead_of is not None:
            statements.append(("DELETE FROM alert_outbox WHERE id = ?", (instead_of.id,)))
        statements.append(
            (
                f"INSERT INTO alert_outbox ({_OUTBOX}) VALUES (?, ?, ?, 'due', ?, ?, ?, ?, ?)",  # noqa: S608  # constants only
                (
                    f"{notification.id}/{receiver}",
                    receiver,
                    notification.group,
                    notification.at,
                    instead_of.waited_s if instead_of is not None else 0.0,
                    instead_of.attempts if instead_of is not None else 0,
                    instead_of.error if instead_of is not None else "",
                    self._encode(notification),
                ),
            )
        )
        return statements

    def memory_statements(
        self,
        now: float,
        *,
        evidence: Mapping[str, Evidence] | None = None,
        findings: list[Finding] | None = None,
        history: Mapping[str, Mapping[Group, list[Point]]] | None = None,
    ) -> list[Statement]:
        """Keep what was measured; `now` in Unix seconds."""
        found: dict[str, Any] = {}
        if evidence is not None:
            found[_EVIDENCE] = evidence
        if findings is not None:
            found[_FINDINGS] = findings
        for rule, groups in (history or {}).items():
            # A map's keys that are lists would not come back as such.
            found[_HISTORY + rule] = list(groups.items())
        return [
            (
                "INSERT INTO alert_memory (name, saved_at, detail) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET saved_at = excluded.saved_at, detail = excluded.detail",
                (name, now, self._encode(value)),
            )
            for name, value in found.items()
        ]

    # --- the outbox -----------------------------------------------------------------------------

    async def due(self) -> list[Sending]:
        """Notifications to be sent, the oldest first."""
        return await self._sendings("due", 1000)

    async def dead(self) -> list[Sending]:
        """Notifications that nobody took, the newest first."""
        return (await self._sendings("dead", MOST_DEAD))[::-1]

    async def _sendings(self, state: str, limit: int) -> list[Sending]:
        rows = await self._database.fetch(
            f"SELECT {_OUTBOX} FROM alert_outbox WHERE state = ? ORDER BY created_at, id LIMIT ?",  # noqa: S608  # constants only
            (state, limit),
        )
        found = (_sending(row) for row in rows)
        return [one for one in found if one is not None]

    async def sent(self, sending_id: str) -> None:
        """A notification was taken."""
        await self._database.execute("DELETE FROM alert_outbox WHERE id = ?", (sending_id,))

    async def failed(self, sending: Sending, *, error: str, waited_s: float, dead: bool) -> None:
        """A notification was not taken; `dead` gives it up."""
        await self._database.execute(
            "UPDATE alert_outbox SET state = ?, attempts = ?, waited_s = ?, error = ? WHERE id = ?",
            ("dead" if dead else "due", sending.attempts + 1, waited_s, error[:500], sending.id),
        )
        if dead:
            await self._database.execute(
                "DELETE FROM alert_outbox WHERE state = 'dead' AND id NOT IN "
                "(SELECT id FROM alert_outbox WHERE state = 'dead' ORDER BY created_at DESC LIMIT ?)",
                (MOST_DEAD,),
            )

    # --- silences -------------------------------------------------------------------------------

    async def silences(self) -> list[Silence]:
        """All that are kept, those that are over included."""
        rows = await self._database.fetch("SELECT detail FROM alert_silences ORDER BY until, id")
        found = (_decoded(row[0], Silence) for row in rows)
        return [silence for silence in found if silence is not None]

    async def silence(self, silence: Silence) -> None:
        """Keep a silence."""
        await self._database.execute(
            "INSERT INTO alert_silences (id, until, detail) VALUES (?, ?, ?)",
            (silence.id, silence.until, self._encode(silence)),
        )

    async def unsilence(self, silence_id: str) -> None:
        """End a silence.

        Raises:
            NotFound: there is none of this id.
        """
        if not await self._database.execute("DELETE FROM alert_silences WHERE id = ?", (silence_id,)):
            raise NotFound(f"no silence `{silence_id[:100]}`")

    async def expire_silences(self, before: float) -> None:
        """Forget silences that ended before a moment, Unix seconds."""
        await self._database.execute("DELETE FROM alert_silences WHERE until < ?", (before,))


def _sending(row: Row) -> Sending | None:
    notification = _decoded(row[8], Notification)
    if notification is None:
        return None
    return Sending(
        id=str(row[0]),
        receiver=str(row[1]),
        group=str(row[2]),
        dead=row[3] == "dead",
        created_at=_number(row[4]),
        waited_s=_number(row[5]),
        attempts=int(_number(row[6])),
        error=str(row[7]),
        notification=notification,
    )


def _decoded(detail: Value, kind: Any) -> Any:
    """What was kept, or None when another version wrote what this one cannot read."""
    try:
        return msgspec.msgpack.decode(cast(bytes, detail), type=kind)
    except msgspec.MsgspecError:
        return None


def _number(value: Value) -> float:
    assert isinstance(value, int | float), "a column of numbers"
    return float(value)

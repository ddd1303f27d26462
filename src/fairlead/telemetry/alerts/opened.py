"""Builds the alerts of one process from its configuration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from fairlead.config.alert_options import Alerts
from fairlead.config.kinds import Secret
from fairlead.net.client import Client
from fairlead.storage.ports import Database
from fairlead.telemetry.alerts.db import AlertStore
from fairlead.telemetry.alerts.engine import Engine
from fairlead.telemetry.alerts.notify.send import Sender
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.metrics.samples import Family


def open_alerts(
    alerts: Alerts | None,
    database: Database,
    client: Client,
    collect: Callable[[], Awaitable[Iterable[Family]]],
    *,
    resolve: Callable[[Secret], str],
    proxy_for: Callable[[str, str, int], str | None],
    ledger: Ledger | None,
) -> Engine | None:
    """The alerts that the section asks for; None without it. Nothing is read or sent yet.

    Args:
        alerts: the section.
        database: what gateways share.
        client: sends notifications.
        collect: the metrics of all workers of this gateway.
        resolve: gives a secret's value, or raises ConfigError.
        proxy_for: the environment's proxy for (scheme, host, port).
        ledger: where examples are found.
    """
    if alerts is None:
        return None
    sender = Sender(client, resolve=resolve, proxy_for=proxy_for)
    return Engine(alerts, AlertStore(database), collect, sender, ledger=ledger)

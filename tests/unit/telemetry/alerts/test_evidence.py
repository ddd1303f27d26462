"""Which requests are shown as examples."""

from __future__ import annotations

import msgspec

from fairlead.config.alert_options import AlertRule, Alerts
from fairlead.telemetry.alerts.evidence import chosen
from fairlead.telemetry.alerts.rules import Rule, compiled
from fairlead.telemetry.ledger.db import Entry

ENTRY = Entry(
    id="r", started_at=0.0, tenant="acme", key_id="k", model="m", target="t", endpoint="chat", outcome="ok",
    status=200, input_tokens=1, output_tokens=10, first_token_s=1.0, duration_s=2.0, cost_microusd=5,
    cache="", saved_tokens=0, saved_microusd=None,
)  # fmt: skip


def rule(options: AlertRule) -> Rule:
    return compiled(Alerts(rules={"r": options}))["r"]


def test_the_slowest_come_first_and_the_fast_not_at_all() -> None:
    entries = [
        msgspec.structs.replace(ENTRY, id=str(seconds), first_token_s=float(seconds)) for seconds in range(9)
    ]

    found = chosen(rule(AlertRule(kind="burn", signal="ttft", over_s=2.0)), entries)

    assert found.examples == ("8", "7", "6", "5", "4")
    assert found.top == {"model": "m (6 of 6)", "tenant": "acme (6 of 6)", "target": "t (6 of 6)"}


def test_the_newest_failures_come_first() -> None:
    entries = [
        msgspec.structs.replace(ENTRY, id="old", outcome="failed", started_at=1.0, tenant="a"),
        msgspec.structs.replace(ENTRY, id="fine", started_at=3.0),
        msgspec.structs.replace(ENTRY, id="new", outcome="cut", started_at=2.0, tenant="b"),
    ]

    found = chosen(rule(AlertRule(kind="burn", signal="errors")), entries)

    assert found.examples == ("new", "old")


def test_the_dearest_come_first() -> None:
    entries = [msgspec.structs.replace(ENTRY, id=str(cost), cost_microusd=cost) for cost in (1, 9, 5)]
    dear = rule(AlertRule(kind="burn", signal="cost", budget_usd=1.0))

    assert chosen(dear, entries).examples == ("9", "5", "1")
    assert chosen(dear, [msgspec.structs.replace(ENTRY, cost_microusd=None)]).examples == ()

"""From findings to alerts to what is told."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.unit.telemetry.alerts.notes import NOW, alert_text, note

from fairlead.config.alert_options import AlertReceiver, AlertRule, Alerts
from fairlead.telemetry.alerts import judge
from fairlead.telemetry.alerts.alert import Alert
from fairlead.telemetry.alerts.grouping import Due, Pace
from fairlead.telemetry.alerts.rules import Finding, compiled
from fairlead.telemetry.alerts.silence import Silence
from fairlead.telemetry.alerts.state import Phase

RULES = compiled(
    Alerts(
        rules={
            "errors": AlertRule(kind="burn", signal="errors", for_s=0, keep_firing_s=30),
            "limit": AlertRule(kind="limit", keep_firing_s=0),
        }
    )
)
PACE = Pace(wait_s=0, repeat_s=1000)


def finding(holds: bool | None = True, **fields: Any) -> Finding:
    defaults: dict[str, Any] = {"rule": "errors", "severity": "page", "labels": {"model": "m"}}
    return Finding(**{**defaults, **fields}, holds=holds)


def turns(*steps: tuple[list[Finding], float]) -> list[dict[str, Alert]]:
    alerts: dict[str, Alert] = {}
    seen, now = [], NOW
    for findings, elapsed_s in steps:
        now += elapsed_s
        alerts = judge.stepped(RULES, alerts, findings, elapsed_s, now)
        seen.append(alerts)
    return seen


def only(alerts: dict[str, Alert]) -> Alert:
    (alert,) = alerts.values()
    return alert


def test_times_are_kept_for_people() -> None:
    seen = turns(([finding(effect="bad")], 0), ([finding(False, effect="fine")], 10), ([finding(False)], 30))

    assert only(seen[0]).fired_at == only(seen[0]).since_at == NOW
    over = only(seen[2])
    assert (over.phase, over.resolved_at) == (Phase.RESOLVED, NOW + 40)
    assert over.effect == "bad"  # what was wrong, not that all is well


def test_what_holds_not_is_no_alert() -> None:
    assert turns(([finding(False), finding(None, labels={"model": "n"})], 0)) == [{}]


def test_an_alert_that_comes_back_begins_anew() -> None:
    seen = turns(([finding()], 0), ([finding(False)], 30), ([finding()], 50))

    again = only(seen[2])
    assert (again.phase, again.since_at, again.resolved_at) == (Phase.FIRING, NOW + 80, None)


def test_without_metrics_an_alert_stands_for_a_while() -> None:
    seen = turns(([finding()], 0), ([], 200), ([], 99), ([], 1), ([], 30))

    assert [only(alerts).phase for alerts in seen] == [*[Phase.FIRING] * 4, Phase.RESOLVED]


def test_a_limits_warning_that_is_gone_is_over() -> None:
    seen = turns(([finding(rule="limit", labels={"limit": "l"})], 0), ([], 5))

    assert only(seen[1]).phase is Phase.RESOLVED


def test_a_rule_that_is_gone_takes_its_alerts_along() -> None:
    (alerts,) = turns(([finding()], 0))

    after = judge.stepped({}, alerts, [], 5.0, NOW)

    assert only(after).phase is Phase.RESOLVED


def planned(
    alerts: dict[str, Alert], *, silences: list[Silence] | None = None, **receivers: AlertReceiver
) -> list[tuple[str, str, Due]]:
    return judge.planned(receivers, ["rule"], PACE, alerts, {}, silences or [], 0.0, NOW)[1]


HOOK = AlertReceiver(type="webhook", url="http://127.0.0.1/")


def test_receivers_are_told_of_the_severities_they_want() -> None:
    (alerts,) = turns(([finding(), finding(severity="ticket")], 0))
    pager = msgspec.structs.replace(HOOK, severities=["page"])

    # Each receiver waits a turn; with no wait at all the second turn tells.
    found = {name: what.firing for name, _, what in planned(alerts, all=HOOK, pager=pager)}

    assert found["all"] == ("errors/page/model=m", "errors/ticket/model=m")
    assert found["pager"] == ("errors/page/model=m",)


def test_silenced_alerts_are_not_told() -> None:
    (alerts,) = turns(([finding()], 0))
    silence = Silence(id="s", matchers={"model": "m"}, until=NOW + 1, comment="c", author="a", created_at=NOW)

    assert planned(alerts, silences=[silence], all=HOOK) == []


def test_a_group_is_told_as_one() -> None:
    (alerts,) = turns(([finding(), finding(labels={"model": "n"})], 0))

    ((_, group, what),) = planned(alerts, all=HOOK)

    assert group == "rule=errors"
    assert len(what.firing) == 2


def test_the_end_of_what_nobody_was_told_about_yet_is_not_lost() -> None:
    older = note(alert_text(fingerprint="a", status="resolved"), alert_text(fingerprint="b"))
    newer = note(alert_text(fingerprint="b"), alert_text(fingerprint="c"))

    told = [(alert.fingerprint, alert.status) for alert in judge.merged(older, newer).alerts]

    assert told == [("b", "firing"), ("c", "firing"), ("a", "resolved")]


def test_the_end_of_an_alert_that_is_forgotten_is_told_from_the_turn_before() -> None:
    (before,) = turns(([finding()], 0))
    due = Due(firing=(), resolved=tuple(before))

    told = judge.notification(due, "g", {}, before, notification_id="n", now=NOW + 9, dashboard_url=None)

    assert told.status == "resolved"
    assert told.alerts[0].ended_at == NOW + 9

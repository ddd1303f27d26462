"""Dashboards for Grafana, made from tables of panels.

Two: what users feel and what it costs, and how the gateway, its targets and
its alerts do. They ask a Prometheus that is chosen in the dashboard, and carry
the objectives of the rules as thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.telemetry.alerts.rules import Rule

_WIDTH: Final = 12
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_WHERE: Final = '{model=~"$model"}'
_RATE: Final = "[$__rate_interval]"


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel: queries by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    objective: str = ""
    """The signal of burn rules whose bound is drawn."""


def _quantile(q: float, metric: str, by: str) -> str:
    return f"histogram_quantile({q:g}, sum by (le, {by}) (rate({metric}_bucket{_WHERE}{_RATE})))"


USERS: Final = (
    Panel(
        title="Requests",
        unit="reqps",
        queries={
            "{{model}} {{outcome}}": f"sum by (model, outcome) (rate(fairlead_requests_total{_WHERE}{_RATE}))"
        },
    ),
    Panel(
        title="Failed and cut requests",
        unit="percentunit",
        queries={
            "{{model}}": 'sum by (model) (rate(fairlead_requests_total{model=~"$model", '
            f'outcome=~"failed|cut"}}{_RATE})) / '
            f"sum by (model) (rate(fairlead_requests_total{_WHERE}{_RATE}))"
        },
        objective="errors",
    ),
    Panel(
        title="Time to first token",
        unit="s",
        queries={
            f"{{{{model}}}} p{round(q * 100)}": _quantile(q, "fairlead_ttft_seconds", "model")
            for q in (0.5, 0.95, 0.99)
        },
        objective="ttft",
    ),
    Panel(
        title="Time between tokens",
        unit="s",
        queries={
            f"{{{{model}}}} p{round(q * 100)}": _quantile(q, "fairlead_itl_seconds", "model")
            for q in (0.5, 0.95, 0.99)
        },
        objective="itl",
    ),
    Panel(
        title="Duration",
        unit="s",
        queries={"{{model}} p95": _quantile(0.95, "fairlead_request_duration_seconds", "model")},
    ),
    Panel(
        title="Tokens",
        unit="short",
        queries={"{{type}}": f"sum by (type) (rate(fairlead_tokens_total{_WHERE}{_RATE}))"},
    ),
    Panel(
        title="Cost an hour",
        unit="currencyUSD",
        queries={
            "{{model}} {{target}}": "3600 * sum by (model, target) "
            f"(rate(fairlead_cost_usd_total{_WHERE}{_RATE}))"
        },
    ),
    Panel(
        title="Answers from the cache",
        unit="percentunit",
        queries={
            "{{model}}": f"sum by (model) (rate(fairlead_cache_hits_total{_WHERE}{_RATE})) / "
            f"(sum by (model) (rate(fairlead_cache_hits_total{_WHERE}{_RATE})) + "
            f"sum by (model) (rate(fairlead_cache_misses_total{_WHERE}{_RATE})))"
        },
    ),
    Panel(
        title="Used part of budgets",
        unit="percentunit",
        queries={"{{limit}}": "fairlead_budget_used_usd / fairlead_budget_usd"},
    ),
)

GATEWAY: Final = (
    Panel(
        title="Alerts",
        unit="short",
        kind="stat",
        queries={"{{state}} {{severity}}": "max by (state, severity) (fairlead_alerts)"},
    ),
    Panel(
        title="Circuit breakers (2 is open)",
        unit="short",
        queries={"{{target}}": "max by (target) (fairlead_breaker_state)"},
    ),
    Panel(
        title="Calls to targets by result",
        unit="reqps",
        queries={"{{target}} {{reason}}": f"sum by (target, reason) (rate(fairlead_attempts_total{_RATE}))"},
    ),
    Panel(title="Requests under way", unit="short", queries={"in flight": "sum(fairlead_in_flight)"}),
    Panel(
        title="Waiting for a place",
        unit="short",
        queries={"{{target}}": "sum by (target) (fairlead_queue_waiting)"},
    ),
    Panel(
        title="Time the gateway adds (p99)",
        unit="s",
        queries={
            "p99": f"histogram_quantile(0.99, sum by (le) (rate(fairlead_overhead_seconds_bucket{_RATE})))"
        },
    ),
    Panel(
        title="What limits decided",
        unit="reqps",
        queries={
            "{{tenant}} {{what}} {{outcome}}": "sum by (tenant, what, outcome) "
            f"(rate(fairlead_limit_decisions_total{_RATE}))"
        },
    ),
    Panel(
        title="Notifications",
        unit="short",
        queries={
            "{{receiver}} {{outcome}}": "sum by (receiver, outcome) "
            "(increase(fairlead_alert_notifications_total[1h]))"
        },
    ),
    Panel(
        title="Records waiting to be written",
        unit="short",
        queries={"pending": "sum(fairlead_recorder_pending)"},
    ),
)


def dashboards(rules: Mapping[str, Rule]) -> dict[str, dict[str, Any]]:
    """Dashboards by file name, as Grafana imports them."""
    return {
        "fairlead-users.json": _dashboard("Fairlead: what users feel", "fairlead-users", USERS, rules),
        "fairlead-gateway.json": _dashboard("Fairlead: the gateway", "fairlead-gateway", GATEWAY, rules),
    }


def _dashboard(title: str, uid: str, panels: Sequence[Panel], rules: Mapping[str, Rule]) -> dict[str, Any]:
    return {
        "id": None,
        "uid": uid,
        "title": title,
        "tags": ["fairlead"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": _variables()},
        "panels": [_panel(index, panel, rules) for index, panel in enumerate(panels)],
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1},
        {
            "name": "model",
            "label": "Model",
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": "label_values(fairlead_requests_total, model)", "refId": "models"},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _panel(index: int, panel: Panel, rules: Mapping[str, Rule]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    bound = _bound(panel, rules)
    if bound is not None:
        steps.append({"color": "red", "value": bound})
    custom = {"thresholdsStyle": {"mode": "line" if bound is not None else "off"}}
    return {
        "id": index + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": {
            "x": index % 2 * _WIDTH,
            "y": index // 2 * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": custom if panel.kind == "timeseries" else {},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for at, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def _bound(panel: Panel, rules: Mapping[str, Rule]) -> float | None:
    """The strictest objective of the rules about what a panel shows."""
    if not panel.objective:
        return None
    options = [rule.options for rule in rules.values() if rule.options.signal == panel.objective]
    if panel.objective == "errors":
        return min((round(1 - (one.objective or 0.99), 9) for one in options), default=None)
    return min((one.over_s for one in options if one.over_s is not None), default=None)

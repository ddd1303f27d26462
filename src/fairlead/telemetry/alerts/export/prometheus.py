"""The rules of `alerts:` as recording and alerting rules of Prometheus.

For those who have a Prometheus already, or want a second pair of eyes. Burn
rates, thresholds, outages, limits and bounds mean the same there. Two kinds
are approximated, since PromQL has no memory of its tests: `drift` compares each
p-value with the day's level shared out evenly (Bonferroni), and `trend` fits a
least-squares line and asks where it will be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from fairlead.config.alert_options import AlertRule, BurnWindow
from fairlead.telemetry.alerts import facts
from fairlead.telemetry.alerts.budget import daily_alpha
from fairlead.telemetry.alerts.rules import DEFAULT_BOUND, DEFAULT_OBJECTIVE, Rule
from fairlead.telemetry.metrics.cells import TTFT_BOUNDS_S
from fairlead.types import ITL_BOUNDS_S

_PERIODS_S: Final = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_592_000.0}
_BOUNDS: Final = {"ttft": TTFT_BOUNDS_S, "itl": ITL_BOUNDS_S}
_CALLER_KINDS: Final = "|".join(sorted(facts.CALLER_KINDS))
_STEP_S: Final = 60.0
_HEADER: Final = (
    "# Written by `fairlead alerts export --prometheus`; a change belongs into fairlead.yaml.\n"
    "# Check with `promtool check rules FILE`.\n"
)


def document(rules: Mapping[str, Rule], false_per_month: float) -> str:
    """A rules file of Prometheus 2.42 or later, as YAML."""
    groups = []
    for rule in rules.values():
        recorded, alerting = _rules(rule, false_per_month)
        if alerting:
            groups.append({"name": f"fairlead-{rule.name}", "rules": [*recorded, *alerting]})
    return _HEADER + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000, allow_unicode=True)


def _rules(rule: Rule, false_per_month: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    match rule.options.kind:
        case "burn":
            return _burn(rule)
        case "trend":
            return _trend(rule)
        case "drift":
            return [], [_alert(rule, _drift(rule, false_per_month), "p-values below the day's level")]
        case "outage":
            return [], [_alert(rule, _outage(rule), "the target is down, or most calls to it fail")]
        case "limit":
            expr = f"max by ({_by(rule)}) ({_metric(facts.LIMIT_METRIC, rule)}) > 0"
            return [], [_alert(rule, expr, "{{ $value | humanizePercentage }} of the limit are reached")]
        case "cache_bound":
            options = rule.options
            limit = DEFAULT_BOUND if options.above is None else options.above
            metric = f"max by ({_by(rule)}) ({_metric(options.metric or facts.BOUND_METRIC, rule)})"
            said = "up to {{ $value | humanizePercentage }} of the cached answers may be wrong"
            return [], [_alert(rule, f"{metric} > {limit:g} and {metric} < 1", said)]
        case _:
            return [], [_alert(rule, _threshold(rule), f"{rule.options.metric} is {{{{ $value }}}}")]


# --- burn rates ---------------------------------------------------------------------------------


def _burn(rule: Rule) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if rule.options.signal == "budget":
        return [], _budget(rule)
    recorded = [
        {"record": _record(rule, window_s), "expr": _burn_rate(rule, window_s)}
        for window_s in sorted({window for pair in rule.pairs for window in (pair.long_s, pair.short_s)})
    ]
    alerting = []
    for severity in dict.fromkeys(pair.severity for pair in rule.pairs):
        pairs = [pair for pair in rule.pairs if pair.severity == severity]
        expr = "\nor\n".join(f"({_burning(rule, pair)})" for pair in pairs)
        said = 'the budget burns at {{ $value | printf "%.1f" }} times the rate that it lasts at'
        alerting.append(_alert(rule, expr, said, severity))
    return recorded, alerting


def _record(rule: Rule, window_s: float) -> str:
    return f"fairlead:burn_rate:{re.sub('[^a-zA-Z0-9_]', '_', rule.name)}:{range_of(window_s)}"


def _burning(rule: Rule, pair: BurnWindow) -> str:
    parts = [f"{_record(rule, window_s)} > {pair.burn:g}" for window_s in (pair.long_s, pair.short_s)]
    if rule.options.signal != "cost":
        total = _sum(rule, "increase", _total(rule), pair.long_s)
        parts.append(f"{total} >= {rule.options.min_events}")
    return " and ".join(parts)


def _burn_rate(rule: Rule, window_s: float) -> str:
    options = rule.options
    if options.signal == "cost":
        allowed = (options.budget_usd or 0.0) / options.budget_period_s
        return f"{_sum(rule, 'rate', _total(rule), window_s)} / {allowed!r}"
    allowed = round(1 - (options.objective or DEFAULT_OBJECTIVE), 9)
    total = _sum(rule, "rate", _total(rule), window_s)
    if options.signal == "errors":
        bad = _sum(rule, "rate", _metric("fairlead_requests_total", rule, 'outcome=~"failed|cut"'), window_s)
        return f"{bad} / {total} / {allowed!r}"
    bound = facts.snapped(_BOUNDS[options.signal or ""], options.over_s or 0.0)
    if bound is None:
        return "vector(0)"
    bucket = _metric(f"fairlead_{options.signal}_seconds_bucket", rule, f'le="{float(bound)!r}"')
    return f"(1 - {_sum(rule, 'rate', bucket, window_s)} / {total}) / {allowed!r}"


def _total(rule: Rule) -> str:
    match rule.options.signal:
        case "errors":
            return _metric("fairlead_requests_total", rule, 'outcome=~"ok|failed|cut"')
        case "cost":
            return _metric("fairlead_cost_usd_total", rule)
        case signal:
            return _metric(f"fairlead_{signal}_seconds_count", rule)


def _budget(rule: Rule) -> list[dict[str, Any]]:
    alerting = []
    for severity in dict.fromkeys(pair.severity for pair in rule.pairs):
        parts = []
        for name, period_s in _PERIODS_S.items():
            scale = 1.0 if rule.options.windows is not None else period_s / _PERIODS_S["month"]
            for pair in rule.pairs:
                if pair.severity == severity:
                    windows = (max(window * scale, _STEP_S) for window in (pair.long_s, pair.short_s))
                    both = [_spending(rule, name, period_s, window) for window in windows]
                    parts.append("(" + " and ".join(f"{one} > {pair.burn:g}" for one in both) + ")")
        said = 'the budget burns at {{ $value | printf "%.1f" }} times the rate that it lasts at'
        alerting.append(_alert(rule, "\nor\n".join(parts), said, severity))
    return alerting


def _spending(rule: Rule, period: str, period_s: float, window_s: float) -> str:
    """The burn rate of budgets of one period."""
    only = f'limit=~".*:{period}"'
    used, amount = (_metric(name, rule, only) for name in (facts.BUDGET_USED, facts.BUDGET_AMOUNT))
    by = _by(rule)
    spent = (
        f"(max by ({by}) ({used}) - max by ({by}) ({used[: used.index('{')]}"
        f"{used[used.index('{') :]} offset {range_of(window_s)}))"
    )
    return f"{spent} / max by ({by}) ({amount}) / {window_s / period_s!r}"


# --- the others ---------------------------------------------------------------------------------


def _trend(rule: Rule) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    options = rule.options
    block_s = max(options.window_s / options.blocks, 2 * _STEP_S)
    record = f"fairlead:seconds_per_token:{re.sub('[^a-zA-Z0-9_]', '_', rule.name)}"
    sums = _sum(rule, "rate", _metric("fairlead_itl_seconds_sum", rule), block_s)
    counts = _sum(rule, "rate", _metric("fairlead_itl_seconds_count", rule), block_s)
    window, horizon = range_of(options.window_s), options.horizon_s
    expr = (
        f"predict_linear({record}[{window}], {horizon:g}) > {options.over_s or 0.0:g} "
        f"and deriv({record}[{window}]) > 0"
    )
    said = "the time per token is expected at {{ $value | humanizeDuration }}"
    return [{"record": record, "expr": f"{sums} / {counts}"}], [_alert(rule, expr, said)]


def _drift(rule: Rule, false_per_month: float) -> str:
    metric = _metric(rule.options.metric or facts.DRIFT_METRIC, rule)
    level = daily_alpha(false_per_month) / rule.options.looks_per_day
    return f"min by ({_by(rule)}) ({metric}) < {level!r} / scalar(count({metric}))"


def _outage(rule: Rule) -> str:
    options = rule.options
    by, window = _by(rule), options.window_s
    is_open = f"max by ({by}) ({_metric('fairlead_breaker_state', rule)}) >= 2"
    bad = _sum(rule, "rate", _metric("fairlead_attempts_total", rule, f'reason!~"{_CALLER_KINDS}"'), window)
    calls = _metric("fairlead_attempts_total", rule)
    total = _sum(rule, "rate", calls, window)
    enough = _sum(rule, "increase", calls, window)
    return (
        f"({is_open})\nor\n({bad} / {total} >= {options.error_share:g} and {enough} >= {options.min_events})"
    )


def _threshold(rule: Rule) -> str:
    options = rule.options
    metric, window = options.metric or "", options.window_s
    match options.stat:
        case "value":
            value = f"max by ({_by(rule)}) ({_metric(metric, rule)})"
        case "rate":
            value = _sum(rule, "rate", _metric(metric, rule), window)
        case "mean":
            sums = _sum(rule, "rate", _metric(f"{metric}_sum", rule), window)
            value = f"{sums} / {_sum(rule, 'rate', _metric(f'{metric}_count', rule), window)}"
        case stat:
            by = ", ".join([*rule.by, "le"])
            buckets = f"sum by ({by}) (rate({_metric(f'{metric}_bucket', rule)}[{range_of(window)}]))"
            value = f"histogram_quantile({int(stat[1:]) / 100:g}, {buckets})"
    if options.above is not None:
        return f"{value} > {options.above:g}"
    return f"{value} < {options.below or 0.0:g}"


# --- parts --------------------------------------------------------------------------------------


def _alert(rule: Rule, expr: str, said: str, severity: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": f"fairlead-{rule.name}", "expr": expr}
    if rule.options.for_s:
        found["for"] = range_of(rule.options.for_s)
    if rule.options.keep_firing_s:
        found["keep_firing_for"] = range_of(rule.options.keep_firing_s)
    names = ", ".join(f"{name} {{{{ $labels.{name} }}}}" for name in rule.by)
    found["labels"] = {"severity": severity or rule.severity, "rule": rule.name, "source": "fairlead"}
    found["annotations"] = {"summary": f"{rule.name}: {said}" + (f" ({names})" if names else "")}
    return found


def _by(rule: Rule) -> str:
    return ", ".join(rule.by)


def _sum(rule: Rule, function: str, metric: str, window_s: float) -> str:
    return f"sum by ({_by(rule)}) ({function}({metric}[{range_of(window_s)}]))"


def _metric(name: str, rule: Rule, *more: str) -> str:
    """A metric with the rule's conditions on its labels."""
    return f"{name}{{{', '.join([*_conditions(rule.options), *more])}}}"


def _conditions(options: AlertRule) -> Iterable[str]:
    for label, pattern in options.match.items():
        head, star, tail = pattern.partition("*")
        operator = "=~" if star else "="
        value = f"{re.escape(head)}.*{re.escape(tail)}" if star else pattern
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        yield f'{label}{operator}"{quoted}"'


def range_of(seconds: float) -> str:
    """A time as PromQL writes it: whole milliseconds in the largest unit that divides them."""
    milliseconds = max(1, round(seconds * 1000))
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"

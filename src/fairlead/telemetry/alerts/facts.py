"""What a rule needs of the metrics, folded to a few numbers for each of its groups.

A gateway folds its own metrics and publishes the result; whoever evaluates
adds those of all gateways. So what is kept and exchanged is small, whatever
the number of series: counters as running totals, gauges as they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from fairlead.config.alert_options import AlertRule
from fairlead.telemetry.labels import OTHER
from fairlead.telemetry.metrics.samples import Family, Series

Group = tuple[str, ...]
"""Values of the labels that tell a rule's alerts apart, in their order."""

MOST_GROUPS: Final = 300
"""Groups of one rule; what comes beyond is counted as `other`."""

CALLER_KINDS: Final = frozenset(
    {
        "ok", "invalid_request", "context_window", "content_policy", "unsupported", "not_found",
        "rate_limited",
    }
)  # fmt: skip
"""Ends of a call to a target that are no sign of ill health."""

BAD_OUTCOMES: Final = ("failed", "cut")
GOOD_OUTCOMES: Final = ("ok",)

LIMIT_METRIC: Final = "fairlead_limit_warning"
BUDGET_USED: Final = "fairlead_budget_used_usd"
BUDGET_AMOUNT: Final = "fairlead_budget_usd"
DRIFT_METRIC: Final = "fairlead_drift_p_value"
COMPARED_METRIC: Final = "fairlead_drift_compared_at_seconds"
"""When the comparison was made that a p-value is of."""
BOUND_METRIC: Final = "fairlead_cache_false_hit_upper95"

_BY: Final[dict[str, tuple[str, ...]]] = {
    "ttft": ("model",),
    "itl": ("model",),
    "errors": ("model",),
    "cost": (),
    "budget": ("limit",),
    "threshold": (),
    "drift": ("signal", "model"),
    "outage": ("target",),
    "cache_bound": ("model",),
    "limit": ("limit",),
    "trend": ("model",),
}


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """One group's numbers."""

    counts: tuple[float, ...] = ()
    """Running totals."""
    gauges: tuple[float, ...] = ()


class Folded(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one rule needs, by group."""

    groups: dict[Group, Cell]
    bounds: tuple[float, ...] = ()
    """Of a histogram whose counts are here."""
    added: bool = False
    """Whether gauges of several gateways are added, not the largest taken."""


def labels_of(rule: AlertRule) -> tuple[str, ...]:
    """The labels that tell a rule's alerts apart."""
    return tuple(rule.by) if rule.by is not None else _BY[rule.signal or rule.kind]


def fold(rule: AlertRule, families: Mapping[str, Family]) -> Folded:
    """What `rule` needs of the metrics, by name."""
    return _FOLDS[rule.kind](rule, families)


def snapped(bounds: Sequence[float], threshold: float) -> float | None:
    """The bound of a histogram that stands for a threshold: the next one up; None above the last."""
    at = bisect_left(bounds, threshold * (1 - 1e-9))
    return bounds[at] if at < len(bounds) else None


def matches(value: str, pattern: str) -> bool:
    """Whether a label's value fits; one `*` matches the rest."""
    head, star, tail = pattern.partition("*")
    if not star:
        return value == pattern
    return len(value) >= len(head) + len(tail) and value.startswith(head) and value.endswith(tail)


def _add(
    rule: AlertRule,
    family: Family | None,
    take: Callable[[Series, Mapping[str, str]], tuple[float, ...]],
    into: dict[Group, list[float]],
) -> None:
    """Add what `take` gives for each series that the rule is about, by group."""
    if family is None:
        return
    by = labels_of(rule)
    # A label that this metric does not have cannot be asked of it.
    wanted = [(name, pattern) for name, pattern in rule.match.items() if name in family.labels]
    for series in family.series:
        labels = dict(zip(family.labels, series.labels, strict=False))
        if not all(matches(labels[name], pattern) for name, pattern in wanted):
            continue
        values = take(series, labels)
        if not values:
            continue
        group = tuple(labels.get(name, "") for name in by)
        if group not in into and len(into) >= MOST_GROUPS:
            group = (OTHER,) * len(by)
        sums = into.setdefault(group, [0.0] * len(values))
        sums[:] = (before + more for before, more in zip(sums, values, strict=True))


def _counts(groups: Mapping[Group, Sequence[float]]) -> dict[Group, Cell]:
    return {group: Cell(counts=tuple(values)) for group, values in groups.items()}


def _burn(rule: AlertRule, families: Mapping[str, Family]) -> Folded:
    groups: dict[Group, list[float]] = {}
    if rule.signal in ("ttft", "itl"):
        family = families.get(f"fairlead_{rule.signal}_seconds")
        bound = snapped(family.bounds, rule.over_s or 0.0) if family is not None else None
        if family is not None and bound is not None:
            good = family.bounds.index(bound) + 1
            _add(
                rule,
                family,
                lambda series, _: (float(sum(series.counts[good:])), float(sum(series.counts))),
                groups,
            )
    elif rule.signal == "errors":
        _add(rule, families.get("fairlead_requests_total"), _outcome, groups)
    elif rule.signal == "cost":
        _add(rule, families.get("fairlead_cost_usd_total"), lambda series, _: (series.value,), groups)
    else:
        return _budget(rule, families)
    return Folded(groups=_counts(groups))


def _outcome(series: Series, labels: Mapping[str, str]) -> tuple[float, ...]:
    bad = labels.get("outcome") in BAD_OUTCOMES
    if not bad and labels.get("outcome") not in GOOD_OUTCOMES:
        return ()  # what a client has to mend, or a client that left, says nothing of the service
    return (series.value if bad else 0.0, series.value)


def _budget(rule: AlertRule, families: Mapping[str, Family]) -> Folded:
    groups: dict[Group, list[float]] = {}
    _add(rule, families.get(BUDGET_USED), lambda series, _: (series.value, 0.0), groups)
    _add(rule, families.get(BUDGET_AMOUNT), lambda series, _: (0.0, series.value), groups)
    return Folded(groups={group: Cell(gauges=tuple(values)) for group, values in groups.items()})


def _threshold(rule: AlertRule, families: Mapping[str, Family]) -> Folded:
    family = families.get(rule.metric or "")
    if family is None:
        return Folded(groups={})
    groups: dict[Group, list[float]] = {}
    if rule.stat == "value":
        return _gauges(rule, family)
    if rule.stat == "rate":
        _add(
            rule,
            family,
            lambda series, _: (float(sum(series.counts)) if series.counts else series.value,),
            groups,
        )
        return Folded(groups=_counts(groups))
    if family.kind == "histogram":
        _add(rule, family, lambda series, _: (series.value, *map(float, series.counts)), groups)
    return Folded(groups=_counts(groups), bounds=family.bounds)


def _gauges(rule: AlertRule, family: Family | None) -> Folded:
    """A gauge's series as one number a group, added or the largest as the metric itself declares."""
    if family is None or family.kind == "histogram":
        return Folded(groups={})
    if family.merge == "sum":
        sums: dict[Group, list[float]] = {}
        _add(rule, family, lambda series, _: (series.value,), sums)
        return Folded(groups={group: Cell(gauges=tuple(value)) for group, value in sums.items()}, added=True)
    most: dict[Group, Cell] = {}
    for series in family.series:
        one: dict[Group, list[float]] = {}
        _add(rule, msgspec.structs.replace(family, series=(series,)), lambda found, _: (found.value,), one)
        for group, (value,) in one.items():
            if group in most:
                value = max(value, most[group].gauges[0])
            if group in most or len(most) < MOST_GROUPS:
                most[group] = Cell(gauges=(value,))
    return Folded(groups=most)


def _gauge_of(default: str) -> Callable[[AlertRule, Mapping[str, Family]], Folded]:
    return lambda rule, families: _gauges(rule, families.get(rule.metric or default))


def _drift(rule: AlertRule, families: Mapping[str, Family]) -> Folded:
    """P-values, each with what tells one comparison from the next: its time, else the p-value itself."""
    found = _gauges(rule, families.get(rule.metric or DRIFT_METRIC)).groups
    times = {} if rule.metric else _gauges(rule, families.get(COMPARED_METRIC)).groups
    groups = {
        group: Cell(gauges=(*cell.gauges, times[group].gauges[0] if group in times else cell.gauges[0]))
        for group, cell in found.items()
    }
    return Folded(groups=groups)


def _outage(rule: AlertRule, families: Mapping[str, Family]) -> Folded:
    calls: dict[Group, list[float]] = {}
    _add(rule, families.get("fairlead_attempts_total"), _call, calls)
    breakers = _gauges(rule, families.get("fairlead_breaker_state")).groups
    groups = {}
    for group in (*calls, *(one for one in breakers if one not in calls)):
        state = breakers.get(group)
        groups[group] = Cell(
            counts=tuple(calls.get(group, (0.0, 0.0))), gauges=state.gauges if state is not None else (0.0,)
        )
    return Folded(groups=groups)


def _call(series: Series, labels: Mapping[str, str]) -> tuple[float, ...]:
    failed = labels.get("reason") not in CALLER_KINDS
    return (series.value if failed else 0.0, series.value)


def _trend(rule: AlertRule, families: Mapping[str, Family]) -> Folded:
    groups: dict[Group, list[float]] = {}
    _add(
        rule,
        families.get("fairlead_itl_seconds"),
        lambda series, _: (series.value, float(sum(series.counts))),
        groups,
    )
    return Folded(groups=_counts(groups))


_FOLDS: Final[dict[str, Callable[[AlertRule, Mapping[str, Family]], Folded]]] = {
    "burn": _burn,
    "threshold": _threshold,
    "drift": _drift,
    "outage": _outage,
    "cache_bound": _gauge_of(BOUND_METRIC),
    "limit": _gauge_of(LIMIT_METRIC),
    "trend": _trend,
}


def by_name(families: Iterable[Family]) -> dict[str, Family]:
    """The metrics by name; the first of a name counts."""
    found: dict[str, Family] = {}
    for family in families:
        found.setdefault(family.name, family)
    return found

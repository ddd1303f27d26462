"""What each rule says of the metrics now. Pure.

`compiled` turns the configuration's rules into `Rule`s, with the default ones
where they are wanted. `evaluate` gives a `Finding` for each rule, group and
severity: whether it holds, and the effect in words. Rules of the kinds `drift`
and `trend` are tests; what they have seen goes through `budget`, so that all
of them together keep to one budget of false alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from fairlead.config.alert_options import AlertRule, Alerts, BurnWindow
from fairlead.telemetry.alerts import budget, burn, trend
from fairlead.telemetry.alerts.budget import Evidence
from fairlead.telemetry.alerts.facts import Group, labels_of
from fairlead.telemetry.alerts.source import MetricSource
from fairlead.telemetry.metrics import histogram

DEFAULT_OBJECTIVE: Final = 0.99
DEFAULT_BOUND: Final = 0.02
"""Of the share of cached answers that are wrong."""
SCORE_METRIC: Final = "fairlead_drift_score"
_MONTH_S: Final = 2_592_000.0
_PERIODS_S: Final = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": _MONTH_S}
_SHORTEST_S: Final = 60.0
_BREAKER_OPEN: Final = 2.0

DEFAULT_RULES: Final[dict[str, AlertRule]] = {
    "slow-first-token": AlertRule(kind="burn", signal="ttft", over_s=10.0, objective=0.99),
    "slow-tokens": AlertRule(kind="burn", signal="itl", over_s=0.2, objective=0.99),
    "errors": AlertRule(kind="burn", signal="errors", objective=0.99),
    "budget": AlertRule(kind="burn", signal="budget"),
    "outage": AlertRule(kind="outage", for_s=30.0),
    "limit": AlertRule(kind="limit", severity="ticket"),
    "wrong-cached-answers": AlertRule(kind="cache_bound", above=DEFAULT_BOUND, severity="ticket"),
    # The semantic metrics keep to a budget of their own; a test of their tests would only lose power.
    "drift": AlertRule(
        kind="threshold", metric=SCORE_METRIC, above=1.0, by=["signal", "model"], severity="ticket"
    ),
    "slower-tokens": AlertRule(kind="trend", over_s=0.2, window_s=7200.0, severity="ticket"),
}
"""Those that `alerts:` brings along."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, ready to be evaluated."""

    name: str
    options: AlertRule
    by: tuple[str, ...]
    pairs: tuple[BurnWindow, ...] = ()

    @property
    def severity(self) -> str:
        """Of a rule whose windows do not say it."""
        return self.options.severity or "page"

    @property
    def keep_s(self) -> float:
        """How far back it looks."""
        if self.pairs:
            return max(pair.long_s for pair in self.pairs)
        return self.options.window_s

    @property
    def tested(self) -> bool:
        """Whether what it says is a test, subject to the budget of false alarms."""
        return self.options.kind in ("drift", "trend")

    @property
    def looks_per_day(self) -> int:
        """How often a day its tests are made."""
        if self.options.kind == "trend":
            return max(1, round(budget.DAY_S * self.options.blocks / self.options.window_s))
        return self.options.looks_per_day


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says of one group."""

    rule: str
    severity: str
    labels: dict[str, str]
    holds: bool | None
    """None when there is nothing to judge by."""
    value: float = 0.0
    objective: float = 0.0
    effect: str = ""
    """What is wrong, in words, with value and objective."""
    window_s: float = 0.0

    @property
    def fingerprint(self) -> str:
        """The same for the same alert on every gateway and after every restart."""
        pairs = ",".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        return f"{self.rule}/{self.severity}/{pairs}"


def compiled(alerts: Alerts) -> dict[str, Rule]:
    """The rules by name; the configuration's own win over defaults of the same name."""
    with_defaults = not alerts.rules if alerts.default_rules is None else alerts.default_rules
    options = {**(DEFAULT_RULES if with_defaults else {}), **alerts.rules}
    return {name: _compiled(name, rule) for name, rule in options.items()}


def _compiled(name: str, options: AlertRule) -> Rule:
    pairs: tuple[BurnWindow, ...] = ()
    if options.kind == "burn":
        pairs = tuple(options.windows) if options.windows is not None else burn.WORKBOOK
    return Rule(name=name, options=options, by=labels_of(options), pairs=pairs)


def hypothesis(rule: Rule, group: Group) -> str:
    """The name under which the evidence of a test is kept."""
    return "\x1f".join((rule.name, *group))


def looked(
    rules: Iterable[Rule], source: MetricSource, known: Mapping[str, Evidence], now: float
) -> dict[str, Evidence]:
    """The evidence of every test, with the looks that are due at `now` (seconds of watched time)."""
    evidence = {}
    for rule in rules:
        if not rule.tested:
            continue
        for group in source.groups(rule.name):
            name = hypothesis(rule, group)
            one = known.get(name, Evidence())
            if budget.may_look(one, rule.looks_per_day, now):
                p, seen = _p_value(rule, group, source)
                if p is not None and (seen is None or seen != one.seen):
                    one = budget.look(one, p, rule.looks_per_day, now, seen=seen)
            evidence[name] = one
    return evidence


def _p_value(rule: Rule, group: Group, source: MetricSource) -> tuple[float | None, float | None]:
    """A test's p-value, and what tells it from the one before, where it is not made at each look."""
    if rule.options.kind == "drift":
        gauges = source.gauges(rule.name, group)
        return (gauges[0], gauges[1]) if len(gauges) == 2 else (None, None)
    found = _fitted(rule, group, source)
    return found.p if found is not None else None, None


def evaluate(
    rules: Iterable[Rule],
    source: MetricSource,
    evidence: Mapping[str, Evidence],
    *,
    false_per_month: float,
    now: float,
) -> list[Finding]:
    """What every rule says. `evidence` is what `looked` gave; `now` is watched time."""
    rules = list(rules)
    daily, detectors = {}, {}
    for rule in rules:
        for group in source.groups(rule.name) if rule.tested else ():
            name = hypothesis(rule, group)
            one = evidence.get(name, Evidence())
            if rule.options.kind == "drift" and rule.options.method == "e-detector":
                detectors[name] = (one, rule.looks_per_day)
            else:
                daily[name] = one
    alarms = budget.alarms(daily, detectors, false_per_month, now)
    found = []
    for rule in rules:
        for group in source.groups(rule.name):
            if rule.tested:
                name = hypothesis(rule, group)
                one = evidence.get(name, Evidence())
                found.append(_tested(rule, group, source, one, alarm=name in alarms))
            else:
                found.extend(_KINDS[rule.options.kind](rule, group, source))
    return found


def _finding(
    rule: Rule, group: Group, *, holds: bool | None, value: float, objective: float, effect: str,
    window_s: float | None = None, severity: str | None = None,
) -> Finding:  # fmt: skip
    labels = {name: text for name, text in zip(rule.by, group, strict=False) if text}
    return Finding(
        rule=rule.name,
        severity=severity or rule.severity,
        labels=labels,
        holds=holds,
        value=value,
        objective=objective,
        effect=effect,
        window_s=rule.options.window_s if window_s is None else window_s,
    )


# --- burn rates ---------------------------------------------------------------------------------


def _burn(rule: Rule, group: Group, source: MetricSource) -> Iterator[Finding]:
    options = rule.options
    rate, scale = _rate_of(rule, group, source)
    for severity, burning in burn.worst(rule.pairs, rate).items():
        long_s = burning.pair.long_s * scale
        if options.signal in ("cost", "budget"):
            enough = True
        else:
            totals = source.increase(rule.name, group, long_s)
            enough = bool(totals) and totals[1] >= options.min_events
        yield _finding(
            rule,
            group,
            holds=burning.holds and enough,
            value=burning.long,
            objective=burning.pair.burn,
            effect=_burn_words(rule, group, source, burning, long_s),
            window_s=long_s,
            severity=severity,
        )


def _rate_of(rule: Rule, group: Group, source: MetricSource) -> tuple[Callable[[float], float], float]:
    """The burn rate over a window, and what windows are multiplied with for this group's period."""
    options, name = rule.options, rule.name
    if options.signal == "budget":
        period_s = _period_s(group, rule)
        # The workbook's windows are for a budget of 30 days; shorter budgets have shorter ones.
        scale = 1.0 if options.windows is not None else period_s / _MONTH_S

        def of_budget(window_s: float) -> float:
            window_s = max(window_s * scale, _SHORTEST_S if options.windows is None else 0.0)
            now, then = source.gauges(name, group), source.gauges(name, group, ago_s=window_s)
            if len(now) < 2 or len(then) < 2:
                return 0.0
            return burn.of_budget(now[0], then[0], now[1], window_s, period_s)

        return of_budget, scale
    if options.signal == "cost":
        budget_usd, period_s = options.budget_usd or 0.0, options.budget_period_s

        def of_cost(window_s: float) -> float:
            spent = source.increase(name, group, window_s)
            return burn.of_spend(spent[0], window_s, budget_usd, period_s) if spent else 0.0

        return of_cost, 1.0
    objective = options.objective or DEFAULT_OBJECTIVE

    def of_ratio(window_s: float) -> float:
        counts = source.increase(name, group, window_s)
        return burn.of_ratio(counts[0], counts[1], objective) if len(counts) == 2 else 0.0

    return of_ratio, 1.0


def _period_s(group: Group, rule: Rule) -> float:
    """The period of a budget, which ends its limit's id: `acme/usd:month`."""
    limit = dict(zip(rule.by, group, strict=False)).get("limit", "")
    return _PERIODS_S.get(limit.rpartition(":")[2], _MONTH_S)


def _burn_words(rule: Rule, group: Group, source: MetricSource, burning: burn.Burning, long_s: float) -> str:
    options = rule.options
    rate = (
        f"the budget burns at {burning.long:.1f} times the rate that it lasts at "
        f"(limit {burning.pair.burn:g})"
    )
    if options.signal == "budget":
        gauges = source.gauges(rule.name, group)
        part = f"; {gauges[0]:.2f} of {gauges[1]:.2f} USD are used" if len(gauges) == 2 else ""
        return f"{rate}{part}"
    counts = source.increase(rule.name, group, long_s)
    if options.signal == "cost":
        spent = counts[0] if counts else 0.0
        budget_text = f"{options.budget_usd:g} USD in {duration(options.budget_period_s)}"
        return f"{spent:.2f} USD spent in {duration(long_s)}, of a budget of {budget_text}: {rate}"
    bad, total = counts if len(counts) == 2 else (0.0, 0.0)
    share = bad / total if total else 0.0
    over_s = options.over_s or 0.0
    what = {
        "ttft": f"requests waited more than {over_s:g} s for the first token",
        "itl": f"gaps between tokens were longer than {over_s:g} s",
        "errors": "requests failed",
    }[options.signal or "errors"]
    goal = 1 - (options.objective or DEFAULT_OBJECTIVE)
    return f"{share:.1%} of {total:.0f} {what} in {duration(long_s)} (objective {goal:.2%}): {rate}"


# --- the others ---------------------------------------------------------------------------------


def _threshold(rule: Rule, group: Group, source: MetricSource) -> Iterator[Finding]:
    options = rule.options
    value, enough = _value(rule, group, source)
    bound, over = (options.above, True) if options.above is not None else (options.below or 0.0, False)
    assert bound is not None
    holds = None if value is None else enough and (value > bound if over else value < bound)
    what = options.metric if options.stat == "value" else f"{options.stat} of {options.metric}"
    shown = "not known" if value is None else f"{value:.6g}"
    effect = f"{what} is {shown}, {'above' if over else 'below'} {bound:g}"
    yield _finding(rule, group, holds=holds, value=value or 0.0, objective=bound, effect=effect)


def _value(rule: Rule, group: Group, source: MetricSource) -> tuple[float | None, bool]:
    """The number that a threshold is compared with, and whether there was enough to say it."""
    options = rule.options
    if options.stat == "value":
        gauges = source.gauges(rule.name, group)
        return (gauges[0], True) if gauges else (None, False)
    counts = source.increase(rule.name, group, options.window_s)
    if not counts:
        return None, False
    if options.stat == "rate":
        return counts[0] / options.window_s, True
    buckets = [round(count) for count in counts[1:]]
    enough = sum(buckets) >= options.min_events
    if not sum(buckets):
        return 0.0, False
    if options.stat == "mean":
        return counts[0] / sum(buckets), enough
    return histogram.quantile(source.bounds(rule.name), buckets, int(options.stat[1:]) / 100), enough


def _outage(rule: Rule, group: Group, source: MetricSource) -> Iterator[Finding]:
    options = rule.options
    calls = source.increase(rule.name, group, options.window_s)
    failed, total = calls if len(calls) == 2 else (0.0, 0.0)
    gauges = source.gauges(rule.name, group)
    share = failed / total if total else 0.0
    is_open = bool(gauges) and gauges[0] >= _BREAKER_OPEN
    failing = total >= options.min_events and share >= options.error_share
    parts = ["its circuit breaker is open"] if is_open else []
    if total:
        goal = f"limit {options.error_share:.0%}"
        parts.append(f"{share:.0%} of {total:.0f} calls failed in {duration(options.window_s)} ({goal})")
    effect = ", ".join(parts) or "no calls"
    yield _finding(
        rule, group, holds=is_open or failing, value=share, objective=options.error_share, effect=effect
    )


def _bound(rule: Rule, group: Group, source: MetricSource) -> Iterator[Finding]:
    limit = DEFAULT_BOUND if rule.options.above is None else rule.options.above
    gauges = source.gauges(rule.name, group)
    value = gauges[0] if gauges else 0.0
    # A bound of 1 says that nothing is known yet.
    holds = value > limit if gauges and value < 1.0 else None
    effect = f"up to {value:.2%} of the cached answers may be wrong (limit {limit:.2%})"
    yield _finding(rule, group, holds=holds, value=value, objective=limit, effect=effect)


def _limit(rule: Rule, group: Group, source: MetricSource) -> Iterator[Finding]:
    gauges = source.gauges(rule.name, group)
    value = gauges[0] if gauges else 0.0
    effect = f"{value:.0%} of the limit are reached"
    yield _finding(rule, group, holds=value > 0, value=value, objective=value, effect=effect)


def _tested(rule: Rule, group: Group, source: MetricSource, one: Evidence, *, alarm: bool) -> Finding:
    options = rule.options
    chance = f"p = {one.latest:.2g} at its last look"
    if options.kind == "drift":
        effect = f"requests or answers are not what they were ({chance}, within the alert budget)"
        return _finding(rule, group, holds=alarm, value=one.latest, objective=budget.STILL, effect=effect)
    found, bound = _fitted(rule, group, source), options.over_s or 0.0
    if found is None:
        return _finding(
            rule, group, holds=alarm and None, value=0.0, objective=bound, effect="too few tokens to tell"
        )
    soon = found.reaches_in_s(bound)
    when = "has reached" if soon == 0 else f"reaches in {duration(soon)}" if soon < 1e9 else "does not reach"
    effect = (
        f"the time per token grows by {found.slope * 3.6e6:.2f} ms an hour; it is {found.level * 1e3:.1f} ms "
        f"and {when} the objective of {bound * 1e3:.0f} ms ({chance})"
    )
    holds = alarm and soon <= options.horizon_s
    return _finding(rule, group, holds=holds, value=found.level, objective=bound, effect=effect)


def _fitted(rule: Rule, group: Group, source: MetricSource) -> trend.Trend | None:
    """The trend of the mean time per token over the blocks that have enough of them."""
    options = rule.options
    block_s = options.window_s / options.blocks
    points = []
    for index in range(options.blocks, 0, -1):
        sums = source.increase(rule.name, group, block_s, ago_s=(index - 1) * block_s)
        if len(sums) == 2 and sums[1] >= options.min_events:
            points.append((-(index - 0.5) * block_s, sums[0] / sums[1]))
    return trend.fit(points, 0.0)


_KINDS: Final[dict[str, Callable[[Rule, Group, MetricSource], Iterator[Finding]]]] = {
    "burn": _burn,
    "threshold": _threshold,
    "outage": _outage,
    "cache_bound": _bound,
    "limit": _limit,
}


def duration(seconds: float) -> str:
    """A time for people: `90 s`, `5 min`, `6 h`, `3 d`."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"

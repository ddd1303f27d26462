"""The requests behind an alert, from the ledger.

A bounded search: the newest requests of the rule's window, those that the
alert is about, the worst first. What it cannot find it leaves out; an alert is
told with or without examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from fairlead.telemetry.alerts.alert import Evidence
from fairlead.telemetry.alerts.facts import BAD_OUTCOMES
from fairlead.telemetry.alerts.rules import Finding, Rule
from fairlead.telemetry.ledger.db import Entry, Filter, Ledger
from fairlead.types import Outcome

_LOOKED_AT: Final = 500
_EXAMPLES: Final = 5
_LONGEST_S: Final = 3600.0


async def gather(ledger: Ledger | None, rule: Rule, finding: Finding, now: float) -> Evidence:
    """Examples for a finding, from the last hour at most; `now` in Unix seconds.

    Raises:
        StorageError: the ledger cannot be read.
    """
    if ledger is None or not _has_examples(rule):
        return Evidence()
    labels = finding.labels
    since = now - min(max(finding.window_s, 60.0), _LONGEST_S)
    # An outage's requests were answered by another target, or by none: the target of the record is not its.
    where = Filter(
        since=since,
        model=labels.get("model"),
        tenant=labels.get("tenant"),
        target=None if rule.options.kind == "outage" else labels.get("target"),
    )
    entries = (await ledger.page(where, limit=_LOOKED_AT)).entries
    if rule.options.kind == "outage" or rule.options.signal == "errors":
        failed = [outcome for outcome in Outcome if outcome.value in BAD_OUTCOMES]
        entries = ()
        for outcome in failed:
            where = Filter(since=since, model=labels.get("model"), outcome=outcome)
            entries += (await ledger.page(where, limit=_LOOKED_AT // 2)).entries
    return chosen(rule, entries)


def chosen(rule: Rule, entries: Iterable[Entry]) -> Evidence:
    """The evidence in some of the ledger's entries. Pure."""
    badness = _badness(rule)
    bad = sorted(
        ((score, entry) for entry in entries if (score := badness(entry)) > 0),
        key=lambda pair: (-pair[0], pair[1].id),
    )
    top = {}
    for label in ("model", "tenant", "target"):
        names = Counter(value for _, entry in bad if (value := getattr(entry, label)))
        if names:
            value, count = names.most_common(1)[0]
            top[label] = f"{value} ({count} of {len(bad)})"
    return Evidence(examples=tuple(entry.id for _, entry in bad[:_EXAMPLES]), top=top)


def _has_examples(rule: Rule) -> bool:
    """Whether a request can be said to be an example of what the rule is about."""
    options = rule.options
    if options.kind == "threshold":
        return options.stat not in ("value", "rate")
    return options.kind in ("burn", "outage", "trend")


def _badness(rule: Rule) -> Callable[[Entry], float]:
    """How much an entry is an example of what the rule is about; 0 when it is none."""
    options = rule.options
    if options.signal == "ttft":
        return lambda entry: max(0.0, entry.first_token_s - (options.over_s or 0.0))
    if options.signal in ("cost", "budget"):
        return lambda entry: float(entry.cost_microusd or 0)
    if options.signal == "itl" or options.kind == "trend":
        return lambda entry: (
            (entry.duration_s - entry.first_token_s) / entry.output_tokens if entry.output_tokens else 0.0
        )
    if options.signal == "errors" or options.kind == "outage":
        return lambda entry: float(entry.outcome in BAD_OUTCOMES) * entry.started_at
    return lambda entry: entry.duration_s

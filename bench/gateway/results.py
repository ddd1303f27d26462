"""Samples, their medians and their ratios; and the floors they are held against.

Pure. A ratio is made within one round, from runs that followed each other, and
the median is taken of the rounds' ratios: what slows the machine for a while
slows both sides of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import msgspec

REFERENCE: Final = "nginx"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of one contestant gave, by the names of the values."""

    scenario: str
    contestant: str
    round: int
    values: dict[str, float]


class Spread(msgspec.Struct, frozen=True):
    """A median and the range around it."""

    median: float
    low: float
    high: float

    @property
    def relative(self) -> float:
        """Width of the range, as a share of the median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures were measured on, and how busy it was with other things."""

    cpu: str
    cores: int
    kernel: str
    python: str
    load_before: float
    """The load average of the last minute, before the first process was started."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one invocation measured."""

    command: str
    measured_on: str
    machine: Machine
    versions: dict[str, str]
    missing: dict[str, str]
    """Contestants that took no part, and why."""
    settings: dict[str, float]
    samples: list[Sample]

    def scenarios(self) -> list[str]:
        """The scenarios in the order in which they were measured."""
        return list(dict.fromkeys(sample.scenario for sample in self.samples))

    def contestants(self, scenario: str) -> list[str]:
        """Who took part, in order."""
        return list(dict.fromkeys(each.contestant for each in self.samples if each.scenario == scenario))

    def values(self, scenario: str, contestant: str, name: str) -> dict[int, float]:
        """One value of one contestant, by round."""
        return {
            sample.round: sample.values[name]
            for sample in self.samples
            if sample.scenario == scenario and sample.contestant == contestant and name in sample.values
        }

    def spread(self, scenario: str, contestant: str, name: str) -> Spread | None:
        """The median of a value over the rounds; None when it was not measured."""
        return _spread(list(self.values(scenario, contestant, name).values()))

    def ratio(self, scenario: str, name: str, contestant: str, base: str = REFERENCE) -> Spread | None:
        """How many times a value of `base` the contestant's is, round by round."""
        own, other = (self.values(scenario, each, name) for each in (contestant, base))
        return _spread([own[number] / other[number] for number in own if other.get(number)])

    def added(self, scenario: str, name: str, contestant: str, base: str = REFERENCE) -> Spread | None:
        """How much a value exceeds that of `base`, round by round."""
        own, other = (self.values(scenario, each, name) for each in (contestant, base))
        return _spread([own[number] - other[number] for number in own if number in other])


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was promised, and what was measured."""

    what: str
    at_least: float | None = None
    at_most: float | None = None
    measured: Spread | None
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the promise; None when nothing was measured."""
        if self.measured is None:
            return None
        value = self.measured.median
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


def floors(run: Run) -> list[Floor]:
    """What the gateway promises of its speed, against this run."""
    rate, mine = "requests_per_s", "fairlead"
    return [
        Floor(what="unary, 64 clients, x nginx", at_least=0.45, measured=run.ratio("unary-64", rate, mine)),
        Floor(
            what="unary, 64 clients, x LiteLLM",
            at_least=120,
            measured=run.ratio("unary-64", rate, mine, "litellm"),
            digits=0,
        ),
        Floor(
            what="unary, 64 clients, x Portkey",
            at_least=15,
            measured=run.ratio("unary-64", rate, mine, "portkey"),
            digits=1,
        ),
        Floor(what="streams, 64 clients, x nginx", at_least=0.5, measured=run.ratio("stream-64", rate, mine)),
        Floor(
            what="p50 over nginx at 1 client, ms",
            at_most=0.06,
            measured=_milli(run.added("latency-1", "p50_us", mine)),
            digits=3,
        ),
        Floor(
            what="p99 over nginx at 1 client, ms",
            at_most=0.3,
            measured=_milli(run.added("latency-1", "p99_us", mine)),
            digits=3,
        ),
        Floor(
            what="answers from the cache, 64 clients, x nginx without one",
            at_least=0.7,
            measured=run.ratio("hits-64", rate, "fairlead, hit"),
        ),
        Floor(
            what="a hit's p50 over that of asking a model, at 1 client, ms",
            at_most=0.0,
            measured=_milli(run.added("hits-1", "p50_us", "fairlead, hit", mine)),
            digits=3,
        ),
        Floor(what="ready after, s", at_most=0.6, measured=run.spread("start", mine, "ready_s")),
        Floor(what="RSS idle, MB", at_most=60, measured=run.spread("start", mine, "rss_mb"), digits=1),
        Floor(
            what="RSS growth in a soak's second half, %",
            at_most=2,
            measured=run.spread("soak", mine, "growth_percent"),
        ),
        Floor(
            what="slow streams: p99 delay of an event over no gateway, ms",
            at_most=5,
            measured=_milli(run.added("paced", "p99_us", mine, "direct")),
        ),
        Floor(
            what="two workers, x one, on two cores",
            at_least=1.0,
            measured=run.ratio("workers", rate, "2 workers", "1 worker"),
        ),
    ]


def remarks(run: Run) -> list[str]:
    """Reasons to distrust the figures: a busy machine, wide spreads, wrong answers."""
    found = []
    if run.machine.load_before > 0.5:
        found.append(f"the load average was {run.machine.load_before:.1f} before anything was started")
    for scenario in run.scenarios():
        foreign = [
            sample.values["foreign_percent"]
            for sample in run.samples
            if sample.scenario == scenario and "foreign_percent" in sample.values
        ]
        if foreign and max(foreign) > 5.0:
            found.append(f"{scenario}: other processes took up to {max(foreign):.0f} % of the two cores")
        for contestant in run.contestants(scenario):
            rate = run.ratio(scenario, "requests_per_s", contestant)
            if rate is not None and rate.relative > 0.15:
                found.append(f"{scenario}: the ratio of {contestant} varied by {rate.relative * 100:.0f} %")
            errors = sum(run.values(scenario, contestant, "errors").values())
            if errors:
                found.append(f"{scenario}: {contestant} gave {errors:.0f} errors")
    return found


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def _milli(spread: Spread | None) -> Spread | None:
    if spread is None:
        return None
    return Spread(spread.median / 1e3, spread.low / 1e3, spread.high / 1e3)

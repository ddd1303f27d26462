"""What is measured, and how: each scenario yields samples.

Contestants take turns (A B C, A B C, ...), so that a machine which grows slower
or faster on the way does so for all. CPU time is counted with every run: it
depends much less than throughput does on what else the machine is doing.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.gateway.contestants import Contestant, start_fairlead, verify
from bench.gateway.processes import BOTH, LOAD_CPU, Pinned, machine_time, waited_children_s
from bench.gateway.programs import BenchError, Generator, Load, Upstream
from bench.gateway.results import Sample

_SETTLE_S: Final = 0.7  # longer than fairlead's interval between two writes of records
_SETTLE_MOST_S: Final = 15.0
_IDLE_SHARE: Final = 0.1
_SOAK_SEGMENTS: Final = 20


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how much."""

    rounds: int
    seconds: float
    """Length of one run of a closed loop."""
    streams: int
    """Slow streams at a time."""
    tokens: int
    tokens_per_s: float
    soak: int
    starts: int


class Rig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that runs while it is measured."""

    settings: Settings
    upstream: Upstream
    generator: Generator
    contestants: Sequence[Contestant]
    directory: Path
    say: Callable[[str], None]


Scenario = Callable[[Rig], Iterator[Sample]]


def _closed(mode: str, connections: int) -> Scenario:
    def measure(rig: Rig) -> Iterator[Sample]:
        name = f"latency-{connections}" if connections == 1 else f"{mode}-{connections}"
        for number in range(rig.settings.rounds):
            for contestant in rig.contestants:
                rig.say(f"{name} round {number + 1}: {contestant.name}")
                yield _closed_loop(rig, name, number, contestant, mode, connections)

    return measure


def _hits(connections: int) -> Scenario:
    """Answers from the cache, next to what asks an upstream: nginx, and the gateway without a cache."""

    def measure(rig: Rig) -> Iterator[Sample]:
        name = f"hits-{connections}"
        others = [one for one in rig.contestants if one.name in ("nginx", "fairlead")]
        mine = start_fairlead(
            rig.upstream.port, rig.directory / name, name="fairlead, hit", model=", cache: {}"
        )
        assert mine.process is not None
        with mine.process:
            verify(mine)
            for number in range(rig.settings.rounds):
                for contestant in (*others, mine):
                    rig.say(f"{name} round {number + 1}: {contestant.name}")
                    yield _closed_loop(rig, name, number, contestant, "unary", connections)

    return measure


def paced(rig: Rig) -> Iterator[Sample]:
    """Many slow streams at a time: how much later does each event come?"""
    settings = rig.settings
    for number in range(rig.settings.rounds):
        for contestant in rig.contestants:
            if contestant.name not in ("direct", "nginx", "fairlead"):
                continue
            rig.say(f"paced round {number + 1}: {contestant.name}")
            request = contestant.request("paced")
            # Starts are spread, as users are; streams of one ramp must not end before it does.
            ramp_s = min(2.0, settings.tokens / settings.tokens_per_s / 4)
            seconds = settings.tokens / settings.tokens_per_s - ramp_s
            meter = _Meter(rig, contestant.process)
            load = rig.generator.paced(
                contestant.port, request, settings.streams, ramp_s=ramp_s, seconds=seconds
            )
            values = meter.read()
            delays = {
                name: getattr(load, name) for name in ("samples", "p50_us", "p99_us", "p999_us", "max_us")
            }
            yield Sample(
                scenario="paced",
                contestant=contestant.name,
                round=number,
                values={**values, **delays, "errors": load.errors},
            )
            _settle(contestant)


def start(rig: Rig) -> Iterator[Sample]:
    """How long `fairlead serve` takes until it says that it is ready, and what it weighs then."""
    for number in range(rig.settings.starts + 1):
        rig.say(f"start {number}")
        place = rig.directory / f"start-{number}"
        began = time.monotonic()
        contestant = start_fairlead(rig.upstream.port, place)
        assert contestant.process is not None
        with contestant.process as process:
            _ready(contestant)
            ready_s = time.monotonic() - began
            time.sleep(1.0)
            rss_mb = process.rss_mb()
        if number > 0:  # the first run may have had to compile modules
            yield Sample(
                scenario="start",
                contestant="fairlead",
                round=number - 1,
                values={"ready_s": ready_s, "rss_mb": rss_mb},
            )


def soak(rig: Rig) -> Iterator[Sample]:
    """Does memory grow? One request in five segments is a stream."""
    contestant = start_fairlead(rig.upstream.port, rig.directory / "soak")
    assert contestant.process is not None
    with contestant.process as process:
        verify(contestant)
        values = {"rss_start_mb": process.rss_mb()}
        sizes = []
        for segment in range(_SOAK_SEGMENTS):
            rig.say(f"soak {segment + 1}/{_SOAK_SEGMENTS}")
            mode = "stream" if segment % 5 == 4 else "unary"
            load = rig.generator.closed(
                contestant.port,
                contestant.request(mode),
                64,
                warmup_s=0.0,
                seconds=0.0,
                count=max(1, rig.settings.soak // _SOAK_SEGMENTS),
            )
            _settle(contestant)
            if load.errors:
                raise BenchError(f"{load.errors} errors in the soak")
            sizes.append(process.rss_mb())
    half, last = sizes[_SOAK_SEGMENTS // 2 - 1], sizes[-1]
    values |= {f"rss_{number + 1:02}_mb": size for number, size in enumerate(sizes)}
    values |= {"rss_half_mb": half, "rss_end_mb": last, "growth_percent": (last / half - 1.0) * 100.0}
    yield Sample(scenario="soak", contestant="fairlead", round=0, values=values)


def workers(rig: Rig) -> Iterator[Sample]:
    """Two workers against one, where gateway, upstream and load share both cores."""
    rig.upstream.move(BOTH)
    try:
        for number in range(rig.settings.rounds):
            for count in (1, 2):
                name = "1 worker" if count == 1 else f"{count} workers"
                rig.say(f"workers round {number + 1}: {name}")
                place = rig.directory / f"workers-{number}-{count}"
                contestant = start_fairlead(rig.upstream.port, place, cpus=BOTH, workers=count)
                contestant = msgspec.structs.replace(contestant, name=name)
                assert contestant.process is not None
                with contestant.process:
                    verify(contestant)
                    yield _closed_loop(rig, "workers", number, contestant, "unary", 64, BOTH)
    finally:
        rig.upstream.move(frozenset((LOAD_CPU,)))


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "start": start,
    "unary-64": _closed("unary", 64),
    "unary-256": _closed("unary", 256),
    "stream-64": _closed("stream", 64),
    "events-64": _closed("events", 64),
    "latency-1": _closed("unary", 1),
    "hits-64": _hits(64),
    "hits-1": _hits(1),
    "paced": paced,
    "workers": workers,
    "soak": soak,
}


def _closed_loop(
    rig: Rig,
    scenario: str,
    number: int,
    contestant: Contestant,
    mode: str,
    connections: int,
    cpus: frozenset[int] = frozenset((LOAD_CPU,)),
) -> Sample:
    meter = _Meter(rig, contestant.process)
    load = rig.generator.closed(
        contestant.port,
        contestant.request(mode),
        connections,
        warmup_s=contestant.warmup_s,
        seconds=rig.settings.seconds,
        cpus=cpus,
    )
    values = meter.read()
    _settle(contestant)
    values |= meter.later(load)
    values |= {
        "requests_per_s": load.requests / load.seconds,
        "p50_us": load.p50_us,
        "p99_us": load.p99_us,
        "errors": load.errors,
    }
    return Sample(scenario=scenario, contestant=contestant.name, round=number, values=values)


class _Meter:
    """CPU time around one run: the contestant's, and that of everybody else."""

    def __init__(self, rig: Rig, process: Pinned | None) -> None:
        self._rig = rig
        self._process = process
        self._before = self._cpu_s()
        self._others = rig.upstream.cpu_s() + waited_children_s()
        self._machine = machine_time()
        self._began = time.monotonic()

    def read(self) -> dict[str, float]:
        """To be called when the load has ended."""
        elapsed_s = time.monotonic() - self._began
        machine = machine_time()
        used_s = self._cpu_s() - self._before
        load_s = self._rig.upstream.cpu_s() + waited_children_s() - self._others
        foreign_s = machine.busy_s - self._machine.busy_s - used_s - load_s
        foreign_s += machine.stolen_s - self._machine.stolen_s
        values = {
            "load_core_percent": load_s / elapsed_s * 100.0,
            "foreign_percent": max(0.0, foreign_s / elapsed_s / len(BOTH) * 100.0),
        }
        if self._process is not None:
            values["core_percent"] = used_s / elapsed_s * 100.0
        return values

    def later(self, load: Load) -> dict[str, float]:
        """To be called when the contestant has come to rest: with what it did after its answers."""
        if self._process is None:
            return {}
        used_s = self._cpu_s() - self._before
        return {"cpu_us": used_s / max(load.total, 1) * 1e6, "rss_mb": self._process.rss_mb()}

    def _cpu_s(self) -> float:
        return self._process.cpu_s() if self._process is not None else 0.0


def _settle(contestant: Contestant) -> None:
    """Wait until nothing is left to do: records to write, requests whose clients have left."""
    if contestant.process is None:
        return
    ended = time.monotonic() + _SETTLE_MOST_S
    while True:
        before = contestant.process.cpu_s()
        time.sleep(_SETTLE_S)
        if (contestant.process.cpu_s() - before) / _SETTLE_S < _IDLE_SHARE or time.monotonic() > ended:
            return


def _ready(contestant: Contestant) -> None:
    """Ask once whether it is ready, as an orchestrator would."""
    connection = http.client.HTTPConnection("127.0.0.1", contestant.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise BenchError(f"fairlead says that it is ready, and answers /readyz with {status}")

"""Rows of docs/faults.md that take more than one request: which there are, and what they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from tests.e2e.faults.page import Row
from tests.e2e.faults.scenarios import GROUPS
from tests.e2e.faults.shapes import PROVIDER_TYPES, Shape

from fairlead.testing import ScriptedUpstream

LEAVING: Final = "The client"
OUTAGES: Final = "Outages"
OPTIONS: Final = "Hedging, continuing, waiting"
PROCESSES: Final = "The gateway itself"


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """The constant part of a row."""

    group: str
    name: str
    fault: str
    settings: str = ""

    def row(
        self,
        shapes: Sequence[Shape],
        saw: str,
        *,
        waited_s: float | None = None,
        attempts: str = "",
        breaker: str = "",
    ) -> Row:
        """The row, with what was seen."""
        return Row(
            group=self.group,
            name=self.name,
            fault=self.fault,
            clients=", ".join(shape.name for shape in shapes),
            settings=self.settings,
            saw=saw,
            waited_s=waited_s,
            attempts=attempts,
            breaker=breaker,
        )


def provider(shape: Shape, upstream: ScriptedUpstream | int, **options: Any) -> dict[str, Any]:
    """A provider of the shape's dialect at a scripted upstream or a port."""
    port = upstream if isinstance(upstream, int) else upstream.port
    return {"type": PROVIDER_TYPES[shape.dialect], "base_url": f"http://127.0.0.1:{port}/v1", **options}


def target(name: str, **options: Any) -> dict[str, Any]:
    return {"provider": name, "model": "m", **options}


def config(
    providers: Mapping[str, Any],
    targets: Sequence[Mapping[str, Any]],
    *,
    top: Mapping[str, Any] | None = None,
    **model: Any,
) -> dict[str, Any]:
    """A configuration with one model `m`; `top` are other sections."""
    return {
        "providers": dict(providers),
        "models": {"m": {"targets": [dict(entry) for entry in targets], **model}},
        **(top or {}),
    }


def per_shape(upstreams: Mapping[Shape, ScriptedUpstream], **options: Any) -> dict[str, Any]:
    """A configuration with one model for each shape, with one target, all called by `name_of`."""
    return {
        "providers": {name_of(shape): provider(shape, upstream) for shape, upstream in upstreams.items()},
        "models": {name_of(shape): {"targets": [target(name_of(shape))], **options} for shape in upstreams},
    }


def name_of(shape: Shape) -> str:
    return shape.name.replace(" ", "-")


LEAVES_EARLY: Final = Story(
    group=LEAVING, name="leaves before the headers", fault="the client closes while the upstream says nothing"
)
LEAVES_WAITING: Final = Story(
    group=LEAVING,
    name="leaves before the first token",
    fault="the client closes after the upstream's head, before its first token",
)
LEAVES_STREAM: Final = Story(
    group=LEAVING, name="leaves in a stream", fault="the client closes after two tokens"
)
LEAVES_BODY: Final = Story(
    group=LEAVING, name="leaves in a body", fault="the client closes while half of a whole answer is here"
)
HALF_CLOSES: Final = Story(
    group=LEAVING, name="half-closes", fault="the client says that it sends no more (FIN) after two tokens"
)
RESETS: Final = Story(group=LEAVING, name="resets", fault="the client resets the connection after two tokens")
LEAVES_HEARTBEATS: Final = Story(
    group=LEAVING,
    name="leaves among heartbeats",
    fault="the client closes when it has seen heartbeats only",
    settings="`server: {commit_s: 0.1, heartbeat_s: 0.1}`",
)
LEAVES_QUEUE: Final = Story(
    group=LEAVING,
    name="leaves the queue",
    fault="the client closes while it waits for a target's concurrency",
    settings="`max_concurrency: 1`",
)
LEAVES_DIALLING: Final = Story(
    group=LEAVING,
    name="leaves while connecting",
    fault="the client closes while the upstream's connection is being opened",
)
LEAVES_HEDGED: Final = Story(
    group=LEAVING,
    name="leaves both hedged attempts",
    fault="the client closes while two targets are asked at once",
    settings="`hedge: {after_s: 0.1}`",
)
SLOW_READER: Final = Story(
    group=LEAVING,
    name="reads slowly",
    fault="the upstream offers 32 MiB of stream; the client takes nothing for a second, then everything",
    settings="`timeouts: {stall_s: 0.4}`",
)

FLAPPING: Final = Story(
    group=OUTAGES,
    name="flapping",
    fault="one of two targets refuses connections for 0.4 s in every 0.8 s; 150 requests in 3 s",
    settings="`breaker: {open_s: 0.2}`",
)
ALL_DOWN: Final = Story(
    group=OUTAGES,
    name="all targets down",
    fault="both targets refuse connections, and their breakers are open",
)
CYCLE: Final = Story(
    group=OUTAGES,
    name="a breaker's cycle",
    fault="a target answers 500 three times, recovers, is probed, and gets a trial request",
    settings="`breaker: {open_s: 0.4}`",
)
TRIAL_FAILS: Final = Story(
    group=OUTAGES,
    name="a trial that fails",
    fault="the probe succeeds, and the trial request hangs",
    settings="a spare, `breaker: {open_s: 0.4}`",
)
BUDGET: Final = Story(
    group=OUTAGES,
    name="retry budget spent",
    fault="the only target answers 500 to every request",
    settings="`retry: {budget: 0, min_budget: 2}`, `breaker: {enabled: false}`",
)
BUDGET_KEPT: Final = Story(
    group=OUTAGES,
    name="bad requests cost no retries",
    fault="ten requests are answered 400, then one 500",
    settings="`retry: {budget: 0, min_budget: 2}`",
)
STALE: Final = Story(
    group=OUTAGES,
    name="stale connections",
    fault="the upstream closes each connection after its answer without saying so; 20 requests in turn",
)
TWO_TARGETS: Final = tuple(
    Story(
        group=OUTAGES,
        name=f"one of two targets {how}",
        fault=f"5,000 requests, 32 at a time; one of two targets {what}",
        settings=settings,
    )
    for how, what, settings in (
        ("refuses", "refuses connections", ""),
        ("hangs", "takes requests and says nothing", "`timeouts: {headers_s: 0.5}`"),
        ("answers 500", "answers 500", ""),
    )
)

HEDGE: Final = Story(
    group=OPTIONS,
    name="hedging",
    fault="the first target says nothing; the second answers at once",
    settings="`hedge: {after_s: 0.2}`",
)
CONTINUED: Final = Story(
    group=OPTIONS,
    name="a cut stream is continued",
    fault="the first target closes after two tokens; the second goes on from them",
    settings="`continue_cut_streams: true`",
)
NOT_CONTINUED: Final = Story(
    group=OPTIONS,
    name="a cut stream that nobody continues",
    fault="the first target closes after two tokens; the second refuses to go on",
    settings="`continue_cut_streams: true`",
)
CONCURRENCY: Final = Story(
    group=OPTIONS,
    name="waiting for concurrency",
    fault="three requests at once to a target that takes 0.3 s for each",
    settings="`max_concurrency: 1`",
)

DRAIN: Final = Story(
    group=PROCESSES, name="SIGTERM during a stream", fault="the gateway is told to stop after two tokens"
)
RELOAD: Final = Story(
    group=PROCESSES,
    name="SIGHUP during traffic",
    fault="a new configuration with another target; a stream is under way on the old one",
)
BAD_RELOAD: Final = Story(
    group=PROCESSES,
    name="SIGHUP with a bad file",
    fault="the new configuration names a provider that does not exist",
)
KILLED: Final = Story(
    group=PROCESSES,
    name="SIGKILL of a worker",
    fault="one of two workers is killed in the middle of its streams",
    settings="`server: {workers: 2}`",
)

STORIES: Final = (
    LEAVES_EARLY, LEAVES_WAITING, LEAVES_STREAM, LEAVES_BODY, HALF_CLOSES, RESETS, LEAVES_HEARTBEATS,
    LEAVES_QUEUE, LEAVES_DIALLING, LEAVES_HEDGED, SLOW_READER,
    FLAPPING, ALL_DOWN, CYCLE, TRIAL_FAILS, BUDGET, BUDGET_KEPT, STALE, *TWO_TARGETS,
    HEDGE, CONTINUED, NOT_CONTINUED, CONCURRENCY,
    DRAIN, RELOAD, BAD_RELOAD, KILLED,
)  # fmt: skip

ORDER: Final = [
    *((group, scenario.name) for group, scenarios in GROUPS.items() for scenario in scenarios),
    *((story.group, story.name) for story in STORIES),
]
"""Every row of the page."""

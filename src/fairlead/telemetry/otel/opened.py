"""OpenTelemetry of one gateway process, opened as the configuration says.

Importing this module needs nothing but the base installation; `open_otel`
imports `otlp`, and with it the extra `fairlead[otel]`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from fairlead.config.kinds import Secret
from fairlead.config.otel_options import Otel as Options
from fairlead.errors import ConfigError
from fairlead.net.client import Client
from fairlead.telemetry.metrics.conventions import Peer
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.metrics.samples import Family
from fairlead.telemetry.otel.collector import Collector, HttpCollector
from fairlead.telemetry.otel.content import Contents
from fairlead.telemetry.otel.events import EvaluationEvents
from fairlead.telemetry.otel.export import Complaints, LaneExport, MetricsExport
from fairlead.telemetry.otel.lane import Lane
from fairlead.telemetry.otel.names import measured
from fairlead.telemetry.otel.redact_content import Redactor
from fairlead.telemetry.otel.trace_context import Sampler
from fairlead.telemetry.otel.tracing import Tracing

if TYPE_CHECKING:
    from types import ModuleType

_log: Final = logging.getLogger(__name__)

_EVENTS: Final = 4
"""Events wait in a lane of this part of the spans' size."""


class Otel:
    """What `open_otel` has opened."""

    def __init__(
        self,
        options: Options,
        collector: Collector,
        codec: ModuleType,
        *,
        worker: int,
        version: str,
        peers: Callable[[], Mapping[str, Peer]],
        families: Callable[[], Iterable[Family]],
    ) -> None:
        """Join the parts; see `open_otel`. `codec` is the module `otlp`."""
        self._options = options
        self._tasks: list[asyncio.Task[None]] = []
        self._families = families
        self._started_at = time.time()
        self._encoder = codec.Encoder(_resource(options, worker=worker, version=version), version)
        complaints = Complaints(time.monotonic)
        self.sampler: Sampler | None = None
        """Gives requests their place in a trace; None when no spans are made."""
        self.contents: Contents | None = None
        """Holds what is said in sampled requests; None when no span has it."""
        self.tracing: Tracing | None = None
        """The recorder's sink for spans; None when none are made."""
        self._lanes: list[LaneExport] = []
        self._metrics: MetricsExport | None = None
        most, most_bytes = options.max_queue, options.max_queue_bytes
        redact = Redactor(options.redact) if options.content == "redacted" else str
        events = Lane("logs", max_items=max(most // _EVENTS, 1), max_bytes=most_bytes // _EVENTS)
        self.events = EvaluationEvents(
            events,
            self._encoder.evaluation,
            explain=None if options.content == "none" else redact,
            now=time.time,
        )
        """Where evaluations of answers go."""
        ways = [(events, self._encoder.logs)]
        if options.traces.enabled:
            spans = Lane("traces", max_items=most, max_bytes=most_bytes)
            ways.insert(0, (spans, self._encoder.traces))
            self.sampler = Sampler(
                options.traces.sample_ratio,
                parent_based=options.traces.parent_based,
                bits=random.getrandbits,
            )
            if options.content != "none":
                self.contents = Contents(max_content_bytes=options.max_content_bytes)
            self.tracing = Tracing(
                spans,
                self._encoder.span,
                peers,
                contents=self.contents,
                redact=redact,
                max_content_bytes=options.max_content_bytes,
            )
        for lane, join in ways:
            self._lanes.append(
                LaneExport(lane, collector, join=join, rejected=codec.rejected, complaints=complaints)
            )
        if options.metrics.enabled:
            self._metrics = MetricsExport(
                collector,
                interval_s=options.metrics.interval_s,
                snapshot=self._snapshot,
                rejected=codec.rejected,
                complaints=complaints,
            )

    def start(self) -> None:
        """Send in the background from now on."""
        loop = asyncio.get_running_loop()
        for export in (*self._lanes, *((self._metrics,) if self._metrics is not None else ())):
            task = loop.create_task(export.run(), name="otel export")
            task.add_done_callback(_report)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Send what is left, for as long as the configuration allows; the rest is dropped and counted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        last: list[Coroutine[None, None, object]] = [export.drain() for export in self._lanes]
        if self._metrics is not None:
            last.append(self._metrics.send())
        try:
            async with asyncio.timeout(self._options.flush_s):
                # Together: a slow answer to one must not cost the others their time.
                outcomes = await asyncio.gather(*last, return_exceptions=True)
        except TimeoutError:
            outcomes = []  # what that costs is counted and told below
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                _log.error("the last export to the OpenTelemetry collector failed", exc_info=outcome)
        lost = sum(export.lane.clear() for export in self._lanes)
        if lost:
            _log.warning("stopped with spans or events that were not exported", extra={"dropped": lost})

    def readings(self) -> Iterator[Reading]:
        """How the exports go."""
        for export in self._lanes:
            lane = export.lane
            signal = (lane.signal,)
            yield Reading(name="fairlead_otel_exported_total", value=lane.exported, labels=signal)
            yield Reading(name="fairlead_otel_dropped_total", value=lane.dropped, labels=signal)
            yield Reading(name="fairlead_otel_rejected_total", value=lane.rejected, labels=signal)
            yield Reading(name="fairlead_otel_failures_total", value=lane.failures, labels=signal)
            yield Reading(name="fairlead_otel_queued", value=len(lane), labels=signal)
        if self._metrics is not None:
            signal = ("metrics",)
            yield Reading(name="fairlead_otel_exported_total", value=self._metrics.exported, labels=signal)
            yield Reading(name="fairlead_otel_rejected_total", value=self._metrics.rejected, labels=signal)
            yield Reading(name="fairlead_otel_failures_total", value=self._metrics.failures, labels=signal)

    def _snapshot(self) -> bytes:
        request: bytes = self._encoder.metrics(measured(self._families()), self._started_at, time.time())
        return request


def open_otel(
    options: Options,
    client: Client,
    *,
    worker: int,
    version: str,
    resolve: Callable[[Secret], str],
    proxy_for: Callable[[str, str, int], str | None],
    peers: Callable[[], Mapping[str, Peer]],
    families: Callable[[], Iterable[Family]],
) -> Otel:
    """Open what `telemetry.otel` of the configuration asks for. Nothing is sent before `start`.

    Args:
        options: the section.
        client: the HTTP client.
        worker: this process' number.
        version: the gateway's.
        resolve: gives the value of a secret.
        proxy_for: the environment's proxy for (scheme, host, port).
        peers: the configured providers, by name, of the configuration in force.
        families: this process' metrics as they stand.

    Raises:
        ConfigError: the extra is not installed, or a header's secret is missing.
    """
    try:
        from fairlead.telemetry.otel import otlp
    except ModuleNotFoundError as error:
        raise ConfigError(
            "`telemetry.otel` needs OpenTelemetry's message definitions", hint="pip install 'fairlead[otel]'"
        ) from error
    collector = HttpCollector(options, client, resolve=resolve, proxy_for=proxy_for)
    return Otel(options, collector, otlp, worker=worker, version=version, peers=peers, families=families)


def _resource(options: Options, *, worker: int, version: str) -> dict[str, str]:
    """Attributes of this process. Each has an instance of its own, so that its totals stay its own."""
    return {
        "service.name": options.service_name,
        "service.version": version,
        "service.instance.id": str(uuid.uuid4()),
        "fairlead.worker": str(worker),
        **options.resource,
    }


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("the export to the OpenTelemetry collector ended", exc_info=task.exception())

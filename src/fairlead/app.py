"""Builds everything from the configuration; the only module that knows the whole.

`Gateway` is one worker process: storage, keys, upstream client, recorder, the
pipeline and the server. `reload` builds new parts from a new configuration
and swaps one reference; requests under way finish on the old parts. What
outlives a reload: the listener, the state store, connections, and the health
of targets that are still there.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from fairlead import __version__
from fairlead import config as cfg
from fairlead.cache.opened import open_cache
from fairlead.config.files import read_secret
from fairlead.config.secrets import resolve
from fairlead.errors import ConfigError
from fairlead.gateway import web
from fairlead.gateway.admin import Admin, Facts
from fairlead.gateway.admission import Admission
from fairlead.gateway.cache_readings import cache_readings, semantic_readings
from fairlead.gateway.caching import Caching
from fairlead.gateway.capacity import queue_of, queue_readings
from fairlead.gateway.dispatch import Dispatch
from fairlead.gateway.engine_watch import EngineWatch, Watched, tell_means
from fairlead.gateway.health import Breaker
from fairlead.gateway.internal import Internal
from fairlead.gateway.key_watch import KeyWatch
from fairlead.gateway.limit_warning import warner
from fairlead.gateway.passthrough import Passthrough
from fairlead.gateway.pipeline import Pipeline
from fairlead.gateway.prober import Prober
from fairlead.gateway.queue import TargetQueue
from fairlead.gateway.retry import RetryBudget
from fairlead.gateway.router import Load, Route, RouteTable, Target, target_name
from fairlead.gateway.routes import Routes, Side
from fairlead.gateway.semantic import Semantic
from fairlead.gateway.signals_opened import TENANT as SIGNALS_TENANT
from fairlead.gateway.signals_opened import open_signals
from fairlead.gateway.upstream import Upstream
from fairlead.limits.opened import open_limits
from fairlead.limits.tree import orphans_text, unknown_tenants
from fairlead.net import server_tls
from fairlead.net.client import Client
from fairlead.net.proxy import proxy_for
from fairlead.net.server import Call, Server
from fairlead.providers.openai_chat import OpenAIChatClient
from fairlead.storage.connect import open_configured
from fairlead.storage.ports import Database
from fairlead.telemetry.access import AccessLog
from fairlead.telemetry.alerts.engine import Engine
from fairlead.telemetry.alerts.opened import open_alerts
from fairlead.telemetry.alerts.watch import LimitWatch
from fairlead.telemetry.billing.pricebook import pricing_of
from fairlead.telemetry.gpu.opened import open_gpus
from fairlead.telemetry.ledger import retention, rollup_job
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.rollup_db import Rollups
from fairlead.telemetry.metrics import process
from fairlead.telemetry.metrics.conventions import Peer, provider_name
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.metrics.samples import Family
from fairlead.telemetry.metrics.scrape import Scrape
from fairlead.telemetry.metrics.siblings import Siblings
from fairlead.telemetry.otel.opened import Otel, open_otel
from fairlead.telemetry.recorder import Recorder, Sink

if TYPE_CHECKING:
    from fairlead.simulate.server import RunningEngine

_log: Final = logging.getLogger(__name__)

_RESTART_ONLY: Final = (
    "server", "state", "storage", "ledger", "logs", "limits", "cache", "telemetry", "signals", "alerts",
)  # fmt: skip
"""Sections that a reload cannot change."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a gateway's processes this is."""

    number: int = 0
    count: int = 1
    generation: str = ""
    """The same for all workers of one start."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What one configuration is turned into."""

    config: cfg.Config
    upstreams: dict[str, Upstream]
    routes: RouteTable
    pipeline: Pipeline
    passthrough: Passthrough


class Gateway:
    """One worker. `start`, then `drain` and `stop`."""

    def __init__(
        self, config: cfg.Config, state_dir: Path, environ: Mapping[str, str], worker: Worker
    ) -> None:
        """Keep the settings; nothing is opened yet.

        Args:
            config: the whole configuration.
            state_dir: where the embedded stores are.
            environ: for secrets and proxies.
            worker: which process this is.
        """
        self._config = config
        self._state_dir = state_dir
        self._environ = environ
        self._worker = worker
        self._started_at = process.started_at()
        self._engine: RunningEngine | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # --- life -----------------------------------------------------------------------------------

    async def start(self, *, sock: socket.socket | None = None, reuse_port: bool = False) -> None:
        """Open the stores, build the parts and listen.

        Raises:
            ConfigError: a secret or file is missing.
            StorageError: the state store cannot be opened.
            OSError: the address is taken.
        """
        config = self._config
        self.database: Database = await open_configured(
            config.storage, str(self._state_dir), self._secret, durable=True
        )
        self.keys = KeyWatch(self.database)
        await self.keys.start()
        self.client = Client()
        self.metrics = Metrics(version=__version__, exemplars=config.telemetry.exemplars)
        self._limit_watch = LimitWatch()
        self.ledger = Ledger(self.database)
        sinks: list[Sink] = [self.metrics] if config.telemetry.metrics else []
        if config.ledger.enabled:
            sinks.insert(0, self.ledger)
        self.gpus = open_gpus(
            config,
            self.client,
            self.database,
            secret=self._secret,
            proxy_for=self._proxy,
            node=socket.gethostname(),
            closes=self._worker.number == 0,
        )
        if self.gpus.sink is not None:
            sinks.append(self.gpus.sink)
        self.otel = self._open_otel(config)
        if self.otel is not None and self.otel.tracing is not None:
            sinks.append(self.otel.tracing)
        if config.alerts is not None:
            sinks.append(self._limit_watch)
        if config.logs.requests:
            sinks.append(AccessLog(sys.stderr.fileno(), human=sys.stderr.isatty()))
        self.recorder = Recorder(sinks, max_pending=config.ledger.max_pending)
        self.recorder.start()
        self.budget = RetryBudget(config.outages.retry)
        self.limits = await open_limits(config, self.database, self._secret, warner(self._limit_watch))
        self.cache = await open_cache(config, self._secret)
        await self._take_up_cache(config)
        self.signals = await open_signals(
            config,
            self.database,
            self._environ,
            models=self._state_dir.expanduser() / "models",
            internal=self._internal_of_signals,
            emit=self.otel.events.emit if self.otel is not None else None,
            roll=random.random,
            compares=self._worker.number == 0,
        )
        self.parts = self._build(config, await self._upstreams(config), [])
        self._tell_orphans()
        self.routes = Routes(self.parts.pipeline, self.parts.passthrough, config.server, await self._side())
        tls = config.server.tls
        self._tls = server_tls.server_context(tls) if tls is not None else None
        self.server = Server(self.routes, config.server, ssl=self._tls)
        self._spawn(Prober(self.client, self.targets).run(), "prober")
        self._spawn(EngineWatch(self.client, self._watched, self.gpus.board).run(), "engine watch")
        self._spawn(tell_means(self.gpus.board, self.targets), "engine means")
        if self.gpus.watch is not None:
            self._spawn(self.gpus.watch.run(), "endpoint watch")
        if self.gpus.accounts is not None:
            self._spawn(self.gpus.accounts.run(), "GPU accounts")
        if self.limits.gossip is not None:
            # Only here, as its store's client library is not a part of every installation.
            from fairlead.gateway.queue_sync import QueueSync

            self._spawn(QueueSync(self._queues, self.limits.gossip).run(), "queue sync")
        if self._worker.number == 0 and config.ledger.enabled:
            self._keep_ledger(config.ledger)
        if self._worker.number == 0 and self.alerts is not None:
            self._spawn(self.alerts.run(), "alerts")
        if self.signals is not None:
            for name, coroutine in self.signals.background():
                self._spawn(coroutine, name)
        if self._siblings is not None:
            # Shows this worker's metrics at once, so everything that they read must be there.
            await self._siblings.start()
        await self.server.start(config.server.host, config.server.port, reuse_port=reuse_port, sock=sock)
        if self.otel is not None:
            self.otel.start()
        # What lives now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Requests make no cycles; looking for some after every 700 objects is work for nothing.
        gc.set_threshold(20_000, 20, 20)

    def _keep_ledger(self, options: cfg.Ledger) -> None:
        kept = options.rollups
        days = retention.Days(
            requests=options.retention_days, minutes=kept.minutes, hours=kept.hours, days=kept.days
        )
        rollups = Rollups(self.database)
        self._spawn(rollup_job.run(self.ledger, rollups), "roll-ups")
        self._spawn(retention.run(self.ledger, days, rollups=rollups), "retention")

    async def drain(self) -> None:
        """Stop accepting, and let requests under way finish for the configured time."""
        await self.server.drain(self._config.server.drain_s)

    async def stop(self) -> None:
        """Close everything; records are written first."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.keys.stop()
        if self.signals is not None:
            await self.signals.close()
        if self.cache is not None:
            # Before the recorder: what it still asks for leaves a record.
            await self.cache.close()
        await self.recorder.stop()
        if self.otel is not None:
            await self.otel.stop()
        await self.limits.close()
        if self._siblings is not None:
            await self._siblings.stop()
        await self.client.close()
        if self._engine is not None:
            await self._engine.stop()
        await self.database.close()

    async def reload(self, config: cfg.Config) -> list[str]:
        """Take a new configuration. The running one stays when this raises.

        Returns the sections that changed but need a restart.

        Raises:
            ConfigError: the new configuration cannot be used.
        """
        # What can fail comes first: building changes breakers and queues that the running one uses too.
        upstreams = await self._upstreams(config)
        if self.cache is None:
            # The first model that keeps answers may come with a reload.
            self.cache = await open_cache(config, self._secret)
        await self._take_up_cache(config)
        if self._tls is not None and config.server.tls is not None:
            server_tls.reload(self._tls, config.server.tls)
        parts = self._build(config, upstreams, list(self.targets()))
        before = self._config
        self.budget.configure(config.outages.retry)
        self.limits.configure(config)
        if self.alerts is not None and config.alerts is not None:
            self.alerts.configure(config.alerts)
        self.parts = parts
        self._config = config
        self._tell_orphans()
        self.routes.pipeline = parts.pipeline
        self.routes.passthrough = parts.passthrough
        return [name for name in _RESTART_ONLY if _section(before, name) != _section(config, name)]

    def _tell_orphans(self) -> None:
        """Warn of keys whose requests are refused because their tenants are not there (any more)."""
        keys = {key.id: key.tenant for key in self.keys.snapshot.valid(time.time())}
        orphans = unknown_tenants(self._config, keys)
        if orphans and self._worker.number == 0:
            _log.warning("%s", orphans_text(orphans), extra={"keys": sorted(orphans)})

    def _watched(self) -> Iterator[Watched]:
        """Engines' targets, whose windows their metrics tune."""
        for target in self.targets():
            upstream, queue = target.api, target.queue
            if queue is not None and isinstance(upstream, Upstream) and upstream.kind.capacity == "engine":
                yield Watched(upstream=upstream, queue=queue)

    def _queues(self) -> set[TargetQueue]:
        return {target.queue for target in self.targets() if target.queue is not None}

    def targets(self) -> Iterator[Target]:
        """Every target of the configuration in force."""
        for route in self.parts.routes.routes:
            yield from route.targets

    # --- building -------------------------------------------------------------------------------

    async def _upstreams(self, config: cfg.Config) -> dict[str, Upstream]:
        """How each provider is asked. Raises ConfigError."""
        return {name: await self._upstream(name, entry) for name, entry in config.providers.items()}

    def _build(self, config: cfg.Config, upstreams: dict[str, Upstream], kept: Sequence[Target]) -> Parts:
        prices = pricing_of(config)
        self.metrics.know(_peers(upstreams))
        breakers = {target.name: target.breaker for target in kept}
        for breaker in breakers.values():
            breaker.configure(config.outages.breaker)
        loads = {target.name: target.load_state for target in kept}
        before = {target.name: target.queue for target in kept}
        queues: dict[str, TargetQueue | None] = {}
        routes = []
        for name, model in config.models.items():
            targets = []
            for entry, pricing in zip(model.targets, prices[name], strict=True):
                key = target_name(entry)
                # One target may serve several model names; its health and load are one.
                breaker = breakers.setdefault(key, Breaker(config.outages.breaker))
                load = loads.setdefault(key, Load())
                upstream = upstreams[entry.provider]
                if key not in queues:
                    queues[key] = queue_of(key, entry, upstream, before.get(key))
                targets.append(Target(entry, breaker, load, upstream, queues[key], pricing))
            routes.append(Route(name, model, targets))
        table = RouteTable(routes)
        dispatch = Dispatch(
            routes=table,
            client=self.client,
            budget=self.budget,
            retry=config.outages.retry,
            roll=random.random,
        )
        pipeline = Pipeline(
            config=config,
            routes=table,
            dispatch=dispatch,
            keys=lambda: self.keys.snapshot,
            caching=self._caching(config, table, dispatch),
            admission=Admission(
                self.limits.limiter, self.limits.shared, slack_s=config.limits.reservation_slack_s
            ),
            recorder=self.recorder,
            roll=random.random,
            now=time.time,
            openai=OpenAIChatClient(),
            sampler=self.otel.sampler if self.otel is not None else None,
            contents=self.otel.contents if self.otel is not None else None,
            sampling=self.signals.sampling if self.signals is not None else None,
        )
        passthrough = Passthrough(
            pipeline, list(upstreams.values()), self.client, max_prefix_bytes=config.server.max_body_bytes
        )
        return Parts(
            config=config, upstreams=upstreams, routes=table, pipeline=pipeline, passthrough=passthrough
        )

    def _open_otel(self, config: cfg.Config) -> Otel | None:
        """The OpenTelemetry collector's side of this process. Raises ConfigError."""
        if config.telemetry.otel is None:
            return None
        return open_otel(
            config.telemetry.otel,
            self.client,
            worker=self._worker.number,
            version=__version__,
            resolve=self._secret,
            proxy_for=self._proxy,
            peers=lambda: _peers(self.parts.upstreams),
            families=self._families,
        )

    async def _take_up_cache(self, config: cfg.Config) -> None:
        """Have ready what the semantic cache of `config` needs. Raises ConfigError."""
        if self.cache is not None:
            await self.cache.take_up(config, worker=self._worker.number, workers=self._worker.count)

    def _caching(self, config: cfg.Config, routes: RouteTable, dispatch: Dispatch) -> Caching | None:
        if self.cache is None:
            return None
        cache, opened = self.cache.cache, self.cache.semantic
        if opened is None:
            return Caching(cache, config, gpu_seconds=self.gpus.gpu_seconds)
        internal = Internal(routes, dispatch, self.recorder.emit)
        semantic = Semantic(config, opened.tier, cache, internal, minilm=opened.minilm, roll=random.random)
        return Caching(cache, config, semantic, gpu_seconds=self.gpus.gpu_seconds)

    def _internal_of_signals(self) -> Internal:
        """The gateway as the client of semantic metrics, under the configuration in force."""
        parts = self.parts
        return Internal(parts.routes, parts.pipeline.dispatch, self.recorder.emit, SIGNALS_TENANT)

    async def _upstream(self, name: str, config: cfg.Provider) -> Upstream:
        if config.type == "simulated" and config.base_url is None:
            if self._engine is None:
                # Most configured gateways have no simulated model, and start without it.
                from fairlead.simulate.server import friendly_config, start_engine

                engine = msgspec.structs.replace(friendly_config(), models=("*",))
                self._engine = await start_engine(engine)
            config = msgspec.structs.replace(config, base_url=f"http://127.0.0.1:{self._engine.port}/v1")
        return Upstream(name, config, resolve=self._secret, proxy_for=self._proxy)

    def _secret(self, secret: cfg.Secret) -> str:
        return resolve(secret, self._environ, read_secret)

    def _proxy(self, scheme: str, host: str, port: int) -> str | None:
        return proxy_for(scheme, host, port, self._environ)

    async def _side(self) -> Side:
        self._siblings: Siblings | None = None
        if self._worker.count > 1:
            self._siblings = Siblings(
                self._state_dir / "run",
                worker=self._worker.number,
                generation=self._worker.generation,
                families=self._families,
            )
        scrape = Scrape(self._families, self._siblings)

        async def metrics(accept: bytes) -> tuple[bytes, bytes]:
            media, body = await scrape.answer(accept.decode("latin-1"))
            return media.encode(), body

        self.alerts: Engine | None = open_alerts(
            self._config.alerts,
            self.database,
            self.client,
            scrape.collect,
            resolve=self._secret,
            proxy_for=self._proxy,
            ledger=self.ledger if self._config.ledger.enabled else None,
        )
        admin = Admin(self._facts())

        async def control(call: Call) -> None:
            # Off the hot path, and in a task, so that anything asyncio offers may be used there.
            await asyncio.get_running_loop().create_task(admin.handle(call))

        return Side(admin=control, metrics=metrics, ready=self._ready, page=web.page)

    def _facts(self) -> Facts:
        return Facts(
            pipeline=lambda: self.parts.pipeline,
            config=lambda: self.parts.config,
            targets=lambda: list(self.targets()),
            limiter=lambda: self.limits.limiter,
            shared_limiter=lambda: self.limits.shared,
            database=self.database,
            ledger=self.ledger if self._config.ledger.enabled else None,
            started_at=self._started_at,
            pending=lambda: self.recorder.pending,
            refresh_keys=self.keys.poll,
            reload=self._reload_all,
            cache=lambda: self.cache.cache if self.cache is not None else None,
            gpus=lambda: self.gpus,
            alerts=lambda: self.alerts,
            signals=lambda: self.signals,
        )

    async def _reload_all(self) -> None:
        """Have every worker read the configuration again, as SIGHUP to the parent does."""
        os.kill(os.getppid() if self._worker.count > 1 else os.getpid(), signal.SIGHUP)

    def _ready(self) -> str | None:
        if not self.keys.ready:
            return "API keys have not been loaded yet"
        if self.recorder.behind:
            return "the request ledger is behind"
        return None

    def _families(self) -> tuple[Family, ...]:
        return (*self.metrics.families(self._readings()), *process.families(self._started_at))

    def _readings(self) -> Iterator[Reading]:
        yield Reading(name="fairlead_in_flight", value=self.parts.pipeline.in_flight)
        yield Reading(name="fairlead_retry_budget_remaining", value=self.budget.remaining(time.monotonic()))
        yield Reading(name="fairlead_connections", value=self.server.connections)
        yield Reading(name="fairlead_recorder_pending", value=self.recorder.pending)
        states: dict[str, int] = {}
        for target in self.targets():
            states[target.name] = max(states.get(target.name, 0), int(target.breaker.state))
        for name, state in states.items():
            yield Reading(name="fairlead_breaker_state", value=state, labels=(name,))
        queues = {target.queue.name: target.queue for target in self.targets() if target.queue is not None}
        for queue in queues.values():
            yield from queue_readings(queue)
        for decided, count in self.limits.limiter.counts.items():
            yield Reading(name="fairlead_limit_decisions_total", value=count, labels=decided)
        if self.cache is not None:
            yield from cache_readings(self.cache.cache)
            if self.cache.semantic is not None:
                yield from semantic_readings(self.cache.semantic.tier)
        yield from self.gpus.readings(time.monotonic())
        yield from self._limit_watch.readings(time.time())
        if self.signals is not None:
            yield from self.signals.readings()
        if self.alerts is not None:
            yield from self.alerts.readings()
        if self.otel is not None:
            yield from self.otel.readings()

    def _spawn(self, coroutine: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        task.add_done_callback(_report)
        self._tasks.append(task)


def _peers(upstreams: Mapping[str, Upstream]) -> dict[str, Peer]:
    """The configured providers, as OpenTelemetry names them."""
    return {
        name: Peer(
            provider=provider_name(upstream.type, upstream.origin.host),
            address=upstream.origin.host,
            port=upstream.origin.port,
        )
        for name, upstream in upstreams.items()
    }


def _section(config: cfg.Config, name: str) -> object:
    """A section, less what a reload can change in it."""
    match name:
        case "alerts":
            return config.alerts is None  # only whether there are any
        case "cache":
            return msgspec.structs.replace(config.cache, scopes={})
        case "telemetry":
            return msgspec.structs.replace(config.telemetry, stall_s=1.0)
        case _:
            return getattr(config, name)


def _report(task: asyncio.Task[None]) -> None:
    """The supervisor of background tasks: one that ends by itself is a bug worth a traceback."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("background task `%s` ended", task.get_name(), exc_info=task.exception())


def check_usable(config: cfg.Config) -> None:
    """Raise ConfigError when nothing could ever be answered."""
    if not config.models:
        raise ConfigError(
            "no models are configured", hint="add `models:` to fairlead.yaml, or run without a file"
        )

"""Builds semantic metrics from the configuration, and gives the application one thing to start and stop."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fairlead import config as cfg
from fairlead.cache.key import targets_mark
from fairlead.cache.semantic.embed import WrongVectors
from fairlead.config.fault import route_of
from fairlead.config.semantic_rules import BUILT_IN, MINILM
from fairlead.config.signal_options import CONTEXT, FEATURES
from fairlead.errors import BadUpstreamAnswer, ConfigError
from fairlead.gateway.internal import Internal
from fairlead.gateway.sampling import Sampling
from fairlead.gateway.semantic_judges import Vectors
from fairlead.gateway.signal_drift import DriftWatch
from fairlead.gateway.signal_readings import drift_readings, signal_readings
from fairlead.gateway.signal_reask import Reasks
from fairlead.gateway.signal_work import SignalWork
from fairlead.signals.board import Policy
from fairlead.signals.db import SignalStore
from fairlead.signals.lab import Lab
from fairlead.signals.questions import Setup
from fairlead.signals.tally import Tally
from fairlead.storage.ports import Database
from fairlead.telemetry.metrics.readings import Reading
from fairlead.types import EvaluationResult

TENANT: Final = "~signals"
"""Whose requests re-asks and embeddings are in records."""
_NEEDED: Final = (("numpy", "numpy"), ("jsonschema_rs", "jsonschema-rs"), ("py3langid", "py3langid"))
_COMMAND: Final = (sys.executable, "-P", "-m", "fairlead.gateway.signal_lab")
_SECRET: Final = "marks"  # noqa: S105 - the name of one
_SECRET_BYTES: Final = 32


class Signals:
    """Semantic metrics of one process."""

    def __init__(
        self,
        sampling: Sampling,
        work: SignalWork,
        drift: DriftWatch | None,
        lab: Lab,
        store: SignalStore,
        policy: Policy | None,
        reasks: Reasks | None,
    ) -> None:
        self.sampling = sampling
        """For the request path."""
        self.work = work
        self.drift = drift
        """None where nothing is compared, or another worker does."""
        self.store = store
        self.policy = policy
        self._lab = lab
        self._reasks = reasks

    def background(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """What has to run."""
        yield "semantic metrics", self.work.run()
        if self.drift is not None:
            yield "drift", self.drift.run()

    def readings(self) -> Iterator[Reading]:
        """What was counted and found."""
        yield Reading(name="fairlead_signals_waiting", value=self.work.waiting)
        yield from signal_readings(self.work.tally, self.sampling.skipped)
        if self.drift is not None:
            yield from drift_readings(self.drift.last.values())

    async def close(self) -> None:
        """Write what is left, and end the process that computes."""
        if self._reasks is not None:
            await self._reasks.close()
        await self.work.keep()
        await self._lab.close()


class _RouteEmbeds:
    """A model of the gateway that makes vectors."""

    def __init__(self, name: str, mark: str, internal: Callable[[], Internal]) -> None:
        self.id = f"{name}@{mark}"
        self._name = name
        self._internal = internal

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        try:
            return await Vectors(self._internal()).ask(self._name, texts)
        except WrongVectors as error:
            raise BadUpstreamAnswer(str(error)) from error


async def open_signals(
    config: cfg.Config,
    database: Database,
    environ: Mapping[str, str],
    *,
    models: Path,
    internal: Callable[[], Internal],
    emit: Callable[[EvaluationResult], None] | None,
    roll: Callable[[], float],
    compares: bool,
) -> Signals | None:
    """Open what `signals` asks for; None when it is not there.

    Args:
        config: the whole configuration.
        database: the state store.
        environ: for the process that computes; little of it is passed on.
        models: the directory where MiniLM's built graph is kept.
        internal: the gateway as its own client, under the configuration in force.
        emit: takes evaluation results; None for nobody.
        roll: a random number in [0, 1) at each call.
        compares: this worker makes the comparisons.

    Raises:
        ConfigError: something is not installed.
        StorageError: the state store cannot be used.
    """
    options = config.signals
    if options is None:
        return None
    _require(options)
    store, drift = SignalStore(database), options.drift
    secret = await store.secret(_SECRET, os.urandom(_SECRET_BYTES))
    setup = _setup(options, secret, models)
    lab, tally = Lab(_COMMAND, environ), Tally()
    reasks = None
    if options.reasks is not None:
        reasks = Reasks(options.reasks, internal, store, setup, roll=roll, emit=emit)
    work = SignalWork(
        lab,
        store,
        setup,
        tally,
        emit=emit,
        max_waiting=options.max_waiting,
        embeds=_embeds(config, internal),
        again=None if reasks is None else reasks.consider,
    )
    policy = None if drift is None else _policy(drift)
    watch = None
    if drift is not None and policy is not None and compares:
        watch = DriftWatch(work, store, policy, kept_per_hour=drift.kept_per_hour, emit=emit)
    sampling = Sampling(options, roll=roll, offer=work.offer)
    return Signals(sampling, work, watch, lab, store, policy, reasks)


def _require(options: cfg.Signals) -> None:
    needed = list(_NEEDED)
    if options.drift is not None and options.drift.embedder == MINILM:
        needed.append(("onnxruntime", "onnxruntime"))
    for module, package in needed:
        if importlib.util.find_spec(module) is None:
            extra = "embed" if module == "onnxruntime" else "signals"
            raise ConfigError(
                f"`signals` needs a package that is not installed: {package}",
                hint=f"pip install 'fairlead[{extra}]'",
            )


def _setup(options: cfg.Signals, secret: bytes, models: Path) -> Setup:
    drift = options.drift
    embedder = drift.embedder if drift is not None and drift.embedder in BUILT_IN else ""
    return Setup(
        features=tuple(FEATURES if options.features is None else options.features),
        context=tuple(CONTEXT if options.context is None else options.context),
        secret=secret,
        embedder=embedder,
        models=str(models),
        examples=drift is not None and drift.keep_examples,
        drift=drift is not None,
    )


def _policy(drift: cfg.SignalDrift) -> Policy:
    return Policy(
        window=drift.window,
        per_user=drift.per_user,
        least_reference=drift.min_reference,
        reference_days=drift.reference_days,
        gap_hours=drift.gap_hours,
        false_alarms_per_month=drift.false_alarms_per_month,
    )


def _embeds(config: cfg.Config, internal: Callable[[], Internal]) -> _RouteEmbeds | None:
    drift = config.signals.drift if config.signals is not None else None
    if drift is None or drift.embedder in BUILT_IN:
        return None
    route = route_of(drift.embedder, config.models)
    assert route is not None, "checked with the configuration"
    return _RouteEmbeds(drift.embedder, targets_mark(config.models[route], config), internal)

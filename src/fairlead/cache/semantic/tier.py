"""The semantic tier of one process: what outlives a reload of the configuration.

Questions and vectors, what was verified and learned of each embedder's
candidates, what was spent, and the work in the background. What a route wants
of it, and what a request does, is `gateway.semantic`'s.

Each worker verifies for itself. Of `workers` each keeps its bound with the
share of the error probability that falls on it, so that with probability 0.95
none of them ever publishes one that is too low.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from fairlead.cache.purge import Purge, Purged, Size
from fairlead.cache.semantic.audit import Change, RouteAudit, Rules, State, Status
from fairlead.cache.semantic.budget import Budget, Spent
from fairlead.cache.semantic.embed import Vector
from fairlead.cache.semantic.record import Learned
from fairlead.cache.semantic.saved import SemanticFile
from fairlead.cache.semantic.store import Known, Store
from fairlead.cache.semantic.verifier import Decision, Verifier
from fairlead.cache.trouble import Trouble
from fairlead.errors import StorageError

_log: Final = logging.getLogger(__name__)
ALPHA: Final = 0.05
_MOST_JOBS: Final = 64
_ALL_OF_IT_S: Final = 60.0
"""A purge of everything up to so long ago is one of everything: others learn of it a little later."""


class SemanticTier:
    """One for a process. `close` ends what goes on in the background."""

    def __init__(
        self,
        store: Store,
        trouble: Trouble,
        *,
        workers: int = 1,
        most_jobs: int = _MOST_JOBS,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Begin knowing nothing; `load` brings back what was learned.

        Args:
            store: questions and vectors.
            trouble: told of what fails.
            workers: how many processes share one promise, and one budget.
            most_jobs: comparisons under way in the background; more are left out.
            now: Unix seconds.
        """
        self.store = store
        self.trouble = trouble
        self.workers = workers
        self.now = now
        self.file: SemanticFile | None = None
        self.decisions: Counter[tuple[str, str]] = Counter()
        """By model and what came of a question; `gateway.semantic` has the words."""
        self.verified: Counter[tuple[str, str]] = Counter()
        """By model and verdict, `same` or `different`."""
        self.audits: Counter[tuple[str, str]] = Counter()
        """By model and what became of hits to be asked again: `asked`, `failed`, `unaffordable`, `busy`."""
        self._verifiers: dict[str, Verifier] = {}
        self._watched: dict[str, RouteAudit] = {}
        self._budgets: dict[str, Budget] = {}
        self._spent: dict[str, Spent] = {}
        self._dirty: set[str] = set()
        self._most_jobs = most_jobs
        self._jobs: set[asyncio.Task[None]] = set()
        self._vectors: set[asyncio.Task[Vector | None]] = set()

    # --- what a configuration asks for ----------------------------------------------------------

    async def load(self, embedders: set[str]) -> None:
        """Bring back what this worker has learned of embedders, before anything is watched."""
        for embedder in embedders - self._verifiers.keys():
            verifier = Verifier(self._changed)
            learned = await self.file.learned(embedder) if self.file is not None else None
            if learned is not None and verifier.restore(learned.verifier):
                for model, spent in learned.spent.items():
                    known = self._spent.get(model, Spent())
                    self._spent[model] = max(known, spent, key=lambda one: (one.day, one.microusd))
            self._verifiers[embedder] = verifier

    def watch(self, model: str, embedder: str, rules: Rules) -> RouteAudit:
        """The watch over a route under an embedder. `rules` are of all workers together."""
        own = Rules(
            max_false_hit_rate=rules.max_false_hit_rate,
            alpha=rules.alpha / self.workers,
            audit_rate=rules.audit_rate,
            audits_per_hour=max(rules.audits_per_hour / self.workers, 1.0),
        )
        watch = self._watched[model] = self.verifier(embedder).watch(model, own)
        return watch

    def budget(self, model: str, *, per_hour: float, microusd_per_day: int) -> Budget:
        """What may be spent on a route; of all workers together."""
        per_hour, microusd_per_day = per_hour / self.workers, microusd_per_day // self.workers
        budget = self._budgets.get(model)
        if budget is None:
            budget = self._budgets[model] = Budget(
                per_hour=per_hour, microusd_per_day=microusd_per_day, spent=self._spent.get(model)
            )
        else:
            budget.configure(per_hour=per_hour, microusd_per_day=microusd_per_day)
        return budget

    def unwatch(self, models: set[str]) -> None:
        """Only these models have the tier now; what was learned of others is kept, and not published."""
        self._watched = {name: watch for name, watch in self._watched.items() if name in models}

    def verifier(self, embedder: str) -> Verifier:
        """Of one embedder; one that was not loaded has learned nothing."""
        known = self._verifiers.get(embedder)
        if known is None:
            known = self._verifiers[embedder] = Verifier(self._changed)
        return known

    # --- what requests do -----------------------------------------------------------------------

    def learn(
        self, watch: RouteAudit, embedder: str, decision: Decision, *, right: bool, missed: float
    ) -> None:
        """A decision was compared with a fresh answer."""
        self.verified[watch.route, "same" if right else "different"] += 1
        self._verifiers[embedder].learn(watch, decision, right=right, missed=missed)
        self._dirty.add(embedder)

    def served(self, embedder: str) -> None:
        """A hit, which is remembered too: hits without audits are bounded."""
        self._dirty.add(embedder)

    def keep(self, known: Known, vector: Vector) -> None:
        """A new answer, to be found by other questions. A vector of another size is counted and left out."""
        try:
            gone = self.store.add(known, vector)
        except ValueError:
            self.trouble.met("embedder", "wrong")
            return
        self._forget(gone)
        if self.file is not None:
            self.file.put(known, vector)

    def lost(self, known: Known) -> None:
        """Its answer is not there any more."""
        if self.store.drop(known.key, known.embedder) is not None:
            self._forget([known])
            if self.file is not None:
                self.file.drop(known)

    def spawn(self, job: Coroutine[Any, Any, None]) -> bool:
        """Do something in the background. False, and nothing is done, when too much is under way."""
        if len(self._jobs) >= self._most_jobs:
            job.close()
            return False
        task = asyncio.get_running_loop().create_task(job, name="semantic cache")
        self._jobs.add(task)
        task.add_done_callback(self._ended)
        return True

    def hold(self, task: asyncio.Task[Vector | None]) -> None:
        """Keep a vector's task until it has ended, whoever waits for it."""
        self._vectors.add(task)
        task.add_done_callback(self._vectors.discard)

    @property
    def busy(self) -> bool:
        """Something goes on in the background."""
        return bool(self._jobs)

    # --- what operators see and do --------------------------------------------------------------

    def statuses(self) -> Iterator[tuple[str, Status]]:
        """What is published, by model."""
        for model, watch in self._watched.items():
            yield model, watch.status()

    def sizes(self) -> list[Size]:
        """What is held in memory, by tenant and model."""
        return self.store.sizes()

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        """Throw away questions, vectors and what was learned of them; see `follow_purge`.

        Raises:
            StorageError: of the file; what is in memory is gone.
        """
        in_memory, meant = await self.store.purge(purge, dry_run=dry_run)
        if not dry_run:
            self._forget(meant)
            self._begin_anew(purge)
        if self.file is None:
            return in_memory
        if not dry_run:
            self.file.forget(purge)
            if _of_everything(purge, self.now()) and purge.model is None:
                await self.file.forget_learned()
        return await self.file.purge(purge, dry_run=dry_run)

    async def follow_purge(self, purge: Purge) -> None:
        """Another process has purged: do the same here.

        A purge of all that a model has, whoever's it was and up to now, is also an operator's word to begin
        anew: what was learned goes too, and a route that had switched itself off learns again.
        """
        try:
            await self.purge(purge)
        except StorageError as error:
            self.trouble.met("semantic", "purge", error)

    async def close(self) -> None:
        """End what goes on, and write what is left."""
        jobs = [*self._jobs, *self._vectors]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        if self.file is not None:
            await self.file.stop()

    # --- inside ---------------------------------------------------------------------------------

    def changed(self) -> dict[str, Learned]:
        """What was learned since the last call, by embedder; for the file."""
        dirty, self._dirty = self._dirty, set()
        spent = {**self._spent, **{model: budget.spent for model, budget in self._budgets.items()}}
        return {name: Learned(verifier=self._verifiers[name].saved(), spent=spent) for name in dirty}

    def _begin_anew(self, purge: Purge) -> None:
        if _of_everything(purge, self.now()):
            for embedder, verifier in self._verifiers.items():
                verifier.forget(purge.model)
                self._dirty.add(embedder)

    def _forget(self, gone: list[Known]) -> None:
        for known in gone:
            verifier = self._verifiers.get(known.embedder)
            if verifier is not None:
                verifier.model.forget_entry(known.key.hex())

    def _changed(self, change: Change) -> None:
        """A route went from one state to another: say so, and remember it at once."""
        if self.file is not None:
            self.file.hurry()
        facts = {
            "model": change.route,
            "before": change.before.value,
            "after": change.after.value,
            "bound": round(change.bound, 5),
            "limit": change.limit,
            "verified": change.verified,
            "wrong": change.errors,
        }
        if change.after is State.OFF:
            _log.error("the semantic cache of a model has switched itself off", extra=facts)
        elif change.after is State.TIGHTENED:
            _log.warning("the semantic cache of a model serves less: too much was wrong", extra=facts)
        else:
            _log.info("the semantic cache of a model has changed its state", extra=facts)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.trouble.met("semantic", "job")
            _log.error("a comparison of answers failed unexpectedly", exc_info=error)


def _of_everything(purge: Purge, now: float) -> bool:
    return purge.tenant is None and purge.before >= now - _ALL_OF_IT_S

"""What the path of a request asks of the semantic tier, under one configuration.

    look      the question, and the fingerprint of all that was said around it
    find      a kept answer to a question that means the same, if it may be served
    answered  the model has answered: learn from it, and keep the question

`find` is asked when the exact tier has nothing, and only while a route serves
something and there is something to find; then a request waits for a vector,
for `timeout_s` at most. Everything else happens afterwards, in the background:
decisions of a route that serves nothing yet, comparisons, audits.

Nothing here fails a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from fairlead import config as cfg
from fairlead.cache.entry import Entry, Found
from fairlead.cache.key import Canonical, Space
from fairlead.cache.lookup import Cache
from fairlead.cache.policy import Policy
from fairlead.cache.semantic.audit import RouteAudit, Rules, State
from fairlead.cache.semantic.budget import Budget
from fairlead.cache.semantic.embed import Vector
from fairlead.cache.semantic.embedders import embedder_of
from fairlead.cache.semantic.guarded import Guarded
from fairlead.cache.semantic.judge import Answers
from fairlead.cache.semantic.question import Question, question_of
from fairlead.cache.semantic.store import Known
from fairlead.cache.semantic.tier import ALPHA, SemanticTier
from fairlead.cache.semantic.verifier import Candidate, Decision, read
from fairlead.errors import FairleadError
from fairlead.gateway.internal import Internal
from fairlead.gateway.semantic_judges import PAUSES_S, Comparer, Vectors
from fairlead.providers.kept import STREAMED, glance
from fairlead.providers.rewrite import read_head, replace_fields
from fairlead.providers.said import said

if TYPE_CHECKING:
    from fairlead.cache.semantic.minilm import MiniLM

_log: Final = logging.getLogger(__name__)
_AUDIT_S: Final = 600.0


class Served:
    """The tier of one route."""

    def __init__(
        self,
        options: cfg.SemanticCache,
        policy: Policy,
        embedder: Guarded,
        watch: RouteAudit,
        comparer: Comparer,
    ) -> None:
        self.options = options
        self.policy = policy
        self.embedder = embedder
        self.watch = watch
        self.comparer = comparer


class Quest:
    """One request's business with the tier. Mutable."""

    __slots__ = (
        "api", "body", "candidate", "decided", "decision", "extra", "key", "question", "served", "space",
        "vector",
    )  # fmt: skip

    def __init__(
        self,
        served: Served,
        question: Question,
        space: Space,
        key: bytes,
        api: str,
        body: bytes,
        extra: bytes,
    ) -> None:
        self.served = served
        self.question = question
        self.space = space
        self.key = key
        """Of the request, in the exact tier."""
        self.api = api
        self.body = body
        self.extra = extra
        self.vector: asyncio.Task[Vector | None] | None = None
        self.decided = False
        self.decision: Decision | None = None
        """Of the candidate, if there was one that the guards let pass."""
        self.candidate: Known | None = None


class Semantic:
    """The semantic tier under one configuration."""

    def __init__(
        self,
        config: cfg.Config,
        tier: SemanticTier,
        cache: Cache,
        internal: Internal,
        *,
        minilm: MiniLM | None,
        roll: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        """Take up the routes of `config` that have the tier; `tier` has loaded their embedders.

        Args:
            config: the whole configuration.
            tier: what outlives it.
            cache: where the answers are.
            internal: asks models of the gateway.
            minilm: where a route names it.
            roll: a random number in [0, 1) at each call.
            clock: monotonic seconds.
            pauses_s: before a judge that failed is asked again.
        """
        self._tier = tier
        self._cache = cache
        self._internal = internal
        self._roll = roll
        vectors = Vectors(internal)
        self._routes: dict[str, Served] = {}
        self._budgets: dict[str, Budget] = {}
        for name, model in config.models.items():
            options = model.cache.semantic if model.cache is not None else None
            if model.cache is None or options is None:
                continue
            maker = embedder_of(options, config, minilm=minilm, ask=vectors.ask)
            guarded = Guarded(maker, tier.trouble, clock=clock)
            audit = options.audit
            rules = Rules(
                max_false_hit_rate=options.max_false_hit_rate,
                alpha=ALPHA,
                audit_rate=audit.share,
                audits_per_hour=audit.per_hour,
            )
            budget = tier.budget(
                name, per_hour=audit.per_hour, microusd_per_day=round(audit.usd_per_day * 1e6)
            )
            self._routes[name] = Served(
                options,
                Policy(model.cache),
                guarded,
                tier.watch(name, guarded.id, rules),
                Comparer(options.judge, internal, guarded, budget, pauses_s=pauses_s),
            )
            self._budgets[name] = budget
        tier.unwatch(set(self._routes))

    # --- on the path ----------------------------------------------------------------------------

    def look(
        self, request: Canonical, space: Space, key: bytes, *, body: bytes, extra: bytes
    ) -> Quest | None:
        """The question of a request, if it may be compared with others.

        Args:
            request: the request.
            space: where its answer is kept.
            key: what it is kept under.
            body: as the client sent it.
            extra: the client's lines that change what is answered.
        """
        served = self._routes.get(space.model)
        if served is None or request.api not in STREAMED or served.watch.state is State.OFF:
            return None
        question = question_of(
            request, space, served.embedder.id, headers=extra,
            max_temperature=served.options.max_temperature,
        )  # fmt: skip
        if isinstance(question, str):
            self._tier.decisions[space.model, question] += 1
            return None
        return Quest(served, question, space, key, request.api, body, extra)

    def find(self, quest: Quest, max_age_s: float | None = None) -> asyncio.Task[Found | None] | None:
        """Look for an answer; None when there is nothing to wait for. The task does not fail."""
        served = quest.served
        if served.watch.state not in (State.ACTIVE, State.TIGHTENED) or served.embedder.rests:
            return None
        if not self._tier.store.holds(quest.question.fingerprint, served.embedder.id):
            return None
        return asyncio.get_running_loop().create_task(self._find(quest, max_age_s), name="semantic lookup")

    def answered(self, quest: Quest, body: bytes, ttl_s: float) -> None:
        """The model's answer was kept in the exact tier: learn from it, in the background."""
        if not self._tier.spawn(self._learn(quest, body, self._tier.now(), ttl_s)):
            self._tier.decisions[quest.space.model, "busy"] += 1

    # --- in tasks -------------------------------------------------------------------------------

    async def _find(self, quest: Quest, max_age_s: float | None) -> Found | None:
        try:
            return await self._search(quest, max_age_s)
        except Exception:
            # Whatever it is, the request goes to the model, which is what it would do without the tier.
            self._tier.trouble.met("semantic", "lookup")
            _log.exception("a semantic lookup failed unexpectedly")
            quest.decided, quest.decision = True, None
            return None

    async def _search(self, quest: Quest, max_age_s: float | None) -> Found | None:
        served, model = quest.served, quest.space.model
        task = self._vector(quest)
        await asyncio.wait({task}, timeout=served.options.timeout_s)
        if not task.done():
            served.embedder.failed("slow")
        vector = task.result() if task.done() and not task.cancelled() else None
        if vector is None:
            self._tier.decisions[model, "no_vector"] += 1
            return None
        now = self._tier.now()
        self._decide(quest, vector, now, max_age_s)
        decision, known = quest.decision, quest.candidate
        if decision is None or known is None or not decision.serve:
            return None
        self._tier.served(served.embedder.id)
        entry = await self._cache.find(known.key, quest.space, now)
        if entry is None:
            self._tier.lost(known)
            self._tier.decisions[model, "gone"] += 1
            quest.decision = None
            return None
        if decision.verify and not self._tier.spawn(self._audit(quest, decision, known, entry)):
            self._tier.audits[model, "busy"] += 1
        assert decision.prediction is not None, "what is served was predicted"
        return Found(entry=entry, score=decision.prediction.probability, bound=decision.bound)

    def _vector(self, quest: Quest) -> asyncio.Task[Vector | None]:
        if quest.vector is None:
            made = quest.served.embedder.vector(quest.question.text)
            quest.vector = asyncio.get_running_loop().create_task(made, name="question vector")
            # It goes on when the request does not wait any more: the fresh answer is kept with it.
            self._tier.hold(quest.vector)
        return quest.vector

    def _decide(self, quest: Quest, vector: Vector, now: float, max_age_s: float | None) -> None:
        """Decide on one candidate: the nearest that the guards let pass."""
        quest.decided = True
        served, tier = quest.served, self._tier
        asked = read(quest.question.text)
        near = tier.store.near(quest.question.fingerprint, served.embedder.id, vector)
        understands = served.embedder.understands
        outcome = "none"
        for number, one in enumerate(near):
            known = one.known
            if known.key == quest.key or not known.created_at <= now < known.expires_at:
                continue  # the very same request says nothing of others
            if known.scope != quest.space.scope or known.model != quest.space.model:
                continue  # the fingerprint says so already, and this says it once more
            if max_age_s is not None and now - known.created_at > max_age_s:
                continue
            after = near[number + 1].cosine if understands and number + 1 < len(near) else None
            candidate = Candidate(
                entry=known.key.hex(),
                reading=read(known.text),
                cosine=one.cosine if understands else None,
                runner_up=after,
            )
            decision = tier.verifier(served.embedder.id).decide(
                served.watch, asked, candidate, roll=self._roll(), now=now
            )
            if decision.guards:
                outcome = "guarded"
                continue
            outcome = "served" if decision.serve else "unsure"
            quest.decision, quest.candidate = decision, known
            break
        tier.decisions[quest.space.model, outcome] += 1

    async def _learn(self, quest: Quest, body: bytes, now: float, ttl_s: float) -> None:
        """Compare with what the candidate would have given, and keep the question."""
        served = quest.served
        vector = await self._vector(quest)
        if vector is None or served.watch.state is State.OFF:
            return
        if not quest.decided:
            self._decide(quest, vector, now, None)
        text = said(quest.api, body)
        if text is not None:
            self._tier.keep(_known(quest, now, ttl_s), vector)
        decision, known = quest.decision, quest.candidate
        # A route that would have served while the model was asked all the same: the fresh answer audits it.
        if decision is None or known is None or not (decision.verify or decision.serve):
            return
        entry = await self._cache.find(known.key, quest.space, self._tier.now())
        if entry is None:
            self._tier.lost(known)
        else:
            await self._compare(quest, decision, known, entry, text)

    async def _audit(self, quest: Quest, decision: Decision, known: Known, entry: Entry) -> None:
        """Ask again what was served from the cache, and compare."""
        model, audits = quest.space.model, self._tier.audits
        budget = self._budgets[model]
        if not budget.allows(entry.facts.cost_microusd or 0, self._tier.now()):
            audits[model, "unaffordable"] += 1
            return
        try:
            head = read_head(quest.body)
            body = quest.body
            if head.stream is not None or head.stream_options is not None:
                body = replace_fields(body, {"stream": b"false", "stream_options": None})
            reply = await self._internal.ask(
                head.model or model, quest.api, body, timeout_s=_AUDIT_S, extra=_lines(quest.extra)
            )
        except FairleadError:
            audits[model, "failed"] += 1
            return
        budget.pay(reply.cost_microusd or 0)
        seen = glance(quest.api, reply.body)
        if seen is None or quest.served.policy.refuses(seen.finishes, calls_tools=seen.calls_tools):
            audits[model, "failed"] += 1
            return
        audits[model, "asked"] += 1
        await self._compare(quest, decision, known, entry, said(quest.api, reply.body))

    async def _compare(
        self, quest: Quest, decision: Decision, known: Known, entry: Entry, fresh: str | None
    ) -> None:
        """Learn whether a candidate's answer says what a fresh one says."""
        served, tier = quest.served, self._tier
        cached = said(quest.api, entry.payload)
        if cached is None:
            tier.lost(known)
            return
        sure = decision.prediction is not None and (
            decision.prediction.lower >= 1.0 - served.options.max_false_hit_rate
        )
        if not served.comparer.affords(tier.now(), spare=not sure):
            tier.audits[quest.space.model, "unaffordable"] += 1
            return
        right, missed = False, 0.0
        if fresh is not None:
            answers = Answers(question=quest.question.text, cached=cached, fresh=fresh)
            verdict = await served.comparer.compare(answers)
            right, missed = verdict.same, verdict.missed
        tier.learn(served.watch, served.embedder.id, decision, right=right, missed=missed)


def _known(quest: Quest, now: float, ttl_s: float) -> Known:
    return Known(
        key=quest.key,
        fingerprint=quest.question.fingerprint,
        embedder=quest.served.embedder.id,
        scope=quest.space.scope,
        tenant=quest.space.tenant,
        model=quest.space.model,
        created_at=now,
        expires_at=now + ttl_s,
        text=quest.question.text,
    )


def _lines(extra: bytes) -> bytes:
    """The client's lines as they go upstream."""
    return b"".join(b"%b: %b\r\n" % tuple(line.split(b":", 1)) for line in extra.split(b"\n") if b":" in line)

"""Semantic cache policies on labelled pairs: what they serve, and how much of it is wrong.

Pairs come in an order that a seed shuffles. Of each, one text is cached and
the other asked; a policy serves the cached answer or does not. The label is
the truth, and is used like this and no other way:

- static thresholds need none; all their hits are counted against it;
- the verified policy decides before it learns the label, and learns it only
  where a gateway would: at a miss, where the fresh answer has been paid for,
  and at the hits that a random audit picks. It begins knowing nothing.

In replay all texts of the file arrive one by one, in random order, and each
policy fills a cache of its own. Candidates are the nearest cached texts among
those that labels relate to the question: labelled pairs say which texts are
the same, directly or through others, and which are different. An entry whose
relation nobody labelled is no candidate, because nobody could say whether
serving it is wrong.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from fairlead.cache.semantic.audit import Rules
from fairlead.cache.semantic.bound import exact_upper
from fairlead.cache.semantic.embed import Embedder, Vector, cosine
from fairlead.cache.semantic.guards import Facts
from fairlead.cache.semantic.judge import normalised
from fairlead.cache.semantic.verifier import Candidate, Verifier, read

ALPHA: Final = 0.05
THRESHOLDS: Final = tuple(round(0.80 + step / 100, 2) for step in range(20))
REPLAYED: Final = (0.80, 0.85, 0.90, 0.95, 0.97, 0.99)
"""In replay each threshold fills a cache of its own, so these have to do."""
RATES: Final = (0.01, 0.02, 0.05)
_ROUTE: Final = "simulated"
_CANDIDATES: Final = 4
_MANY: Final = 10**9

Vectors = Mapping[str, Vector]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the file; whatever else it holds is ignored."""

    a: str
    b: str
    same: bool


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One policy."""

    policy: str
    asked: int
    hits: int
    false_hits: int
    hit_rate: float
    false_hit_rate: float
    """Of hits; 0.0 without any."""
    false_hit_upper: float
    """Clopper and Pearson's 95 % upper bound over the hits; 1.0 without any."""
    max_false_hit_rate: float | None = None
    """What the verified policy was told."""
    published_bound: float | None = None
    """The anytime-valid 95 % bound that the policy itself knew at the end, from what it had verified."""
    verified: int | None = None
    """Decisions behind that bound."""
    labels: int | None = None
    """Comparisons with a fresh answer: misses and audits."""
    state: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All policies on one file."""

    mode: str
    embedder: str
    seed: int
    pairs: int
    same: int
    rows: list[Row]


async def simulate(
    pairs: Sequence[Pair],
    embedder: Embedder,
    *,
    rates: Iterable[float] = RATES,
    seed: int = 1,
    replay: bool = False,
    audit_rate: float = Rules().audit_rate,
) -> Report:
    """Run every policy on the same pairs in the same order."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.a, pair.b)))
    vectors = dict(zip(texts, await embedder.embed(texts), strict=True))
    readings = {text: read(text) for text in texts}
    rules = [Rules(max_false_hit_rate=rate, audit_rate=audit_rate, audits_per_hour=_MANY) for rate in rates]
    if replay:
        rows = _replayed(pairs, texts, embedder, vectors, readings, rules, seed)
    else:
        rows = _paired(pairs, embedder, vectors, readings, rules, seed)
    return Report(
        mode="replay" if replay else "pairs",
        embedder=embedder.id,
        seed=seed,
        pairs=len(pairs),
        same=sum(pair.same for pair in pairs),
        rows=rows,
    )


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate, and the truth about it."""

    text: str
    near: float
    same: bool


class _Verified:
    """The verified policy on its way through the stream."""

    def __init__(self, rules: Rules, seed: int, *, understands: bool) -> None:
        self._verifier = Verifier(lambda change: None)
        self._watch = self._verifier.watch(_ROUTE, rules)
        self._random = random.Random(f"{seed} {rules.max_false_hit_rate}")  # noqa: S311 - a simulation is repeatable
        self._understands = understands
        self._labels = 0

    def chosen(self, readings: Mapping[str, Facts], asked: str, found: Sequence[_Found]) -> int | None:
        """Which of the candidates is served, if any. Labels are looked at only where a gateway compares."""
        cosines = [one.near if self._understands else None for one in found]
        for number, one in enumerate(found):
            runner_up = cosines[number + 1] if number + 1 < len(found) else None
            candidate = Candidate(
                entry=one.text, reading=readings[one.text], cosine=cosines[number], runner_up=runner_up
            )
            roll = self._random.random()
            decision = self._verifier.decide(self._watch, readings[asked], candidate, roll=roll, now=0.0)
            if decision.guards:
                continue
            if decision.verify:
                self._labels += 1
                self._verifier.learn(self._watch, decision, right=one.same)
            # One candidate a question: the nearest that the guards let pass.
            return number if decision.serve else None
        return None

    def row(self, asked: int, hits: int, false_hits: int) -> Row:
        """The policy's figures."""
        status, limit = self._watch.status(), self._watch.rules.max_false_hit_rate
        row = _row(f"verified {limit:.1%}", asked, hits, false_hits)
        return msgspec.structs.replace(
            row,
            max_false_hit_rate=limit,
            published_bound=status.bound,
            verified=status.verified,
            labels=self._labels,
            state=status.state.value,
        )


def _paired(
    pairs: Sequence[Pair],
    embedder: Embedder,
    vectors: Vectors,
    readings: Mapping[str, Facts],
    rules: Sequence[Rules],
    seed: int,
) -> list[Row]:
    stream = list(pairs)
    random.Random(seed).shuffle(stream)  # noqa: S311 - a simulation is repeatable
    near = [cosine(vectors[pair.a], vectors[pair.b]) for pair in stream]
    rows = []
    for threshold in THRESHOLDS:
        labels = [pair.same for pair, value in zip(stream, near, strict=True) if value >= threshold]
        rows.append(_row(f"static {threshold:.2f}", len(stream), len(labels), len(labels) - sum(labels)))
    for rule in rules:
        policy = _Verified(rule, seed, understands=embedder.understands)
        hits = false_hits = 0
        for pair, value in zip(stream, near, strict=True):
            found = [_Found(text=pair.a, near=value, same=pair.same)]
            if policy.chosen(readings, pair.b, found) is not None:
                hits += 1
                false_hits += not pair.same
        rows.append(policy.row(len(stream), hits, false_hits))
    return rows


def _replayed(
    pairs: Sequence[Pair],
    texts: Sequence[str],
    embedder: Embedder,
    vectors: Vectors,
    readings: Mapping[str, Facts],
    rules: Sequence[Rules],
    seed: int,
) -> list[Row]:
    labels = _Labels(pairs)
    # The exact tier answers repeated texts, so each arrives once.
    stream = list({normalised(text): text for text in texts}.values())
    random.Random(seed).shuffle(stream)  # noqa: S311 - a simulation is repeatable
    rows = []
    for threshold in REPLAYED:
        chosen = functools.partial(_above, threshold)
        hits, false_hits = _pass(stream, vectors, labels, chosen)
        rows.append(_row(f"static {threshold:.2f}", len(stream), hits, false_hits))
    for rule in rules:
        policy = _Verified(rule, seed, understands=embedder.understands)
        hits, false_hits = _pass(stream, vectors, labels, functools.partial(policy.chosen, readings))
        rows.append(policy.row(len(stream), hits, false_hits))
    return rows


def _above(threshold: float, asked: str, found: Sequence[_Found]) -> int | None:
    """The nearest, when it is near enough."""
    return 0 if found[0].near >= threshold else None


def _pass(
    stream: Sequence[str],
    vectors: Vectors,
    labels: _Labels,
    chosen: Callable[[str, Sequence[_Found]], int | None],
) -> tuple[int, int]:
    """One policy's way through the stream: hits, and those that were false. What is not served is cached."""
    cached: set[str] = set()
    hits = false_hits = 0
    for text in stream:
        related = [
            _Found(text=other, near=cosine(vectors[text], vectors[other]), same=same)
            for other, same in labels.related(text)
            if other in cached
        ]
        related.sort(key=lambda one: (-one.near, one.text))
        number = chosen(text, related[:_CANDIDATES]) if related else None
        if number is None:
            cached.add(text)
        else:
            hits += 1
            false_hits += not related[number].same
    return hits, false_hits


class _Labels:
    """What the labels of a file say about any two of its texts."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._parent: dict[str, str] = {}
        first: dict[str, str] = {}
        for pair in pairs:
            for text in (pair.a, pair.b):
                self._join(text, first.setdefault(normalised(text), text))
            if pair.same:
                self._join(pair.a, pair.b)
        self._members: dict[str, list[str]] = {}
        for text in list(self._parent):
            self._members.setdefault(self._root(text), []).append(text)
        self._different: dict[str, dict[str, None]] = {}
        for pair in pairs:
            one, other = self._root(pair.a), self._root(pair.b)
            # A pair that is labelled different though others connect it: the labels contradict each other.
            if not pair.same and one != other:
                self._different.setdefault(one, {})[other] = None
                self._different.setdefault(other, {})[one] = None

    def related(self, text: str) -> Iterable[tuple[str, bool]]:
        """Texts that are known to be the same or to be different, and which of the two."""
        root = self._root(text)
        for other in self._members[root]:
            yield other, True
        for different in self._different.get(root, ()):
            for other in self._members[different]:
                yield other, False

    def _root(self, text: str) -> str:
        parent = self._parent
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    def _join(self, one: str, other: str) -> None:
        self._parent[self._root(one)] = self._root(other)


def _row(policy: str, asked: int, hits: int, false_hits: int) -> Row:
    return Row(
        policy=policy,
        asked=asked,
        hits=hits,
        false_hits=false_hits,
        hit_rate=hits / max(asked, 1),
        false_hit_rate=false_hits / max(hits, 1),
        false_hit_upper=exact_upper(hits, false_hits, ALPHA),
    )

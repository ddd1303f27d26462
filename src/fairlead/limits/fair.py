"""Who is served next, and who is refused, in front of a target of finite capacity.

Virtual token counters (Sheng et al., "Fairness in Serving Large Language
Models", 2024, algorithm 2) give every client that waits the same service,
measured in tokens and not in requests; here weighted, and over the tree of
tenants (`limits.flows`).

Rules kept:

- The first in turn that does not fit stops everybody behind it. Skipping
  ahead would starve large requests, and it is what keeps the bound
  |W_f - W_g| <= 2 * max(w_p * L_input, w_q * M) + credit between two siblings
  that wait all the time (W service over weight, L_input the longest prompt, M
  the tokens in flight).
- Whoever waits is served whenever there is room (work-conserving).
- `interactive` before `batch`, strictly, each with counters of its own; a
  batch request that has waited for `age_s` moves to the interactive tree and
  gets its tenant's share there.
- Input is charged at dispatch, output as it streams, the rest is corrected at
  the end. What leaves the queue unserved is charged nothing.
- Nothing grows without bound: not the queue, not what is known of idle keys.
- Several processes in front of one target tell each other what they served
  (`served`, `hear`). Between two siblings that wait in all of them the bound is
  longer by what the target serves between two such rounds (`limits.gossip`).

No clock is read and nothing waits here: the caller passes `now`, asks `head`
whether it fits its window, and dispatches it with `take`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

import msgspec

from fairlead.limits.flows import Band, Entry, Flow, Tree

_RATE_MEMORY_S: Final = 30.0
"""Time constant of the measured service rate."""
_LEAST_MEASURED_S: Final = 0.5
"""Time under load before the measured rate is believed."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue charges and how much it holds."""

    input_weight: float = 1.0
    """Per prompt token."""
    output_weight: float = 2.0
    """Per generated token."""
    cached_weight: float = 0.1
    """Per prompt token that the target had in its prefix cache."""
    age_s: float = 60.0
    """A batch request that has waited this long counts as interactive."""
    max_waiting: int = 1000
    """Requests that may wait; then the newest of the longest-queued tenant's is refused."""
    max_waiting_per_key: int = 500
    """Of them, of one leaf of the tree."""
    max_keys: int = 4096
    """Keys remembered in each band; beyond, idle ones are forgotten."""
    credit: float = 5000.0
    """Weighted tokens, over weight, that a tenant may save up while idle; then a burst of it does not wait as
    long as its first request holds. 0 is the paper's lift, infinity its least-counter-first."""


class FairQueue:
    """The queue in front of one target."""

    __slots__ = ("_ageing", "_rate_at", "_rate_s", "_rate_work", "_trees", "rules", "waiting")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.waiting = 0
        """Requests in the queue."""
        self._trees = tuple(Tree(credit=rules.credit, max_leaves=rules.max_keys) for _ in Band)
        self._ageing: OrderedDict[Entry, None] = OrderedDict()
        """What waits in the batch band, oldest first."""
        self._rate_work = 0.0
        self._rate_s = 0.0
        self._rate_at = 0.0

    # --- a request's life -----------------------------------------------------------------------

    def entry(
        self,
        flow: Flow,
        input_tokens: int,
        expected_tokens: int,
        *,
        advance_tokens: int = 0,
        item: object = None,
    ) -> Entry:
        """Describe a request; then `enter` or `put` it.

        Args:
            flow: whose it is.
            input_tokens: estimated length of the prompt.
            expected_tokens: estimated length of the answer, for the window and for estimated waits.
            advance_tokens: output charged at dispatch instead of as it comes, for answers that do not
                stream; corrected at the end like the rest.
            item: the caller's own.
        """
        rules = self.rules
        work = input_tokens * rules.input_weight + expected_tokens * rules.output_weight
        made = Entry(flow, input_tokens, input_tokens + expected_tokens, work, item)
        if advance_tokens:
            made.advance_tokens = advance_tokens
        return made

    def enter(self, entry: Entry) -> None:
        """Into service at once: for a request that finds room while nobody waits."""
        assert not self.waiting, "whoever waits comes first"
        flow = entry.flow
        tree = self._trees[flow.band]
        leaf = entry.leaf = tree.leaf(flow)
        leaf.running += 1
        entry.charged = self._first_charge(entry)
        tree.enter(leaf, entry.charged)

    def put(self, entry: Entry, now: float) -> Entry | None:
        """Queue it. Return the request that must go instead when the queue is full, perhaps `entry` itself.

        A full queue makes room at the expense of who has most requests in it per weight, level by
        level, batch before interactive; of those the newest goes.
        """
        flow = entry.flow
        tree = self._trees[flow.band]
        leaf = tree.leaf(flow)
        if leaf.waiting >= self.rules.max_waiting_per_key:
            return entry
        refused: Entry | None = None
        if self.waiting >= self.rules.max_waiting:
            batch = self._trees[Band.BATCH]
            if flow.band is Band.INTERACTIVE and batch.root.waiting:
                refused = batch.newest_of_longest(None)
            elif tree.root.waiting:
                refused = tree.newest_of_longest(leaf)
            if refused is None:
                return entry
            self.remove(refused)
        if not self.waiting:
            self._rate_at = now
        entry.queued_at = now
        self.waiting += 1
        tree.append(leaf, entry)
        if flow.band is Band.BATCH:
            self._ageing[entry] = None
        return refused

    def head(self, now: float) -> Entry | None:
        """Whose turn it is; None when nobody waits. Moves up what has aged."""
        if self._ageing:
            self._age(now)
        for tree in self._trees:
            if tree.root.waiting:
                return tree.head()
        return None

    def take(self, entry: Entry, now: float) -> None:
        """Into service: it leaves the queue and is charged its input. `entry` is what `head` gave."""
        leaf = entry.leaf
        assert leaf is not None
        self._drop(entry)
        leaf.running += 1
        entry.charged = self._first_charge(entry)
        leaf.charge(entry.charged)
        elapsed = now - self._rate_at
        if elapsed > 0.0:
            kept = math.exp(-elapsed / _RATE_MEMORY_S)
            self._rate_work *= kept
            self._rate_s = self._rate_s * kept + elapsed
            self._rate_at = now
        self._rate_work += entry.work

    def remove(self, entry: Entry) -> None:
        """Out of the queue without service and without charge. Nothing happens when it does not wait."""
        if entry.waits:
            self._drop(entry)
            entry.leaf = None

    def stream(self, entry: Entry, tokens: int) -> None:
        """Charge output tokens of a request in service as they come."""
        leaf = entry.leaf
        if leaf is None:
            return
        entry.output_tokens += tokens
        beyond = entry.output_tokens - entry.advance_tokens
        if beyond > 0:
            cost = (beyond if beyond < tokens else tokens) * self.rules.output_weight
            entry.charged += cost
            leaf.charge(cost)

    def finish(
        self,
        entry: Entry,
        *,
        input_tokens: int | None = None,
        cached_tokens: int = 0,
        output_tokens: int | None = None,
    ) -> None:
        """Out of service: correct the charge to what was used. A second call does nothing.

        Args:
            entry: a request in service.
            input_tokens: as the target counted them, the cached ones included; None keeps the estimate.
            cached_tokens: those of them that it had in its prefix cache.
            output_tokens: as the target counted them; None keeps what was streamed.
        """
        leaf = entry.leaf
        if leaf is None or entry.waits:
            return
        entry.leaf = None
        leaf.running -= 1
        rules = self.rules
        fed = entry.input_tokens if input_tokens is None else input_tokens
        cached = min(cached_tokens, fed)
        made = entry.output_tokens if output_tokens is None else output_tokens
        cost = (fed - cached) * rules.input_weight + cached * rules.cached_weight + made * rules.output_weight
        difference = cost - entry.charged
        entry.charged = cost
        if difference > 0.0:
            leaf.charge(difference)
        elif difference < 0.0:
            self._tree_of(entry).refund(leaf, -difference)

    def abandon(self, entry: Entry) -> None:
        """It was never carried out: out of the queue or of service, and everything charged is given back."""
        if entry.waits:
            self.remove(entry)
        else:
            self.finish(entry, input_tokens=0, output_tokens=0)

    # --- several processes ----------------------------------------------------------------------

    def served(self) -> list[tuple[Flow, float]]:
        """The service, in weighted tokens, that flows had here since the last call."""
        return [served for tree in self._trees for served in tree.served()]

    def hear(self, flow: Flow, cost: float) -> None:
        """Count service that a flow had of the same target by another process."""
        self._trees[flow.band].hear(flow, cost)

    # --- what can be said of it -----------------------------------------------------------------

    def wait_s(self, entry: Entry, now: float) -> float | None:
        """Estimated wait of a request that would be put now; None before a rate was measured under load.

        The work its own flow has in the queue over its share of the measured rate, and not more than
        the work of everybody: an estimate, since who comes and goes meanwhile is not known.
        """
        rate = self.rate(now)
        if rate is None:
            return None
        flow = entry.flow
        tree = self._trees[flow.band]
        before = self._trees[Band.INTERACTIVE].root.work if flow.band is Band.BATCH else 0.0
        share, own = tree.share(flow)
        return min(before + (own + entry.work) / share, before + tree.root.work + entry.work) / rate

    def rate(self, now: float) -> float | None:
        """Work dispatched per second while requests waited, over about the last half minute under load."""
        seconds = self._rate_s
        if self.waiting:
            seconds += max(0.0, now - self._rate_at)
        return self._rate_work / seconds if seconds >= _LEAST_MEASURED_S and self._rate_work else None

    def waiting_of(self, flow: Flow) -> int:
        """Requests of one flow in the queue, what has moved up by age not counted."""
        leaf = self._trees[flow.band].leaves.get(flow)
        return leaf.waiting if leaf is not None else 0

    def counter(self, flow: Flow) -> float:
        """The virtual counter of a flow's leaf; 0.0 when it is not known."""
        leaf = self._trees[flow.band].leaves.get(flow)
        return leaf.counter if leaf is not None else 0.0

    @property
    def keys(self) -> int:
        """Flows that are remembered."""
        return sum(len(tree.leaves) for tree in self._trees)

    def _first_charge(self, entry: Entry) -> float:
        rules = self.rules
        return entry.input_tokens * rules.input_weight + entry.advance_tokens * rules.output_weight

    def _tree_of(self, entry: Entry) -> Tree:
        return self._trees[entry.flow.band]

    def _drop(self, entry: Entry) -> None:
        leaf = entry.leaf
        assert leaf is not None
        self.waiting -= 1
        self._tree_of(entry).drop(leaf, entry)
        if self._ageing:
            self._ageing.pop(entry, None)

    def _age(self, now: float) -> None:
        due = now - self.rules.age_s
        interactive = self._trees[Band.INTERACTIVE]
        while self._ageing:
            entry = next(iter(self._ageing))
            if entry.queued_at > due:
                return
            # The oldest of all is the first of its leaf, so each leaf stays first come first served.
            self._drop(entry)
            self.waiting += 1
            entry.flow = Flow(names=entry.flow.names, weights=entry.flow.weights)
            interactive.append(interactive.leaf(entry.flow), entry)

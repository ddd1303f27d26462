"""The tree of virtual token counters: who had how much service, and who has had least.

Every node has a counter of the service its subtree had, divided by its
weight. Among the children of a node that wait, the one with the least counter
is next, down to a leaf, where requests stand in line. `Tree` keeps counters
and lines; whom to refuse, what to charge and when is `limits.fair`'s.

Rules kept:

- Whoever begins to wait is lifted to the least counter among its siblings
  that wait, or when none does to the counter of the sibling that left the
  line last, less a small credit: nobody saves up more service than that while
  idle. Without any, a tenant far below its share would wait for the second of
  two requests that come together, as if it had no share to spare. The lift has
  no other cap: it never raises a counter above that of a sibling which has had
  as much.
- Leaves that nobody uses are forgotten when there are too many. A forgotten
  one comes back with the lift, so it gains at most what it was ahead.
"""

from __future__ import annotations

import enum
import heapq
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import msgspec

_SLACK: Final = 16
"""Stale heap entries that are not worth a rebuild."""


class Band(enum.IntEnum):
    """Priority bands; the lower number is served first."""

    INTERACTIVE = 0
    BATCH = 1


class Flow(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """Whose requests these are. Build it once and keep it: it is hashed once per instance."""

    names: tuple[str, ...]
    """From the organisation down to the key; at least one."""
    weights: tuple[float, ...]
    """Share of each among its siblings, above 0; as many as names."""
    band: Band = Band.INTERACTIVE


class Entry:
    """One request, in line or in service; `FairQueue.entry` makes it. Read-only for others."""

    __slots__ = (
        "advance_tokens", "charged", "flow", "input_tokens", "item", "leaf", "output_tokens", "queued_at",
        "size_tokens", "waits", "work",
    )  # fmt: skip

    def __init__(self, flow: Flow, input_tokens: int, size_tokens: int, work: float, item: object) -> None:
        self.flow = flow
        self.input_tokens = input_tokens
        self.size_tokens = size_tokens
        """Tokens it will hold in the target's window."""
        self.work = work
        """Its estimated cost, for estimated waits."""
        self.item = item
        self.queued_at = 0.0
        self.waits = False
        """In line, not (yet) in service."""
        self.leaf: Node | None = None
        self.advance_tokens = 0
        self.output_tokens = 0
        self.charged = 0.0


class Node:
    """A tenant or a key. Read-only for others."""

    __slots__ = (
        "active", "active_weight", "children", "counter", "given", "heap", "inverse", "last", "name",
        "parent", "queue", "running", "ticket", "waiting", "weight", "work",
    )  # fmt: skip

    def __init__(self, name: str, parent: Node | None, weight: float) -> None:
        self.name = name
        self.parent = parent
        self.weight = weight
        self.inverse = 1.0 / weight
        self.counter = 0.0
        self.waiting = 0
        self.work = 0.0
        """Of what waits in this subtree."""
        self.ticket = 0
        """Marks the one valid entry of this node in its parent's heap; 0 while nothing waits in it."""
        # Of inner nodes:
        self.children: dict[str, Node] = {}
        self.heap: list[tuple[float, int, Node]] = []
        """Children that wait, by a lower bound of their counters."""
        self.active = 0
        self.active_weight = 0.0
        self.last: Node | None = None
        """The child that left the line last."""
        # Of leaves:
        self.queue: OrderedDict[Entry, None] | None = None
        self.running = 0
        self.given = 0.0
        """Charged in this process since `Tree.served` was last asked."""

    def charge(self, cost: float) -> None:
        """Count service of this leaf, on every node above it too."""
        self.given += cost
        node = self
        while (parent := node.parent) is not None:
            node.counter += cost * node.inverse
            node = parent


class Tree:
    """One band's counters and lines. Every operation is O(depth * log(siblings))."""

    __slots__ = ("_credit", "_max_leaves", "_tickets", "leaves", "root")

    def __init__(self, *, credit: float, max_leaves: int) -> None:
        """Make an empty one.

        Args:
            credit: how far below its siblings a counter may be when somebody begins to wait.
            max_leaves: leaves that are remembered; beyond, idle ones are forgotten.
        """
        self.root = Node("", None, 1.0)
        self.leaves: dict[Flow, Node] = {}
        self._credit = credit
        self._max_leaves = max_leaves
        self._tickets = 0

    def leaf(self, flow: Flow) -> Node:
        """The leaf of a flow, made when there is none."""
        return self.leaves.get(flow) or self._make(flow)

    def enter(self, leaf: Node, cost: float) -> None:
        """Through the line without a stop, and charge: for when nobody waits."""
        leaf.given += cost
        node = leaf
        while (parent := node.parent) is not None:
            last = parent.last
            if last is not node:
                if last is not None:
                    node.counter = max(node.counter, last.counter - self._credit)
                parent.last = node
            node.counter += cost * node.inverse
            node = parent

    def append(self, leaf: Node, entry: Entry) -> None:
        """To the end of the leaf's line."""
        entry.leaf = leaf
        entry.waits = True
        assert leaf.queue is not None
        leaf.queue[entry] = None
        node = leaf
        while (parent := node.parent) is not None:
            if not node.waiting:
                above = self.least(parent) if parent.waiting else parent.last
                if above is not None:
                    node.counter = max(node.counter, above.counter - self._credit)
                parent.active += 1
                parent.active_weight += node.weight
                self._push(parent, node)
            node.waiting += 1
            node.work += entry.work
            node = parent
        node.waiting += 1
        node.work += entry.work

    def drop(self, leaf: Node, entry: Entry) -> None:
        """Out of the line, wherever it stands in it."""
        assert leaf.queue is not None
        del leaf.queue[entry]
        entry.waits = False
        node = leaf
        while (parent := node.parent) is not None:
            node.waiting -= 1
            node.work -= entry.work
            if not node.waiting:
                node.ticket = 0
                node.work = 0.0  # no rounding errors are kept
                parent.active -= 1
                parent.active_weight -= node.weight
                parent.last = node
            node = parent
        node.waiting -= 1
        node.work = node.work - entry.work if node.waiting else 0.0

    def head(self) -> Entry:
        """The first of the leaf whose turn it is. Somebody waits."""
        node = self.root
        while node.queue is None:
            node = self.least(node)
        return next(iter(node.queue))

    def least(self, parent: Node) -> Node:
        """The waiting child with the least counter; there is one."""
        heap = parent.heap
        while True:
            # Entries were right when pushed and counters only grow, so each is a lower bound.
            counter, ticket, node = heap[0]
            if node.ticket != ticket:
                heapq.heappop(heap)
            elif node.counter != counter:
                heapq.heapreplace(heap, (node.counter, ticket, node))
            else:
                return node

    def refund(self, leaf: Node, cost: float) -> None:
        """Give back service that was charged and not used."""
        leaf.given -= cost
        node = leaf
        while (parent := node.parent) is not None:
            node.counter -= cost * node.inverse
            if node.ticket:
                # The one case in which a counter shrinks: its entry is no lower bound any more.
                self._push(parent, node)
            node = parent

    def served(self) -> list[tuple[Flow, float]]:
        """What each leaf was charged here since the last call, where anything was; refunds count."""
        found = []
        for flow, leaf in self.leaves.items():
            if leaf.given:
                found.append((flow, leaf.given))
                leaf.given = 0.0
        return found

    def hear(self, flow: Flow, cost: float) -> None:
        """Count service that a leaf had elsewhere. The weights that are known here stay."""
        leaf = self.leaves.get(flow) or self._known(flow) or self._make(flow)
        given = leaf.given
        if cost >= 0.0:
            leaf.charge(cost)
        else:
            self.refund(leaf, -cost)
        leaf.given = given

    def newest_of_longest(self, newcomer: Node | None) -> Entry | None:
        """The newest request of who has most in line per weight, level by level; somebody waits.

        One more of `newcomer` is counted, and that leaf loses ties; None when it is the longest itself.
        """
        own: list[Node] = []
        step = newcomer
        while step is not None:
            own.append(step)
            step = step.parent
        node = self.root
        while node.queue is None:
            longest = next((step for step in own if step.parent is node), None)
            length = 0.0 if longest is None else (longest.waiting + 1) * longest.inverse
            for _, ticket, child in node.heap:
                if child.ticket == ticket and child.waiting * child.inverse > length:
                    longest, length = child, child.waiting * child.inverse
            assert longest is not None, "somebody waits"
            node = longest
        return None if node is newcomer else next(reversed(node.queue))

    def share(self, flow: Flow) -> tuple[float, float]:
        """The part of the service that a flow gets while it waits, and the work it has in line."""
        node: Node | None = self.root
        share = 1.0
        for name, weight in _steps(flow):
            child = None
            if node is not None:
                child = node.children.get(name)
                own = child.weight if child is not None and child.ticket else 0.0
                share *= weight / (weight + max(node.active_weight - own, 0.0))
            node = child
        return share, node.work if node is not None else 0.0

    def _known(self, flow: Flow) -> Node | None:
        """The leaf of that path, whatever its weights."""
        node: Node | None = self.root
        for name, _ in _steps(flow):
            if node is not None:
                node = node.children.get(name)
        return node

    def _make(self, flow: Flow) -> Node:
        """Find or make the nodes of a flow's path, with its weights."""
        if len(self.leaves) >= self._max_leaves:
            self._forget()
        node = self.root
        for name, weight in _steps(flow):
            child = node.children.get(name)
            if child is None:
                child = node.children[name] = Node(name, node, weight)
            elif child.weight != weight:
                if child.ticket:
                    node.active_weight += weight - child.weight
                child.weight, child.inverse = weight, 1.0 / weight
            node = child
        if node.queue is None:
            node.queue = OrderedDict()
        else:
            # The same leaf under other weights, as after a reload.
            for stale in [known for known, leaf in self.leaves.items() if leaf is node]:
                del self.leaves[stale]
        self.leaves[flow] = node
        return node

    def _forget(self) -> None:
        """Drop the half of the idle leaves that was served least: the lift would raise them most."""
        idle = [flow for flow, leaf in self.leaves.items() if not leaf.waiting and not leaf.running]
        idle.sort(key=lambda flow: self.leaves[flow].counter)
        for flow in idle[: (len(idle) + 1) // 2]:
            node = self.leaves.pop(flow)
            while (parent := node.parent) is not None and not node.children:
                # When it was the last that left, its counter stays as what newcomers are lifted to.
                del parent.children[node.name]
                node = parent

    def _push(self, parent: Node, node: Node) -> None:
        self._tickets = node.ticket = self._tickets + 1
        heap = parent.heap
        if len(heap) > 2 * parent.active + _SLACK:
            heap[:] = [item for item in heap if item[2].ticket == item[1]]
            heapq.heapify(heap)
        heapq.heappush(heap, (node.counter, node.ticket, node))


def _steps(flow: Flow) -> Iterator[tuple[str, float]]:
    """Name and weight of each node of a flow's path. A leaf never shares a node with a tenant of its name."""
    last = len(flow.names) - 1
    for index, (name, weight) in enumerate(zip(flow.names, flow.weights, strict=True)):
        yield ("\0" + name if index == last else name), weight

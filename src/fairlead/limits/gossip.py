"""What gateways in front of the same targets tell each other, so that their fair queues count alike.

Each tells now and then which flow had how much service of which target, and
hears the same of the others: one script call, one round trip for all targets.
Nobody owns a queue, and nobody waits for an answer.

- Every message has its replica's sequence number, and a message without an
  answer is repeated as it was. So a hearer counts each once, however often it
  is there.
- Messages are forgotten after some seconds. What could not be told by then is
  not told any more: to be fair about a minute ago would starve somebody now.
  A replica that starts hears what is told from then on.
- Without the server nothing is told and nothing fails: each process is fair to
  those who wait in it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Final

import msgspec

from fairlead.errors import StorageError
from fairlead.limits.flows import Band, Flow
from fairlead.storage.redis import RedisServer, Script

_KEPT_S: Final = 10.0
"""How long messages can be heard."""
_LATEST_S: Final = 5.0
"""After this long without an answer, what was to be told is forgotten."""
_MOST_REPLICAS: Final = 1024
_START: Final = "0-0"


class Served(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Service that a flow had of a target."""

    target: str
    names: tuple[str, ...]
    weights: tuple[float, ...]
    band: int
    cost: float
    """Weighted tokens; below 0 when more was given back than charged."""

    def flow(self) -> Flow:
        """Whose it is."""
        return Flow(names=self.names, weights=self.weights, band=Band(self.band))


def served(target: str, flow: Flow, cost: float) -> Served:
    """Service of `flow` at `target`."""
    return Served(target, flow.names, flow.weights, int(flow.band), cost)


class Heard:
    """Which messages were counted already."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()

    def is_new(self, replica: str, sequence: int) -> bool:
        """Whether this message is to be counted; it is then not new any more."""
        if sequence <= self._last.get(replica, 0):
            return False
        self._last[replica] = sequence
        self._last.move_to_end(replica)
        if len(self._last) > _MOST_REPLICAS:
            self._last.popitem(last=False)
        return True


class Gossip:
    """One replica's voice and ear on a server."""

    def __init__(
        self,
        server: RedisServer,
        *,
        replica: str,
        prefix: str = "fairlead:",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is told yet.

        Args:
            server: where it is told.
            replica: a name that no other process uses, not even this one's next life.
            prefix: what the key begins with.
            monotonic: a clock in seconds.
        """
        self._server = server
        self._replica = replica
        self._key = f"{prefix}{{queues}}"
        self._monotonic = monotonic
        self._script = Script((resources.files("fairlead.limits") / "gossip.lua").read_text())
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(tuple[Served, ...]).decode
        self._heard = Heard()
        self._read_to = ""
        self._sequence = 0
        self._untold = b""
        self._answered_at = monotonic()

    async def exchange(self, own: Callable[[], Sequence[Served]]) -> list[Served]:
        """Tell what was served here, and hear what others served.

        Args:
            own: what was served since it was last called. It is not called while an earlier message
                waits for its answer.

        Raises:
            StorageError: nobody answered; the same is told again by the next call, or forgotten when
                that has lasted too long.
        """
        if self._untold and self._monotonic() - self._answered_at > _LATEST_S:
            self._untold = b""
            own()
        if not self._untold:
            message = own()
            if message:
                self._sequence += 1
                self._untold = self._encode(message)
        reply = await self._server.run(
            self._script,
            (self._key,),
            (self._replica, self._sequence, self._untold, self._read_to, int(_KEPT_S * 1000)),
        )
        self._untold = b""
        self._answered_at = self._monotonic()
        return self._read(reply)

    def _read(self, reply: Any) -> list[Served]:
        try:
            last, entries = reply
            before, self._read_to = self._read_to, entries[-1][0].decode() if entries else last.decode()
            if _order(self._read_to) < _order(before):
                # The server has lost the stream, and its clock was set back: go on from there.
                self._heard = Heard()
            found: list[Served] = []
            for _, replica, sequence, payload in entries:
                if replica.decode() != self._replica and self._heard.is_new(replica.decode(), int(sequence)):
                    found.extend(self._decode(payload))
        except (ValueError, TypeError, IndexError, AttributeError, msgspec.DecodeError) as error:
            raise StorageError(f"store {self._server.name}: no message of a gateway ({error})") from error
        return [one for one in found if _sane(one)]


def _order(entry_id: str) -> tuple[int, int]:
    """Ids of a stream, as they follow each other."""
    first, _, second = (entry_id or _START).partition("-")
    return int(first), int(second)


def _sane(one: Served) -> bool:
    """Other versions of this program may tell, too."""
    return (
        0 < len(one.names) == len(one.weights)
        and all(weight > 0.0 for weight in one.weights)
        and one.band in (Band.INTERACTIVE, Band.BATCH)
    )

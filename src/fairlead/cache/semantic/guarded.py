"""An embedder that harms nobody: bounded in time and in number, and left alone for a while after a failure.

Whatever goes wrong is counted and is no vector: the request then goes to the
model as if there were no semantic tier.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from fairlead.cache.semantic.embed import Embedder, Vector, WrongVectors
from fairlead.cache.trouble import Trouble
from fairlead.errors import FairleadError

STORE: Final = "embedder"
"""What its troubles are counted under."""
_LONGEST_S: Final = 10.0
_MOST: Final = 32
_FIRST_REST_S: Final = 1.0
_LONGEST_REST_S: Final = 30.0


class Guarded:
    """One route's embedder."""

    def __init__(
        self,
        embedder: Embedder,
        trouble: Trouble,
        *,
        clock: Callable[[], float],
        longest_s: float = _LONGEST_S,
        most: int = _MOST,
    ) -> None:
        """Guard `embedder`.

        Args:
            embedder: who makes the vectors.
            trouble: told of what fails.
            clock: seconds, of any beginning.
            longest_s: longest time for one vector, whoever waits for it.
            most: vectors under way at the same time.
        """
        self.id = embedder.id
        self.understands = embedder.understands
        self._embedder = embedder
        self._trouble = trouble
        self._clock = clock
        self._longest_s = longest_s
        self._most = most
        self._under_way = 0
        self._rests_until = -math.inf
        self._rest_s = _FIRST_REST_S

    @property
    def rests(self) -> bool:
        """It failed a moment ago and is not asked."""
        return self._clock() < self._rests_until

    async def vector(self, text: str) -> Vector | None:
        """The vector of a text; None when there is none. Raises nothing but CancelledError."""
        if self.rests:
            return None
        if self._under_way >= self._most:
            self._trouble.met(STORE, "busy")
            return None
        self._under_way += 1
        try:
            async with asyncio.timeout(self._longest_s):
                (vector,) = await self._embedder.embed([text])
        except TimeoutError:
            self.failed("slow")
        except WrongVectors as error:
            self.failed("wrong", str(error))
        except FairleadError as error:
            self.failed("get", error.message)
        except Exception as error:
            # A runtime on this machine has errors of its own kinds, and none of them is to fail a request.
            self.failed("get", str(error))
        else:
            self._rest_s = _FIRST_REST_S
            return vector
        finally:
            self._under_way -= 1
        return None

    def failed(self, what: str, message: str = "") -> None:
        """Count a failure, and rest: a second at first, and twice as long with each that follows."""
        if not self.rests:
            self._rests_until = self._clock() + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        self._trouble.met(STORE, what, FairleadError(message[:200]) if message else None)

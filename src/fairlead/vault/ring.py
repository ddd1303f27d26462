"""Work on the segments of one file ahead of whoever takes the results, in order and in bounded memory.

A slot is a set of buffers. There are as many segments under way as there are
slots, and a slot is used again when the taker has put it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

Slot = TypeVar("Slot")
Given = TypeVar("Given")


def in_order(
    positions: range, work: Callable[[int, Slot], None], free: deque[Slot], pool: Executor
) -> Iterator[Slot]:
    """Yield a slot for each position, in order, when `work` has filled it.

    The taker appends a slot to `free` when it needs its buffers no longer, at the
    latest when it holds all but one. However the iteration ends, no thread works
    on a slot afterwards.
    """
    waiting = deque(positions)
    under_way: deque[tuple[Slot, Future[None]]] = deque()
    try:
        while waiting or under_way:
            while waiting and free:
                slot = free.popleft()
                under_way.append((slot, pool.submit(work, waiting.popleft(), slot)))
            slot, done = under_way.popleft()
            try:
                done.result()
            except BaseException:
                wait([done])
                raise
            yield slot
    finally:
        left = [done for _, done in under_way]
        for done in left:
            done.cancel()
        wait(left)


class Inline(Executor):
    """Does the work at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Given], /, *args: object, **kwargs: object) -> Future[Given]:
        """Call the function; the future is done when this returns."""
        future: Future[Given] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # carried to whoever asks for the result
            future.set_exception(error)
        return future

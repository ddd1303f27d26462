"""Drives one coroutine per request without a Task.

A Task costs a loop iteration before its first step and another after every
wait. A `Run` takes its first step in the caller's stack and is resumed in the
stack of whatever fires the `Signal` it waits for, so a request that finds a
pooled connection makes no trip through the event loop at all.

Rules: a Run awaits Signals and asyncio futures (so also tasks) and nothing
else; `asyncio.timeout`, `asyncio.TaskGroup` and other helpers that need a
current task work only inside a task, which a Run may start and await. A
Signal works in a task as well.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any

_Wakeup = Callable[..., object]


class Signal:
    """A reusable, single-waiter event that resumes its waiter synchronously.

    `await signal` waits for the next `fire()`. Firing without a waiter is
    remembered until the next wait, once.

    To a task it looks like a future (the duck-typed protocol that asyncio's
    tasks accept), because asking which of the two awaits costs more than the
    wait itself.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_fired", "_waiter")

    def __init__(self) -> None:
        self._waiter: Run | tuple[_Wakeup, contextvars.Context | None] | None = None
        self._fired = False
        self._cancelled = False
        self._asyncio_future_blocking = False

    def fire(self) -> None:
        """Wake the waiter: a Run's code goes on before this returns, a task in the next iteration."""
        waiter = self._waiter
        if waiter is None:
            self._fired = True
            return
        self._waiter = None
        if type(waiter) is Run:
            waiter._step(None)
        else:
            self._wake_task(waiter)  # type: ignore[arg-type]  # not a Run, by the line above

    def clear(self) -> None:
        """Forget a fire that nobody waited for."""
        self._fired = False

    def __await__(self) -> Generator[Any, None, None]:
        if self._fired:
            self._fired = False
            return
        assert self._waiter is None, "a Signal has one waiter"
        self._asyncio_future_blocking = True
        try:
            yield self
        finally:
            self._waiter = None

    # --- what a task asks of a future -----------------------------------------------------------

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; a Signal belongs to whichever fires it."""
        return asyncio.get_running_loop()

    def add_done_callback(self, wakeup: _Wakeup, *, context: contextvars.Context | None = None) -> None:
        """Remember how to wake the task."""
        self._waiter = (wakeup, context)

    def result(self) -> None:
        """Nothing, or CancelledError when the task was cancelled while it waited."""
        if self._cancelled:
            self._cancelled = False
            raise asyncio.CancelledError

    def cancel(self, msg: object = None) -> bool:
        """Wake the waiting task with CancelledError."""
        waiter = self._waiter
        if not isinstance(waiter, tuple):
            return False
        self._waiter = None
        self._cancelled = True
        self._wake_task(waiter)
        return True

    def _wake_task(self, waiter: tuple[_Wakeup, contextvars.Context | None]) -> None:
        wakeup, context = waiter
        asyncio.get_running_loop().call_soon(wakeup, self, context=context)


class Run:
    """One coroutine under way.

    `on_done(run, error)` is called once, when the coroutine has ended; `error`
    is None, a CancelledError or whatever the coroutine raised.
    """

    __slots__ = ("_cancelled", "_coro", "_future", "_on_done", "_running", "_signal")

    def __init__(
        self,
        coro: Coroutine[Any, Any, None],
        on_done: Callable[[Run, BaseException | None], None],
    ) -> None:
        self._coro = coro
        self._on_done = on_done
        self._signal: Signal | None = None
        self._future: asyncio.Future[Any] | None = None
        self._running = False
        self._cancelled = False

    def start(self) -> None:
        """Run the coroutine up to its first real wait, in this stack."""
        self._step(None)

    def cancel(self) -> None:
        """Raise CancelledError where the coroutine waits.

        When called from inside the coroutine's own stack (a write that finds
        the client gone) the error is raised at its next wait.
        """
        if self._running:
            self._cancelled = True
        elif self._future is not None:
            # As asyncio.Task does: cancel what is awaited, and learn of it by its callback. When that
            # is done already its result is still delivered, and the error raised at the next wait.
            self._cancelled = not self._future.cancel()
        else:
            signal, self._signal = self._signal, None
            if signal is not None:
                signal._waiter = None
                self._step(asyncio.CancelledError())

    def _woken(self, future: asyncio.Future[Any]) -> None:
        self._future = None
        if future.cancelled():
            self._step(asyncio.CancelledError())
        else:
            # The future's own __await__ returns its result or raises its error.
            self._step(None)

    def _step(self, error: BaseException | None) -> None:
        self._signal = None
        self._running = True
        try:
            waited = self._coro.send(None) if error is None else self._coro.throw(error)
        except StopIteration:
            self._running = False
            self._on_done(self, None)
            return
        except BaseException as raised:
            self._running = False
            self._on_done(self, raised)
            if isinstance(raised, (KeyboardInterrupt, SystemExit)):
                raise
            return
        self._running = False
        if type(waited) is Signal:
            waited._waiter = self
            self._signal = waited
        elif waited is None:
            # A bare yield (asyncio.sleep(0)): go on in the next loop iteration.
            future = asyncio.get_running_loop().create_future()
            self._future = future
            future.add_done_callback(self._woken)
            future.set_result(None)
        else:
            waited._asyncio_future_blocking = False
            self._future = waited
            waited.add_done_callback(self._woken)
        if self._cancelled:
            self._cancelled = False
            self.cancel()

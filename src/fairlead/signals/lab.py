"""The process that computes, as the gateway sees it.

Measuring a text holds Python's lock for milliseconds, a comparison for
seconds, and a client's schema may be made to take for ever. So all of it
happens in a process of its own, which has no secrets in its environment and is
ended when it does not answer in time; the next question starts another.

Questions and answers are MessagePack behind four bytes of length, one at a
time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_log: Final = logging.getLogger(__name__)

HEAD: Final = struct.Struct(">I")
MAX_BYTES: Final = 64 * 1024 * 1024
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR")
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 300.0


class LabFailed(RuntimeError):
    """The process that computes semantic metrics gave no answer."""


class Lab:
    """One process, started at the first question."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            command: what to run.
            environ: the environment; little of it is passed on.
            clock: monotonic seconds.
        """
        self._command = tuple(command)
        self._environ = {name: environ[name] for name in _PASSED_ON if name in environ} | _ONE_THREAD
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self.failed = 0
        """Questions without an answer."""

    async def ask(self, question: bytes, timeout_s: float) -> bytes:
        """The answer to a question.

        Raises:
            LabFailed: there is none: the process ended, took too long, or does not start.
        """
        async with self._lock:
            if self._clock() < self._not_before:
                raise LabFailed(
                    "the process that computes semantic metrics has failed; it is started again later"
                )
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._exchange(question)
            except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError) as error:
                await self._give_up(error)
                raise LabFailed(str(error)) from error
            except asyncio.CancelledError:
                # Half an exchange may be in the pipes.
                await self._end()
                raise
            self._failures = 0
            return answer

    async def close(self) -> None:
        """End the process."""
        async with self._lock:
            await self._end()

    async def _exchange(self, question: bytes) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environ,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HEAD.pack(len(question)))
        process.stdin.write(question)
        await process.stdin.drain()
        (size,) = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
        if size > MAX_BYTES:
            raise EOFError("an answer that is too long")
        return await process.stdout.readexactly(size)

    async def _give_up(self, error: BaseException) -> None:
        await self._end()
        self.failed += 1
        self._failures += 1
        # One question that cannot be answered must not stop the others: only what fails again waits.
        if self._failures > 1:
            pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(self._failures - 2, 16), _LONGEST_PAUSE_S)
            self._not_before = self._clock() + pause_s
        _log.warning(
            "the process that computes semantic metrics gave no answer",
            extra={"error": f"{type(error).__name__}: {error}", "failures": self._failures},
        )

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.kill(process.pid, 9)
        except ProcessLookupError:
            pass
        await process.wait()
        # The pipes' ends, so that nothing is left to the garbage collector.
        if process.stdin is not None:
            process.stdin.close()

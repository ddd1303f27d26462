"""Processes pinned to cores, and what the kernel says they cost. Linux only.

Each is started in a session of its own, so that CPU time and memory of its
children count as its own and all of them end together.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec

GATEWAY_CPU: Final = 0
LOAD_CPU: Final = 1
BOTH: Final = frozenset((GATEWAY_CPU, LOAD_CPU))

_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_FILES: Final = 16_384
_STOP_S: Final = 10.0


class Pinned:
    """A running process on given cores, as a context manager."""

    def __init__(
        self,
        command: Sequence[str],
        cpus: frozenset[int],
        *,
        environ: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        log: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            command: program and arguments.
            cpus: where it and its children may run.
            environ: added to a minimal environment; nothing else of ours is passed on.
            stdin: as for `subprocess`.
            stdout: as for `subprocess`.
            log: where its standard error goes.
        """
        with open(log or os.devnull, "wb") as errors:
            self.process = subprocess.Popen(
                command,
                bufsize=0,  # `line` looks at the descriptor before it reads
                stdin=stdin,
                stdout=stdout,
                stderr=errors,
                env={**minimal_environ(), **(environ or {})},
                start_new_session=True,
                preexec_fn=lambda: _settle_in(cpus),
            )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def line(self, patience_s: float) -> str:
        """Read one line of its standard output; empty at its end, or when none comes in time."""
        output = self.process.stdout
        assert output is not None
        if not select.select([output], [], [], patience_s)[0]:
            return ""
        return output.readline().decode()

    def move(self, cpus: frozenset[int]) -> None:
        """Let a process without threads run elsewhere."""
        os.sched_setaffinity(self.pid, cpus)

    def cpu_s(self) -> float:
        """User and system time so far, children included."""
        return sum(sum(map(int, fields[11:15])) for fields in self._members()) * _TICK_S

    def rss_mb(self) -> float:
        """Resident memory, children included (pages that they share count for each)."""
        return sum(int(fields[21]) for fields in self._members()) * _PAGE_BYTES / 1e6

    def stop(self) -> None:
        """End the whole session: politely, then not."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                pass
        self._signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def _members(self) -> Iterator[list[str]]:
        """The fields of /proc/PID/stat after the name, of each process of the session."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == self.pid:
                yield fields


class MachineTime(msgspec.Struct, frozen=True):
    """CPU time of the two cores since boot, in seconds."""

    busy_s: float
    stolen_s: float


def machine_time() -> MachineTime:
    """How long the two cores have worked, for whomever."""
    busy = stolen = 0
    names = {f"cpu{number}" for number in BOTH}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return MachineTime(busy * _TICK_S, stolen * _TICK_S)


def waited_children_s() -> float:
    """CPU time of our children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def minimal_environ() -> dict[str, str]:
    """What every program needs. Ours may hold proxies, credentials and Python's switches."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def _settle_in(cpus: frozenset[int]) -> None:
    """Runs in the child, before the program: its cores and its limit of open files."""
    os.sched_setaffinity(0, cpus)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))

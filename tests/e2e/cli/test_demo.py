"""`fairlead demo` from start to Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self


def descendants(directory: Path) -> list[int]:
    """Processes whose command line names a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes()
        except OSError:
            continue  # it ended while we looked
        if str(directory).encode() in line:
            found.append(int(entry.parent.name))
    return found


def children_of(pid: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rpartition(") ")[2]
        except OSError:
            continue
        if int(after_name.split()[1]) == pid:
            found.append(int(entry.parent.name))
    return found


class Demo:
    """A demo in a temporary directory of its own, up to its first table."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        command = [sys.executable, "-m", "fairlead", "demo", "--clients", "4"]
        environ = {**os.environ, "TMPDIR": str(directory)}
        self.process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.seen = ""

    def tables(self, count: int) -> None:
        assert self.process.stdout is not None
        while self.seen.count("breaker ") < count or not self.seen.endswith("\n\n"):
            line = self.process.stdout.readline()
            assert line, self.seen
            self.seen += line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)


def test_it_serves_traffic_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Demo(tmp_path) as demo:
        demo.tables(2)
        assert descendants(tmp_path)
        assert re.search(r"requests [1-9]\d*\s+success 100\.0 %", demo.seen)
        assert len(re.findall(r"(?:fast|medium|slow)/demo +closed", demo.seen)) == 6
        demo.process.send_signal(signal.SIGINT)
        out, err = demo.process.communicate(timeout=30)
        assert demo.process.returncode == 0
        assert err == ""
        assert re.search(r"[1-9]\d* requests, 100\.0 % went well", out)
        assert list(tmp_path.iterdir()) == []
        assert descendants(tmp_path) == []


def test_it_ends_with_an_error_when_its_gateway_does(tmp_path: Path) -> None:
    with Demo(tmp_path) as demo:
        demo.tables(1)
        (gateway,) = descendants(tmp_path)
        os.kill(gateway, signal.SIGKILL)
        _, err = demo.process.communicate(timeout=30)
        assert demo.process.returncode == 1
        assert err.startswith("fairlead: error: ")
        assert list(tmp_path.iterdir()) == []


def test_killed_outright_it_takes_its_processes_with_it(tmp_path: Path) -> None:
    with Demo(tmp_path) as demo:
        demo.tables(1)
        (gateway,) = descendants(tmp_path)
        engines = [pid for pid in children_of(demo.process.pid) if pid != gateway]
        assert len(engines) == 3
        demo.process.kill()
        demo.process.wait(10)
        deadline = time.monotonic() + 15
        while any(Path(f"/proc/{pid}/cmdline").exists() for pid in (gateway, *engines)):
            assert time.monotonic() < deadline, "its processes outlived it"
            time.sleep(0.05)

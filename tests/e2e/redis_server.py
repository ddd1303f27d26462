"""A real Redis server of a test: its own process on a free port of 127.0.0.1, with a directory of its own."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

REDIS_SERVER = shutil.which("redis-server") or shutil.which("valkey-server")


class RedisProcess:
    """One server, which can be paused, killed and started again on the same port and files."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        assert REDIS_SERVER, "these tests need redis-server (Debian: apt-get install redis-server)"
        self._process = subprocess.Popen(
            [
                REDIS_SERVER,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)),
                *("--save", "", "--daemonize", "no", "--logfile", str(self._directory / "log")),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                if self.command("PING").startswith((b"+PONG", b"-NOAUTH")):
                    return
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def command(self, *words: str, timeout_s: float = 5.0) -> bytes:
        """The first part of the raw answer to a command, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
            connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
            return connection.recv(65536)

    def pause(self) -> None:
        """Stop it where it is: connections are accepted by the kernel, and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without warning."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def close(self) -> None:
        """End it, if it is there."""
        if self._process is not None:
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


@contextlib.contextmanager
def start_redis(*options: str) -> Iterator[RedisProcess]:
    """A server that keeps nothing over a restart, unless the options say otherwise."""
    with tempfile.TemporaryDirectory(prefix="fairlead-redis-") as directory:
        server = RedisProcess(Path(directory), *options)
        server.start()
        try:
            yield server
        finally:
            server.close()


def free_port() -> int:
    """A port that stays free while its server is away: not one of those that connections are given."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(max(2000, lowest // 2), lowest)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

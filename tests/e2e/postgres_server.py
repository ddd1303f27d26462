"""A Postgres server as a process, for tests that need a real one.

    with start_postgres() as server:
        ...  # server.url, server.database("name"), server.stop(), server.start(), server.crash()

It listens on a free port of 127.0.0.1 and keeps its data in a directory that
goes with it. Postgres refuses to run as root: where the tests do, the server
runs as the user `postgres` or `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.redis_server import free_port

PASSWORD = "s3cret/with:odd@signs"
_QUOTED = "s3cret%2Fwith%3Aodd%40signs"
_USERS = ("postgres", "nobody")


def binaries() -> Path | None:
    """The directory of the newest server that is installed; None when there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


class PostgresProcess:
    """One server, stopped and started as often as a test likes; what it holds stays."""

    def __init__(self, directory: Path) -> None:
        found = binaries()
        assert found is not None, "these tests need Postgres (Debian: apt-get install postgresql)"
        self._bin = found
        self._data = directory / "data"
        self._log = directory / "log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged()
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        password = directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            "initdb", "--pgdata", str(self._data), "--username", "fairlead", "--pwfile", str(password),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip

    @property
    def url(self) -> str:
        """Of the database `postgres`, with its password."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Of a database of this server."""
        return f"postgresql://fairlead:{_QUOTED}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        self.psql(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def psql(self, sql: str, *, database: str = "postgres") -> str:
        """Run SQL as the superuser; the rows as text."""
        return self._run(
            "psql", "--no-psqlrc", "-tA", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port),
            "-U", "fairlead", "-d", database, "-c", sql,
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port),
                    "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                    "-c", "fsync=off", "-c", "max_connections=50", "-c", "shared_buffers=32MB",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                user=self._user, group=self._user and pwd.getpwnam(self._user).pw_gid,
                extra_groups=[] if self._user is not None else None, cwd="/", start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.psql("SELECT 1")
                return
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it in good order, without waiting for its clients."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop it at once; it recovers from its log when it starts again."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """End it, if it is there."""
        if self._process is not None:
            self.crash()

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [str(self._bin / program), *words],
            check=True, capture_output=True, text=True, timeout=60, cwd="/",
            env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C"},
            user=self._user, group=self._user and pwd.getpwnam(self._user).pw_gid,
            extra_groups=[] if self._user is not None else None,
        )  # fmt: skip
        return done.stdout.strip()


@contextlib.contextmanager
def start_postgres() -> Iterator[PostgresProcess]:
    """A running server; what it holds goes with it."""
    with tempfile.TemporaryDirectory(prefix="fairlead-postgres-") as directory:
        server = PostgresProcess(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.close()


def _unprivileged() -> str | None:
    """The user to run as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _USERS if name in names)

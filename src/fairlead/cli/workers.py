"""The parent of several workers: starts them, restarts one that dies, passes signals on."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

from fairlead import config as cfg
from fairlead.cli.banner import banner
from fairlead.cli.settings import find, secret_value
from fairlead.errors import StorageError
from fairlead.gateway.db import ensure_first_key
from fairlead.storage.connect import open_configured

_log: Final = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0
"""A worker that lived this long is restarted without a pause."""


def supervise(args: argparse.Namespace, config: cfg.Config, state: Path) -> int:
    """Keep the workers alive until told to stop. Returns 0 after a clean stop."""
    return asyncio.run(_Supervisor(args, config, state).run())


class _Supervisor:
    def __init__(self, args: argparse.Namespace, config: cfg.Config, state: Path) -> None:
        self._args = args
        self._config = config
        self._state = state
        self._generation = secrets.token_hex(8)
        self._stopping = asyncio.Event()
        self._alive: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for ending in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(ending, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)
        # One process brings the schema up to date and makes the first key; the workers find both.
        database = await open_configured(self._config.storage, str(self._state), secret_value)
        secret = await ensure_first_key(database, now=time.time())
        await database.close()
        held, port = reserve_port(self._config.server)
        life_read, life_write = os.pipe()
        try:
            async with asyncio.TaskGroup() as group:
                ready = [asyncio.Event() for _ in range(self._config.server.workers)]
                for number, event in enumerate(ready):
                    group.create_task(self._keep(number, port, life_read, event))
                group.create_task(self._announce(ready, port, secret))
        finally:
            held.close()
            os.close(life_read)
            os.close(life_write)
        return 0

    async def _announce(self, ready: list[asyncio.Event], port: int, secret: str | None) -> None:
        for event in ready:
            await event.wait()
        if not self._stopping.is_set():
            print(banner(self._config, port, secret), flush=True)

    async def _keep(self, number: int, port: int, life_read: int, ready: asyncio.Event) -> None:
        """One worker's place: start it, and start it again when it dies."""
        pause_s = 0.0
        while not self._stopping.is_set():
            started = time.monotonic()
            process = await self._start(number, port, life_read, ready)
            status = await process.wait()
            self._alive.pop(number, None)
            if self._stopping.is_set():
                break
            _log.error("worker %d ended with status %d and is started again", number, status)
            steady = time.monotonic() - started > _STEADY_S
            pause_s = 0.0 if steady else min(max(pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause_s or 0.01)
            except TimeoutError:
                pass
        ready.set()

    async def _start(
        self, number: int, port: int, life_read: int, ready: asyncio.Event
    ) -> asyncio.subprocess.Process:
        ready_read, ready_write = os.pipe()
        name = f"{number}/{self._config.server.workers}/{self._generation}"
        command = worker_command(self._args, name, ready_write, life_read, port)
        process = await asyncio.create_subprocess_exec(*command, pass_fds=(ready_write, life_read))
        os.close(ready_write)
        self._alive[number] = process
        if self._stopping.is_set():
            process.send_signal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def heard() -> None:
            loop.remove_reader(ready_read)
            if os.read(ready_read, 1):
                ready.set()
            os.close(ready_read)

        loop.add_reader(ready_read, heard)
        return process

    def _stop(self) -> None:
        self._stopping.set()
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: signal.Signals) -> None:
        for process in self._alive.values():
            if process.returncode is None:
                process.send_signal(number)


def worker_command(
    args: argparse.Namespace, worker: str, ready_fd: int, parent_fd: int, port: int
) -> list[str]:
    """The command line of one worker process."""
    command = [sys.executable, "-m", "fairlead", "serve", "--worker", worker, "--workers", "1"]
    command += ["--ready-fd", str(ready_fd), "--parent-fd", str(parent_fd), "--port", str(port)]
    path = find(args)
    if path is not None:
        command += ["--config", str(Path(path).absolute())]
    for option in ("state", "host"):
        value = getattr(args, option)
        if value is not None:
            command += [f"--{option}", value]
    return command


def reserve_port(server: cfg.Server) -> tuple[socket.socket, int]:
    """Hold the port for the workers: bound with SO_REUSEPORT, never listening.

    Raises:
        StorageError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((server.host, server.port))
    except OSError as error:
        sock.close()
        raise StorageError(
            f"cannot listen on {server.host}:{server.port}: {error.strerror}",
            hint="choose another with --port, or stop what uses it",
        ) from error
    return sock, sock.getsockname()[1]

"""`fairlead serve`: run the gateway until it is told to stop.

SIGTERM and SIGINT drain: no new connections, requests under way finish.
SIGHUP reads the configuration again; a bad file leaves the running one in
place and says why. With `--workers N` a parent keeps N processes alive that
share the port; it does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from fairlead import config as cfg
from fairlead.cli.banner import banner
from fairlead.cli.settings import add_config_options, load, state_dir
from fairlead.config.tenant_rules import needs_shared_store
from fairlead.errors import ConfigError, FairleadError, StorageError, UsageError

_log: Final = logging.getLogger(__name__)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway. Without a configuration file it serves what it finds: provider keys "
        "in the environment, engines on their usual local ports, and a simulated model.",
    )
    add_config_options(parser)
    parser.add_argument("--host", help="address to listen on, over `server.host`")
    parser.add_argument("--port", type=int, help="port to listen on, over `server.port`; 0 chooses one")
    parser.add_argument("--workers", type=int, metavar="N", help="processes, over `server.workers`")
    # How a parent tells its workers apart: NUMBER/COUNT/GENERATION and two inherited descriptors.
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parent-fd", type=int, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped. Returns 0 after a clean stop."""
    from fairlead.telemetry.logs import configure

    config = _settings(args)
    configure(config.logs.level, sys.stderr)
    if args.worker is None and config.server.workers > 1:
        from fairlead.cli.workers import supervise

        return supervise(args, config, state_dir(config))
    return _run_loop(_serve(args, config))


def _settings(args: argparse.Namespace) -> cfg.Config:
    """The configuration with the command line's overrides."""
    config = load(args)
    server = config.server
    if args.port is not None and not 0 <= args.port <= 65535:
        raise UsageError(f"--port: {args.port} is not a port number")
    if args.workers is not None and not 1 <= args.workers <= 256:
        raise UsageError(f"--workers: expected 1 to 256, got {args.workers}")
    server = msgspec.structs.replace(
        server,
        host=args.host if args.host is not None else server.host,
        port=args.port if args.port is not None else server.port,
        workers=args.workers if args.workers is not None else server.workers,
    )
    # A worker is told of one process, and of all of them by its parent.
    workers = server.workers if args.worker is None else int(args.worker.split("/")[1])
    if fault := needs_shared_store(config, workers):
        raise ConfigError(fault.message, hint=fault.hint, param="server.workers")
    return msgspec.structs.replace(config, server=server)


def _run_loop(main: Coroutine[Any, Any, int]) -> int:
    import uvloop  # half of asyncio's memory under TLS; not needed by other commands

    return uvloop.run(main)


async def _serve(args: argparse.Namespace, config: cfg.Config) -> int:
    from fairlead.app import Gateway, Worker
    from fairlead.gateway.db import ensure_first_key

    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    reloading = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reloading.set)
    worker = Worker(generation=secrets.token_hex(8))
    if args.worker is not None:
        number, count, generation = args.worker.split("/")
        worker = Worker(number=int(number), count=int(count), generation=generation)
    if args.parent_fd is not None:
        # The parent holds the other end; its death must not leave workers behind.
        loop.add_reader(args.parent_fd, stopping.set)
    gateway = Gateway(config, state_dir(config), os.environ, worker)
    try:
        await gateway.start(reuse_port=worker.count > 1)
    except OSError as error:
        address = f"{config.server.host}:{config.server.port}"
        raise StorageError(
            f"cannot listen on {address}: {error.strerror or error}",
            hint="choose another with --port, or stop what uses it",
        ) from error
    if args.ready_fd is not None:
        os.write(args.ready_fd, b"1")
        os.close(args.ready_fd)
    else:
        secret = await ensure_first_key(gateway.database, now=time.time())
        if secret is not None:
            await gateway.keys.poll()
        print(banner(config, gateway.server.port, secret), flush=True)
    await _until(stopping, reloading, gateway, args)
    await gateway.drain()
    await gateway.stop()
    return 0


async def _until(stopping: asyncio.Event, reloading: asyncio.Event, gateway: Any, args: Any) -> None:
    """Wait for the end, reloading whenever asked."""
    stop = asyncio.create_task(stopping.wait())
    while not stop.done():
        again = asyncio.create_task(reloading.wait())
        await asyncio.wait({stop, again}, return_when=asyncio.FIRST_COMPLETED)
        if again.done() and not stop.done():
            reloading.clear()
            await _reload(gateway, args)
        again.cancel()


async def _reload(gateway: Any, args: argparse.Namespace) -> None:
    try:
        # Reading files and probing engines blocks; requests go on meanwhile.
        config = await asyncio.to_thread(_settings, args)
        restart = await gateway.reload(config)
    except FairleadError as error:
        _log.error("the configuration was not reloaded; the running one stays: %s", error.message)
        return
    _log.info("the configuration was reloaded")
    if restart:
        _log.warning("changes that need a restart: %s", ", ".join(restart))

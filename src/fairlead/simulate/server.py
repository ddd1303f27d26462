"""A running simulated engine: the surface on a port, and the port's own faults.

`refuse` is not an answer but the lack of a listener, so it lives here: while
such a fault is active the server is gone, open connections included, as after
a crash. A control port, when there is one, stays.
"""

from __future__ import annotations

import asyncio
import socket

from fairlead.config import Server as ServerConfig
from fairlead.net.server import Server
from fairlead.simulate.engine import Engine
from fairlead.simulate.faults import FaultBook
from fairlead.simulate.files_api import FileStore
from fairlead.simulate.service import EngineConfig, Service, friendly_config
from fairlead.simulate.surface import Surface

__all__ = ["EngineConfig", "RunningEngine", "friendly_config", "start_engine"]

_DOOR_INTERVAL_S = 0.02


class RunningEngine:
    """An engine that serves; made by `start_engine`, ended by `stop`."""

    def __init__(self, config: EngineConfig, host: str, *, has_control_port: bool) -> None:
        self._host = host
        self._nudge = asyncio.Event()
        self._service = Service(config, asyncio.get_running_loop(), self._nudge.set)
        self._files = FileStore(self._service)
        self._surface = Surface(self._service, self._files, has_control_port=has_control_port)
        self._server: Server | None = None
        self._control: Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self.port = 0
        self.control_port: int | None = None

    @property
    def engine(self) -> Engine:
        return self._service.engine

    @property
    def faults(self) -> FaultBook:
        """The faults that are set; times are the running loop's."""
        return self._service.faults

    @property
    def host(self) -> str:
        return self._host

    async def start(self, port: int, control_port: int | None, sock: socket.socket | None) -> None:
        self._server = Server(self._surface, ServerConfig())
        await self._server.start(self._host, port, sock=sock)
        self.port = self._server.port
        if control_port is not None:
            self._control = Server(self._surface, ServerConfig())
            await self._control.start("127.0.0.1", control_port)
            self.control_port = self._control.port
        self._watch = asyncio.get_running_loop().create_task(self._watch_the_door())

    async def stop(self, timeout_s: float = 0.0) -> None:
        """End it: requests under way get `timeout_s` to finish, then they are cut."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        for server in (self._server, self._control):
            if server is not None:
                await server.drain(timeout_s)
        self._server = self._control = None
        await self._files.close()
        self._service.pump.stop()

    async def _watch_the_door(self) -> None:
        """Close and open the listening socket as `refuse` faults come and go."""
        loop = asyncio.get_running_loop()
        while True:
            refusing = self.faults.refusing(loop.time())
            if refusing and self._server is not None:
                server, self._server = self._server, None
                await server.drain(0)
            elif not refusing and self._server is None:
                server = Server(self._surface, ServerConfig())
                await server.start(self._host, self.port)
                self._server = server
            if self.faults.may_refuse:
                await asyncio.sleep(_DOOR_INTERVAL_S)
            else:
                self._nudge.clear()
                await self._nudge.wait()


async def start_engine(
    config: EngineConfig,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    control_port: int | None = None,
    sock: socket.socket | None = None,
) -> RunningEngine:
    """Start an engine in this event loop.

    Args:
        config: what it serves and how fast.
        host: the address to listen on.
        port: the port; 0 lets the system choose, `RunningEngine.port` tells.
        control_port: a second port on 127.0.0.1 that faults never close.
        sock: a bound socket to listen on instead of `host` and `port`.

    Raises:
        OSError: the address cannot be listened on.
    """
    running = RunningEngine(config, host, has_control_port=control_port is not None)
    try:
        await running.start(port, control_port, sock)
    except BaseException:
        await running.stop()
        raise
    return running

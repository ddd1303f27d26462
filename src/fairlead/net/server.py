"""The HTTP/1.1 server: listens, sweeps deadlines, drains.

It serves one `Application` (`intake`, `handle`, `refuse`) and knows nothing of
what that does. One ticker per server, every 100 ms, stands in for a timer per
request: it refreshes the clock and the `date` field, writes signs of life, and
expires connections. What goes on within a connection is in `net.connection`;
TLS contexts come from `net.server_tls`.
"""

from __future__ import annotations

import asyncio
import socket
from ssl import SSLContext
from typing import Any, Final

from fairlead import config as configuration
from fairlead.net.call import Application, Call, Intake
from fairlead.net.connection import Connection
from fairlead.net.framing import header
from fairlead.net.head import CHUNKED, Head
from fairlead.net.hub import Clock, Hub, LoopClock

__all__ = ["CHUNKED", "Application", "Call", "Clock", "Head", "Intake", "Server", "header"]

_TICK_S: Final = 0.1
_BACKLOG: Final = 2048
_LAST_WORDS_S: Final = 1.0
"""How long calls that were cut get to finish what they do when cancelled."""


class Server:
    """Listens on one address and serves one application."""

    def __init__(
        self,
        app: Application,
        config: configuration.Server,
        *,
        ssl: SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepare a server.

        Args:
            app: what to serve.
            config: limits and time-outs.
            ssl: serve HTTPS with this context.
            clock: the running event loop's when left out.
        """
        self._app = app
        self._ssl = ssl
        self._clock = clock or LoopClock()
        self._hub = Hub(config, self._clock)
        self._listener: asyncio.Server | None = None
        self._ticker: Any = None
        self._waiting: asyncio.Event | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port listened on; 0 before `start`."""
        return self._port

    @property
    def connections(self) -> int:
        """Open client connections."""
        return len(self._hub.connections)

    @property
    def active(self) -> int:
        """Calls under way."""
        return self._hub.outbox.active

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, for a transport that is not a socket."""
        return Connection(self._hub, self._app)

    async def start(
        self, host: str, port: int, *, reuse_port: bool = False, sock: socket.socket | None = None
    ) -> None:
        """Listen on `host` and `port`, or on a socket that is already bound.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        handshake_s = None if self._ssl is None else self._hub.config.header_timeout_s
        if sock is not None:
            self._listener = await loop.create_server(
                self.protocol, sock=sock, ssl=self._ssl, ssl_handshake_timeout=handshake_s, backlog=_BACKLOG
            )
        else:
            self._listener = await loop.create_server(
                self.protocol,
                host,
                port,
                ssl=self._ssl,
                ssl_handshake_timeout=handshake_s,
                backlog=_BACKLOG,
                reuse_port=reuse_port or None,
            )
        name = self._listener.sockets[0].getsockname()
        self._port = name[1] if isinstance(name, tuple) else 0
        self._tick_later()

    def tick(self) -> None:
        """Do what time demands; called every 100 ms once started."""
        hub = self._hub
        hub.refresh()
        now = hub.now
        for call in list(hub.beating):
            call.pulse(now)
        for connection in [each for each in hub.connections if each.deadline <= now]:
            connection.expire(now)
        if self._waiting is not None and self._is_empty():
            self._waiting.set()

    async def drain(self, timeout_s: float) -> None:
        """Stop serving: accept nothing more, let calls finish for `timeout_s`, then cut them.

        Answers from here on say `connection: close`; connections without a
        call close at once. Returns when every connection is gone.
        """
        hub = self._hub
        hub.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(hub.connections):
            connection.retire()
        await self._emptied(timeout_s)
        for connection in list(hub.connections):
            connection.cut()
        await self._emptied(_LAST_WORDS_S)
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    async def _emptied(self, timeout_s: float) -> None:
        """Wait until nothing is under way, for at most `timeout_s`."""
        if not self._is_empty():
            self._waiting = waiting = asyncio.Event()
            timer = self._clock.call_later(timeout_s, waiting.set)
            await waiting.wait()
            timer.cancel()

    def _is_empty(self) -> bool:
        return not self._hub.connections and not self._hub.outbox.active

    def _tick_later(self) -> None:
        self._ticker = self._clock.call_later(_TICK_S, self._tick_and_go_on)

    def _tick_and_go_on(self) -> None:
        self._tick_later()
        self.tick()

"""Opens one connection: name, TCP, proxy tunnel, TLS.

Addresses are tried as RFC 8305 prescribes: families take turns, and the next
attempt starts when the one before has failed or has taken 250 ms. uvloop's
`create_connection` has no such mode, so it is written here, on `sock_connect`.

Every failure is translated here. Time limits are the caller's: it cancels,
and cancelling closes every socket that was opened on the way.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest
from typing import Final

from fairlead.config import UpstreamTls
from fairlead.errors import UpstreamTlsFailed, UpstreamUnreachable
from fairlead.net.client_tls import TlsContexts, tls_reason
from fairlead.net.origin import Origin, address_label
from fairlead.net.proxy import connect_request, parse_proxy, tunnel_open
from fairlead.net.resolve import Address, Resolver

STAGGER_S: Final = 0.25
"""RFC 8305's "Connection Attempt Delay"."""

_DEFAULT_TLS: Final = UpstreamTls()

# A dead peer behind a NAT or a firewall is noticed within two and a half minutes, also while a
# model thinks and nothing is sent. macOS has no TCP_KEEPIDLE; its default interval stays.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 3))

Attempt = Callable[[Address], Awaitable[socket.socket]]


async def open_transport(
    origin: Origin, protocol: asyncio.Protocol, resolver: Resolver, contexts: TlsContexts
) -> None:
    """Connect `protocol` to the origin.

    Raises:
        UpstreamUnreachable: no address, nobody accepts, or the proxy refuses.
        UpstreamTlsFailed: the handshake failed or the certificate was not accepted.
    """
    context = await contexts.get(origin.tls or _DEFAULT_TLS) if origin.scheme == "https" else None
    if origin.proxy is None:
        sock = await _tcp(resolver, origin.host, origin.port)
    else:
        sock = await _through_proxy(resolver, origin)
    try:
        await _hand_over(origin, protocol, sock, context)
    except ssl.SSLCertVerificationError as error:
        raise UpstreamTlsFailed(
            f"{origin.label}: the certificate is not accepted: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        raise UpstreamTlsFailed(f"{origin.label}: the TLS handshake failed: {tls_reason(error)}") from error
    except OSError as error:
        if context is None:
            raise UpstreamUnreachable(f"{origin.label}: {_reason(error)}") from error
        raise UpstreamTlsFailed(f"{origin.label}: the connection ended during the TLS handshake") from error


async def _hand_over(
    origin: Origin, protocol: asyncio.Protocol, sock: socket.socket, context: ssl.SSLContext | None
) -> None:
    """Make the socket a transport, which owns and closes it, also when this fails or is cancelled."""
    loop = asyncio.get_running_loop()
    try:
        if context is None:
            await loop.create_connection(lambda: protocol, sock=sock)
        else:
            await loop.create_connection(
                lambda: protocol,
                sock=sock,
                ssl=context,
                server_hostname=_server_name(origin),
                # The caller's limit is shorter; asyncio's own would be a minute.
                ssl_handshake_timeout=origin.connect_timeout_s + 1.0,
            )
    finally:
        if not isinstance(loop, asyncio.BaseEventLoop):
            # uvloop: libuv closes the descriptor by its number. When the peer resets the connection
            # at once, uvloop (0.23) forgets to tell the socket object, which would close whatever
            # connection has that number by the time it is collected.
            sock.detach()


def _server_name(origin: Origin) -> str:
    if origin.tls is not None and origin.tls.server_name is not None:
        return origin.tls.server_name
    return origin.host.rstrip(".")


async def _tcp(resolver: Resolver, host: str, port: int) -> socket.socket:
    addresses = await resolver.addresses(host, port)
    try:
        return await race(addresses, open_socket, STAGGER_S)
    except ConnectFailures as failures:
        resolver.suspect(host, port)
        raise UpstreamUnreachable(f"{address_label(host, port)}: {failures}") from failures


async def _through_proxy(resolver: Resolver, origin: Origin) -> socket.socket:
    """Connect to the origin's proxy; for `https`, ask it for a tunnel."""
    assert origin.proxy is not None
    proxy = parse_proxy(origin.proxy)
    try:
        sock = await _tcp(resolver, proxy.host, proxy.port)
    except UpstreamUnreachable as error:
        raise UpstreamUnreachable(f"{origin.label} through its proxy {error.message}") from error
    if origin.scheme != "https":
        return sock
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, connect_request(proxy, origin.host, origin.port))
        reply = b""
        while not tunnel_open(proxy, origin.label, reply):
            data = await loop.sock_recv(sock, 4096)
            if not data:
                raise UpstreamUnreachable(f"proxy {proxy.label} hung up when asked for {origin.label}")
            reply += data
    except OSError as error:
        sock.close()
        raise UpstreamUnreachable(f"proxy {proxy.label}: {_reason(error)}") from error
    except BaseException:
        sock.close()
        raise
    return sock


class ConnectFailures(Exception):
    """No address accepted; prints as the reasons, the first three at most."""

    def __init__(self, failures: Sequence[tuple[Address, OSError]]) -> None:
        said = [f"{_reason(error)} ({address.sockaddr[0]})" for address, error in failures[:3]]
        if len(failures) > 3:
            said.append(f"and {len(failures) - 3} more")
        super().__init__(", ".join(said))


def _reason(error: OSError) -> str:
    # uvloop and asyncio word the same failure differently; the number is the same.
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def open_socket(address: Address) -> socket.socket:
    """Open a TCP connection to one address."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        await asyncio.get_running_loop().sock_connect(sock, address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Let the families take turns, beginning with that of the best address (RFC 8305, section 4)."""
    first = [address for address in addresses if address.family == addresses[0].family]
    other = [address for address in addresses if address.family != addresses[0].family]
    return [address for pair in zip_longest(first, other) for address in pair if address is not None]


async def race(addresses: Sequence[Address], attempt: Attempt, stagger_s: float) -> socket.socket:
    """Return the first connection that comes about; the others are closed.

    Raises:
        ConnectFailures: every address failed.
    """
    waiting = interleave(addresses)[::-1]
    running: dict[asyncio.Task[socket.socket], Address] = {}
    failures: list[tuple[Address, OSError]] = []
    loop = asyncio.get_running_loop()
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop()
                running[loop.create_task(_as_coroutine(attempt, address))] = address
            done, _ = await asyncio.wait(
                running, timeout=stagger_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    del running[task]
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                failures.append((running.pop(task), error))
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)
    raise ConnectFailures(failures)


async def _as_coroutine(attempt: Attempt, address: Address) -> socket.socket:
    return await attempt(address)


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """Close the connection of an attempt that nobody waits for any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()

"""TLS contexts towards upstreams.

Certificates and host names are verified unless the configuration says
`verify: false`; TLS 1.2 is the least accepted. Sessions are not resumed: a
pooled connection pays one handshake in its life, and a resumed session would
skip the check of the certificate.
"""

from __future__ import annotations

import asyncio
import ssl

from fairlead.config import UpstreamTls
from fairlead.errors import UpstreamTlsFailed


def client_context(tls: UpstreamTls) -> ssl.SSLContext:
    """Build the context for one `tls` section. Reads files, and takes tens of milliseconds.

    Raises:
        UpstreamTlsFailed: a file is missing or is not what it should be.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=tls.ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UpstreamTlsFailed(f"cannot use the authorities in {tls.ca}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        try:
            # A password callback, or OpenSSL would ask for the key's pass phrase on the terminal.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise UpstreamTlsFailed(f"cannot use the client certificate {tls.cert}: {error}") from error
    return context


def tls_reason(error: ssl.SSLError) -> str:
    """OpenSSL's own word for what went wrong, as in `tlsv13 alert certificate required`."""
    # An instance made by Python code rather than by OpenSSL lacks the attribute.
    reason: str | None = getattr(error, "reason", None)
    return (reason or "no reason given").lower().replace("_", " ")


class TlsContexts:
    """The contexts in use, each built once, in a thread."""

    __slots__ = ("_building", "_ready")

    def __init__(self) -> None:
        self._ready: dict[UpstreamTls, ssl.SSLContext] = {}
        self._building: dict[UpstreamTls, asyncio.Future[ssl.SSLContext]] = {}

    async def get(self, tls: UpstreamTls) -> ssl.SSLContext:
        """Return the context of a `tls` section.

        Raises:
            UpstreamTlsFailed: it cannot be built; the next call tries again.
        """
        context = self._ready.get(tls)
        if context is not None:
            return context
        building = self._building.get(tls)
        if building is None:
            building = asyncio.get_running_loop().run_in_executor(None, client_context, tls)
            self._building[tls] = building
            building.add_done_callback(lambda done: self._built(tls, done))
        # Shielded: the first of several waiters that gives up must not take it from the others.
        return await asyncio.shield(building)

    def _built(self, tls: UpstreamTls, done: asyncio.Future[ssl.SSLContext]) -> None:
        del self._building[tls]
        if not done.cancelled() and done.exception() is None:
            self._ready[tls] = done.result()

"""TLS contexts for the server side.

Files are read when a context is made and again by `reload`, so that a renewed
certificate is served without dropping a connection. Which names and files, and
when to reload, is the caller's business.
"""

from __future__ import annotations

import ssl

from fairlead.config import ServerTls
from fairlead.errors import ConfigError


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Return a context that serves HTTP/1.1 over TLS 1.2 or later.

    With `client_ca`, clients must present a certificate that one of its
    authorities has signed; without one the handshake fails.

    Raises:
        ConfigError: a file cannot be read or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation costs the server far more than the client, and nothing here needs it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    reload(context, tls)
    return context


def reload(context: ssl.SSLContext, tls: ServerTls) -> None:
    """Read the files again; handshakes from now on use them.

    A client authority that was removed from its file stays trusted until the
    process restarts: OpenSSL adds to a context's store and takes nothing away.

    Raises:
        ConfigError: a file cannot be read; the context serves what it served before.
    """
    try:
        # First where it does no harm: a certificate without its key would spoil a context in use.
        # An empty password, because without one OpenSSL asks on the terminal for an encrypted key's.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password="")
        context.load_cert_chain(tls.cert, tls.key, password="")
    except OSError as error:
        raise ConfigError(
            f"cannot load the certificate {tls.cert} with the key {tls.key}: {_reason(error)}",
            param="server.tls.cert",
            hint="both must be PEM files, the key unencrypted and belonging to the first certificate",
        ) from error
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except OSError as error:
            raise ConfigError(
                f"cannot load the client authorities {tls.client_ca}: {_reason(error)}",
                param="server.tls.client_ca",
                hint="it must be a PEM file with at least one certificate",
            ) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not a PEM file of the right kind"
    return error.strerror or type(error).__name__

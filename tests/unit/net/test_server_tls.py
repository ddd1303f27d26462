from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from fairlead import config
from fairlead.errors import ConfigError
from fairlead.net.server_tls import reload, server_context


def write(folder: Path, name: str = "a") -> config.ServerTls:
    issued = trustme.CA().issue_cert("localhost")
    (folder / f"{name}.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (folder / f"{name}.key").write_bytes(issued.private_key_pem.bytes())
    return config.ServerTls(cert=str(folder / f"{name}.pem"), key=str(folder / f"{name}.key"))


def served(context: ssl.SSLContext) -> bytes:
    """Shake hands in memory and return the certificate that the server shows."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server)
    right = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (left, right):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    shown = left.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_old_protocols_are_not_spoken(tmp_path: Path) -> None:
    context = server_context(write(tmp_path))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_NONE


def test_a_client_authority_makes_certificates_a_must(tmp_path: Path) -> None:
    tls = write(tmp_path)
    context = server_context(config.ServerTls(cert=tls.cert, key=tls.key, client_ca=tls.cert))
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_renewed_certificate_is_served_after_a_reload(tmp_path: Path) -> None:
    tls = write(tmp_path)
    context = server_context(tls)
    before = served(context)
    assert served(context) == before
    write(tmp_path)
    reload(context, tls)
    assert served(context) != before


def test_a_bad_reload_leaves_the_old_certificate(tmp_path: Path) -> None:
    tls, other = write(tmp_path), write(tmp_path, "b")
    context = server_context(tls)
    before = served(context)
    Path(tls.cert).write_bytes(Path(other.cert).read_bytes())
    with pytest.raises(ConfigError):
        reload(context, tls)
    assert served(context) == before


def test_errors_name_the_option(tmp_path: Path) -> None:
    tls = write(tmp_path)
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ConfigError, match=r"missing\.pem.*No such file") as error:
        server_context(config.ServerTls(cert=missing, key=tls.key))
    assert error.value.param == "server.tls.cert"
    with pytest.raises(ConfigError, match=r"missing\.pem") as error:
        server_context(config.ServerTls(cert=tls.cert, key=tls.key, client_ca=missing))
    assert error.value.param == "server.tls.client_ca"
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError):
        server_context(config.ServerTls(cert=tls.cert, key=tls.key, client_ca=str(tmp_path / "empty.pem")))

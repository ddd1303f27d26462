"""Proxies: which applies, what is said to it, and that its credential stays out of messages."""

from __future__ import annotations

import pytest

from fairlead.errors import ConfigError, UpstreamUnreachable
from fairlead.net.origin import Origin
from fairlead.net.proxy import (
    MAX_REPLY_BYTES,
    absolute_form,
    connect_request,
    parse_proxy,
    proxy_for,
    tunnel_open,
)

P = "http://proxy:3128"


@pytest.mark.parametrize(
    ("scheme", "environ", "expected"),
    [
        ("https", {}, None),
        ("https", {"https_proxy": P}, P),
        ("https", {"HTTPS_PROXY": P}, P),
        ("https", {"https_proxy": "http://lower", "HTTPS_PROXY": P}, "http://lower"),
        ("https", {"https_proxy": "", "HTTPS_PROXY": P}, None),
        ("https", {"http_proxy": P}, None),
        ("https", {"all_proxy": P}, P),
        ("https", {"ALL_PROXY": P}, P),
        ("https", {"https_proxy": "http://own", "all_proxy": P}, "http://own"),
        ("https", {"https_proxy": "", "all_proxy": P}, None),
        ("http", {"HTTP_PROXY": P}, P),
        ("http", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None),
        ("http", {"http_proxy": P, "REQUEST_METHOD": "GET"}, P),
        ("https", {"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P),
    ],
)
def test_the_environment_names_a_proxy(scheme: str, environ: dict[str, str], expected: str | None) -> None:
    assert proxy_for(scheme, "api.example.com", 443, environ) == expected


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "exempt"),
    [
        ("", "api.example.com", 443, False),
        ("*", "api.example.com", 443, True),
        ("example.com", "example.com", 443, True),
        ("example.com", "api.example.com", 443, True),
        ("example.com", "API.Example.COM.", 443, True),
        ("EXAMPLE.com", "api.example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("example.com", "badexample.com", 443, False),
        ("example.com", "example.com.evil.net", 443, False),
        ("ample.com", "example.com", 443, False),
        ("a, b example.com", "example.com", 443, True),
        ("example.com:443", "example.com", 443, True),
        ("example.com:80", "example.com", 443, False),
        ("*:8080", "example.com", 8080, True),
        ("*:8080", "example.com", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "10.example.com", 443, False),
        ("10.1.2.3:8000", "10.1.2.3", 8000, True),
        ("10.1.2.3:8000", "10.1.2.3", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("fd00::1", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("[fd00::1]:80", "fd00::1", 443, False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", 443, True),
        (",,  ,", "example.com", 443, False),
        ("2.3", "10.1.2.3", 443, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, exempt: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        assert (proxy_for("https", host, port, {"https_proxy": P, name: no_proxy}) is None) == exempt


def test_lower_case_no_proxy_wins() -> None:
    environ = {"https_proxy": P, "no_proxy": "", "NO_PROXY": "*"}
    assert proxy_for("https", "example.com", 443, environ) == P


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "engine.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"],
)
def test_loopback_is_never_proxied(host: str) -> None:
    assert proxy_for("http", host, 80, {"http_proxy": P, "all_proxy": P}) is None


def test_a_proxy_url_is_parsed() -> None:
    proxy = parse_proxy("http://us%40er:p%3Aw@proxy.example:3128")
    assert (proxy.host, proxy.port) == ("proxy.example", 3128)
    assert proxy.authorization == b"Basic dXNAZXI6cDp3"
    assert parse_proxy("proxy.example:3128").label == "proxy.example:3128"
    assert parse_proxy("http://proxy.example").port == 80
    assert parse_proxy("http://[fd00::1]:3128").label == "[fd00::1]:3128"


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@", "https://user:secret@p", "socks5://user:secret@p:1", "http://user:secret@p:x"],
)
def test_a_bad_proxy_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_proxy(url)
    assert "secret" not in str(caught.value)
    assert "user" not in str(caught.value)


def test_a_proxy_does_not_print_its_credential() -> None:
    proxy = parse_proxy("http://user:secret@p:1")
    assert repr(proxy) == str(proxy) == "Proxy(p:1)"


def test_a_tunnel_is_asked_for() -> None:
    assert connect_request(parse_proxy("p:1"), "api.example", 443) == (
        b"CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\n\r\n"
    )
    assert connect_request(parse_proxy("http://u:p@p:1"), "::1", 443) == (
        b"CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\nproxy-authorization: Basic dTpw\r\n\r\n"
    )


def test_a_tunnel_opens_when_the_whole_reply_is_there() -> None:
    proxy = parse_proxy("http://u:secret@p:1")
    reply = b"HTTP/1.0 200 Connection established\r\nvia: x\r\n\r\n"
    assert [tunnel_open(proxy, "a:443", reply[:end]) for end in (0, 10, len(reply) - 1)] == [False] * 3
    assert tunnel_open(proxy, "a:443", reply)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "credentials"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "status 403"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "status 302"),
        (b"SSH-2.0\r\n\r\n", "HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurplus", "bytes of its own"),
        (b"x" * (MAX_REPLY_BYTES + 1), "more than an answer"),
    ],
)
def test_a_tunnel_that_does_not_open(reply: bytes, words: str) -> None:
    with pytest.raises(UpstreamUnreachable, match=words) as caught:
        tunnel_open(parse_proxy("http://u:secret@p:1"), "a:443", reply)
    assert "secret" not in str(caught.value)


def test_absolute_form_is_for_plain_requests_through_a_proxy() -> None:
    proxy = "http://u:p@proxy:3128"
    assert absolute_form(Origin(scheme="http", host="a", port=8000)) == ("", [])
    assert absolute_form(Origin(scheme="https", host="a", port=443, proxy=proxy)) == ("", [])
    assert absolute_form(Origin(scheme="http", host="a", port=8000, proxy=proxy)) == (
        "http://a:8000",
        [(b"proxy-authorization", b"Basic dTpw")],
    )

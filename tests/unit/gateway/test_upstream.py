"""Heads are prebuilt, bounded in number, and hold nothing that a client wrote."""

from __future__ import annotations

import sys
from typing import Any

import httptools
import pytest

from fairlead import __version__
from fairlead import config as cfg
from fairlead.errors import ConfigError
from fairlead.gateway.upstream import KINDS, Upstream

SECRETS = {"env:KEY": "sk-1", "env:ID": "AKID", "env:SECRET": "shhh", "env:EVIL": "x\r\nx-evil: 1"}


def upstream(kind: str = "openai-compatible", **options: Any) -> Upstream:
    options.setdefault("base_url", "http://engine.test:8000/v1")
    config = cfg.Provider(type=kind, **options)  # type: ignore[arg-type]  # any of the table
    return Upstream("a", config, resolve=lambda secret: SECRETS[secret.reference], proxy_for=lambda *_: None)


class Parsed:
    """A request as another parser reads it."""

    def __init__(self, raw: bytes) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(raw)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def test_a_request_is_one_whole_message() -> None:
    raw = upstream(api_key=cfg.Secret("env:KEY"), headers={"X-Team": "search"}).request(
        "/chat/completions", b'{"a":1}', b"x-request-id: req_1\r\n", headers=((b"anthropic-beta", b"b"),)
    )
    parsed = Parsed(raw)
    assert (parsed.method, parsed.target, parsed.body) == (b"POST", b"/v1/chat/completions", b'{"a":1}')
    assert parsed.complete == 1
    assert dict(parsed.headers) == {
        b"host": b"engine.test:8000",
        b"user-agent": f"fairlead/{__version__}".encode(),
        b"authorization": b"Bearer sk-1",
        b"x-team": b"search",
        b"content-type": b"application/json",
        b"x-request-id": b"req_1",
        b"anthropic-beta": b"b",
        b"content-length": b"7",
    }
    assert len(parsed.headers) == 8


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("openai", b"authorization", b"Bearer sk-1"),
        ("azure", b"api-key", b"sk-1"),
        ("anthropic", b"x-api-key", b"sk-1"),
        ("gemini", b"x-goog-api-key", b"sk-1"),
        ("bedrock", b"authorization", b"Bearer sk-1"),
        ("vllm", b"authorization", b"Bearer sk-1"),
    ],
)
def test_each_provider_gets_its_credential_in_its_own_header(kind: str, header: bytes, value: bytes) -> None:
    raw = upstream(kind, api_key=cfg.Secret("env:KEY")).request("/x", b"{}", b"", model="m")
    assert dict(Parsed(raw).headers)[header] == value


def test_the_table_of_heads_is_bounded_whatever_clients_ask_for() -> None:
    azure = upstream("azure", base_url="https://a.openai.azure.com", api_version="2024-10-21")

    def ask(count: int, name: str) -> None:
        for number in range(count):
            azure.request("/chat/completions", b"{}", b"", model=name % number)

    ask(6000, "model-%d")
    full = _size(azure)
    ask(6000, "another-%d")
    ask(50, "x" * 10_000 + "%d")
    assert _size(azure) <= full
    parsed = Parsed(azure.request("/chat/completions", b"{}", b"", model="another-7"))
    assert parsed.target == b"/openai/deployments/another-7/chat/completions?api-version=2024-10-21"


def _size(thing: Upstream) -> int:
    """Bytes held by the tables of an upstream."""
    tables = [getattr(thing, name) for name in thing.__slots__ if isinstance(getattr(thing, name), dict)]
    return sum(sys.getsizeof(entry) for table in tables for pair in table.items() for entry in pair)


@pytest.mark.parametrize("model", ["a/b", "a?b=c", "a b", "x\r\nx-evil: 1", "..", "é", "a%2fb", "#"])
def test_a_models_name_stays_one_segment_of_the_path(model: str) -> None:
    azure = upstream("azure", base_url="https://a.openai.azure.com", api_version="2024-10-21")
    parsed = Parsed(azure.request("/chat/completions", b"{}", b"", model=model))
    assert parsed.complete == 1
    path, _, query = parsed.target.partition(b"?")
    assert path.count(b"/") == 5
    assert query == b"api-version=2024-10-21"
    assert not any(name == b"x-evil" for name, _ in parsed.headers)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": cfg.Secret("env:EVIL")},
        {"headers": {"x-a": cfg.Secret("env:EVIL")}},
        {"headers": {"x-a": "x\r\nx-evil: 1"}},
        {"headers": {"x-a": "x\x00"}},
        {"headers": {"x\r\ny": "1"}},
    ],
)
def test_a_control_character_in_a_header_is_refused_without_showing_the_value(options: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        upstream(**options)
    assert "x-evil: 1" not in caught.value.message


def test_dates_of_the_api_go_where_each_provider_wants_them() -> None:
    raw = upstream("anthropic", api_version="2024-01-01").request("/messages", b"{}", b"")
    assert dict(Parsed(raw).headers)[b"anthropic-version"] == b"2024-01-01"
    azure = upstream("azure", base_url="https://a.openai.azure.com/openai/v1")
    assert Parsed(azure.request("/chat/completions", b"{}", b"", model="m")).target == (
        b"/openai/v1/chat/completions"
    )


def test_bedrock_requests_are_signed_anew_for_each_body() -> None:
    bedrock = upstream(
        "bedrock",
        base_url=None,
        region="eu-central-1",
        access_key_id=cfg.Secret("env:ID"),
        secret_access_key=cfg.Secret("env:SECRET"),
    )
    first, second = (
        dict(Parsed(bedrock.request("/model/x/converse", body, b"", now=1.7e9)).headers)
        for body in (b"{}", b'{"a":1}')
    )
    assert first[b"host"] == b"bedrock-runtime.eu-central-1.amazonaws.com"
    assert first[b"authorization"].startswith(b"AWS4-HMAC-SHA256 Credential=AKID/")
    assert first[b"authorization"] != second[b"authorization"]
    assert b"shhh" not in first[b"authorization"]


@pytest.mark.parametrize(("host", "shown"), [("[::1]:9000", b"[::1]:9000"), ("a.test", b"a.test")])
def test_hosts_are_named_as_http_wants_it(host: str, shown: bytes) -> None:
    raw = upstream(base_url=f"http://{host}/v1").head("GET", "/models", b"")
    assert dict(Parsed(raw).headers)[b"host"] == shown


def test_a_provider_without_address_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        upstream(base_url=None)


@pytest.mark.parametrize(
    ("proxy", "environment", "expected"),
    [
        (None, None, None),
        (None, "http://proxy:1", "http://proxy:1"),
        ("none", "http://proxy:1", None),
        ("http://own:2", "http://proxy:1", "http://own:2"),
    ],
)
def test_the_configured_proxy_goes_before_the_environments(
    proxy: str | None, environment: str | None, expected: str | None
) -> None:
    config = cfg.Provider(type="vllm", proxy=proxy)
    made = Upstream("a", config, resolve=str, proxy_for=lambda *_: environment)
    assert made.origin.proxy == expected


@pytest.mark.parametrize(
    ("type_", "option", "native"),
    [("openai", None, True), ("openai", False, False), ("tgi", True, True), ("tgi", None, False)],
)
def test_the_responses_api_is_native_by_type_or_by_option(
    type_: str, option: bool | None, native: bool
) -> None:
    assert ("responses" in upstream(type_, responses_api=option).native) is native


def test_every_type_of_the_configuration_is_in_the_table() -> None:
    from typing import get_args

    assert set(get_args(cfg.options.ProviderType)) == set(KINDS)

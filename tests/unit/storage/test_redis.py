"""URLs of Redis servers: what is shown of them, and which are none. The rest is in tests/e2e/limits."""

from __future__ import annotations

import asyncio
import sys

import pytest

from fairlead.errors import ConfigError, StatementRejected
from fairlead.storage.connect import redis_server
from fairlead.storage.redis import RedisServer, Script


def server(url: str) -> RedisServer:
    async def make() -> RedisServer:
        made = RedisServer(url)
        await made.close()
        return made

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://cache.internal", "redis://cache.internal:6379"),
        ("redis://user:s3cret@cache.internal:7000/2", "redis://cache.internal:7000/2"),
        ("rediss://:s3cret@[::1]:7000/0?ssl_cert_reqs=none", "rediss://[::1]:7000/0"),
        ("unix:///run/redis.sock?password=s3cret", "unix:/run/redis.sock"),
    ],
)
def test_a_server_is_named_without_its_credentials(url: str, name: str) -> None:
    assert server(url).name == name


@pytest.mark.parametrize(
    "url", ["", "s3cret", "http://s3cret@host", "redis://", "redis://:s3cret@host:port", "unix://"]
)
def test_what_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server(url)

    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.param == "limits.redis.url"


def test_what_is_to_be_mended_is_named_as_the_caller_says() -> None:
    with pytest.raises(ConfigError) as caught:
        redis_server("http://host", option="cache.redis.url")

    assert caught.value.param == "cache.redis.url"


def test_a_wrong_option_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        server("redis://host/0?socket_timeout=s3cret")

    assert "s3cret" not in caught.value.message


def test_text_that_cannot_be_sent_fails_its_call_only() -> None:
    async def scenario() -> str:
        made = RedisServer("redis://127.0.0.1:1")
        with pytest.raises(StatementRejected) as caught:
            await made.run(Script("return 1"), ["\ud800"])
        await made.close()
        return caught.value.message

    assert "Unicode" in asyncio.run(scenario())


def test_without_the_library_the_hint_is_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fairlead.storage.redis")
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)

    with pytest.raises(ConfigError) as caught:
        redis_server("redis://host")

    assert caught.value.hint == "pip install 'fairlead[redis]'"

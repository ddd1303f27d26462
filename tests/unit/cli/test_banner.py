"""What is shown at the start can be used as it stands."""

import shlex

import pytest

from fairlead import config as cfg
from fairlead.cli.banner import banner
from fairlead.config.parse import parse

CONFIG = """\
providers: {a: {type: vllm}}
models: {m: {targets: [{provider: a}]}, "open/*": {targets: [{provider: a}]}}
"""


def shown(secret: str | None = "fl-secret", *, text: str = CONFIG, port: int = 8080) -> str:
    return banner(parse(text, "test"), port, secret)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("::1", "http://[::1]:8080"),
        ("gateway.test", "http://gateway.test:8080"),
    ],
)
def test_the_address_is_one_that_can_be_opened(host: str, address: str) -> None:
    assert f"serves {address}/v1\n" in shown(text=CONFIG + f'server: {{host: "{host}"}}\n')


def test_with_a_certificate_it_is_https() -> None:
    assert "serves https://" in shown(text=CONFIG + "server: {tls: {cert: c, key: k}}\n")


def test_the_line_to_try_is_one_shell_command() -> None:
    words = shlex.split(shown().splitlines()[-1].removeprefix("  try it     "))
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]
    assert words[3] == "authorization: Bearer fl-secret"
    assert words[-1].startswith('{"model":"m",')


def test_a_key_is_shown_once_and_else_a_variable_stands_for_it() -> None:
    assert "fl-secret   (shown this once" in shown()
    later = shown(None)
    assert "one of yours" in later
    # Shells expand variables in double quotes only.
    assert '"authorization: Bearer $FAIRLEAD_API_KEY"' in later


def test_without_keys_none_is_mentioned() -> None:
    text = shown(None, text=CONFIG + "auth: {required: false}\n")
    assert "API key" not in text


def test_many_models_are_counted_and_patterns_come_last() -> None:
    config = cfg.Config(
        models={
            name: cfg.Model(targets=[cfg.Target(provider="a")])
            for name in ["x/*", *(f"model-{number}" for number in range(12))]
        }
    )
    text = banner(config, 1, None)
    assert "model-0, model-1" in text
    assert "and 5 more" in text
    assert "x/*" not in text


def test_with_patterns_alone_the_line_has_a_placeholder() -> None:
    text = shown(text='providers: {a: {type: vllm}}\nmodels: {"*": {targets: [{provider: a}]}}\n')
    assert '"model":"MODEL"' in text


def test_limits_that_this_process_counts_alone_are_said_to_be_so() -> None:
    limited = CONFIG + "tenants: {acme: {limits: {requests_per_minute: 60}}}\n"
    assert "counted by this process alone" in shown(text=limited)
    assert "counted by this process alone" not in shown(text=CONFIG + "tenants: {acme: {weight: 2}}\n")
    shared = limited + "limits: {store: redis, redis: {url: env:REDIS_URL}}\n"
    assert "counted by this process alone" not in shown(text=shared)

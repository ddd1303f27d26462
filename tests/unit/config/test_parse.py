"""`fairlead.yaml` to `Config`: meaning by expected type, every problem with its place, and the way back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead import config as cfg
from fairlead.config import parse
from fairlead.config.parse import check, dump, path_text
from fairlead.errors import ConfigError


def problems(text: str) -> list[str]:
    config, found = check(text)
    assert config is None
    return [problem.text("f.yaml") for problem in found]


def only_hint(text: str) -> str | None:
    _, found = check(text)
    assert len(found) == 1
    return found[0].hint


def server(option: str, value: str) -> cfg.Server:
    return parse.parse(f"server: {{{option}: {value}}}", "f.yaml").server


def test_an_empty_file_is_the_default_configuration() -> None:
    assert parse.parse("", "f.yaml") == cfg.Config()
    assert parse.parse("server:\nproviders:\nmodels:\n", "f.yaml") == cfg.Config()


def test_a_whole_configuration_is_read() -> None:
    text = """
    server: {port: 9000, header_timeout_s: 2}
    providers:
      openai: {type: openai, api_key: "env:OPENAI_API_KEY", headers: {x-team: core, x-sig: "file:/run/sig"}}
      azure: {type: azure, base_url: https://e.openai.azure.com, api_key: env:AZ, api_version: 2024-10-21}
    models:
      gpt-5:
        targets:
          - {provider: openai}
          - {provider: azure, model: on, weight: 0.5, priority: 1, timeouts: {first_token_s: 3}}
        fallbacks: {any: [gpt-4.1]}
      gpt-4.1:
        targets: [{provider: openai}]
    """
    config = parse.parse(text, "f.yaml")
    assert config.server == cfg.Server(port=9000, header_timeout_s=2.0)
    assert isinstance(config.server.header_timeout_s, float)
    assert config.providers["openai"].headers == {"x-team": "core", "x-sig": cfg.Secret("file:/run/sig")}
    assert config.providers["azure"].api_version == "2024-10-21"
    assert config.models["gpt-5"].targets[1] == cfg.Target(
        provider="azure", model="on", weight=0.5, priority=1, timeouts=cfg.Timeouts(first_token_s=3.0)
    )
    assert config.models["gpt-5"].fallbacks.any == ["gpt-4.1"]


@pytest.mark.parametrize(("value", "number"), [("1024", 1024), ("33_554_432", 33554432), ("+2048", 2048)])
def test_whole_numbers(value: str, number: int) -> None:
    assert server("max_body_bytes", value).max_body_bytes == number


@pytest.mark.parametrize(
    ("value", "number"), [("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("1e3", 1000.0), ("1_0.0", 10.0)]
)
def test_numbers(value: str, number: float) -> None:
    assert server("drain_s", value).drain_s == number


@pytest.mark.parametrize(
    ("value", "got"),
    [("-1", "-1"), ("65536", "65536"), ("1.5", "1.5"), ('"80"', 'the text "80"'), ("9" * 30, "9" * 30),
     ("", "nothing"), ("[1]", "a list"), ("{a: 1}", "options"), ("true", "true"), ("0x50", "0x50")],
)  # fmt: skip
def test_what_is_no_port_is_refused(value: str, got: str) -> None:
    (problem,) = problems(f"server:\n  port: {value}\n")
    assert problem.startswith("f.yaml:2:")
    assert problem.endswith(f"server.port: expected a whole number from 0 to 65535, got {got}")


@pytest.mark.parametrize("value", ["0", ".inf", ".nan", "1e999", "1:30", "abc", '"1"', "-0.1", "true"])
def test_what_is_no_duration_is_refused(value: str) -> None:
    (problem,) = problems(f"server: {{drain_s: {value}}}")
    assert "server.drain_s: expected a number > 0, got " in problem


def test_a_duration_with_a_unit_is_answered_with_its_seconds() -> None:
    assert only_hint("server: {drain_s: 30s}") == "in seconds, without a unit: 30"
    assert only_hint("server: {drain_s: 500ms}") == "in seconds, without a unit: 0.5"
    assert only_hint("server: {drain_s: 2 minutes}") == "in seconds, without a unit: 120"


def test_a_quoted_number_is_text() -> None:
    assert only_hint('server: {port: "80"}') == "leave the quotes out"


def test_only_true_and_false_are_truth_values() -> None:
    assert parse.parse("auth: {required: false}", "f.yaml").auth.required is False
    assert problems("auth: {required: no}") == ["f.yaml:1:18: auth.required: expected true or false, got no"]
    assert only_hint("auth: {required: no}") == "write false"


def test_a_wrong_choice_is_answered_with_the_nearest() -> None:
    text = "logs: {level: warn}"
    assert problems(text) == [
        "f.yaml:1:15: logs.level: expected one of `debug`, `error`, `info`, `warning`, got warn"
    ]
    assert only_hint(text) == "did you mean `warning`?"


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    assert problems("serve: {}") == ["f.yaml:1:1: serve: unknown option"]
    assert only_hint("serve: {}") == "did you mean `server`?"
    assert only_hint("server: {zzz: 1}") == "known here: " + ", ".join(cfg.Server.__struct_fields__)


def test_a_missing_option_is_named_where_its_section_begins() -> None:
    assert problems("models:\n  m:\n    strategy: weighted\n") == [
        "f.yaml:3:5: models.m: `targets` is missing"
    ]


def test_an_empty_list_of_targets_is_refused() -> None:
    (problem,) = problems("models: {m: {targets: []}}")
    assert problem.endswith("models.m.targets: expected at least 1 entry, got an empty list")


def test_top_level_extensions_are_a_place_for_anchors() -> None:
    text = """
    x-slow: &slow {first_token_s: 120}
    providers: {s: {type: simulated}}
    models: {m: {targets: [{provider: s}], timeouts: {<<: *slow, total_s: 300}}}
    """
    timeouts = parse.parse(text, "f.yaml").models["m"].timeouts
    assert (timeouts.first_token_s, timeouts.total_s) == (120.0, 300.0)
    assert "unknown option" in problems("server: {x-y: 1}")[0]


def test_every_problem_is_reported_in_the_order_of_lines() -> None:
    text = "server:\n  port: a\n  hots: b\nproviders:\n  p: {type: nope}\nserver: {}\n"
    assert [problem.split(": ")[0] for problem in problems(text)] == [
        "f.yaml:2:9", "f.yaml:3:3", "f.yaml:5:13", "f.yaml:6:1",
    ]  # fmt: skip


def test_one_problem_is_an_error_with_a_hint_and_several_are_a_list() -> None:
    with pytest.raises(ConfigError) as one:
        parse.parse("server: {prot: 1}", "f.yaml")
    assert one.value.message == "f.yaml:1:10: server.prot: unknown option"
    assert one.value.hint == "did you mean `port`?"
    assert one.value.param == "server.prot"
    with pytest.raises(ConfigError) as two:
        parse.parse("server: {prot: 1, hots: 2}", "f.yaml")
    assert two.value.message.splitlines() == [
        "2 problems in f.yaml",
        "  f.yaml:1:10: server.prot: unknown option (did you mean `port`?)",
        "  f.yaml:1:19: server.hots: unknown option (did you mean `host`?)",
    ]


def test_a_hopeless_file_is_not_listed_to_its_end() -> None:
    _, found = check("server: {" + ", ".join(f"x{n}: 1" for n in range(500)) + "}")
    assert len(found) == 500
    lines = parse.failure(found, "f.yaml").message.splitlines()
    assert len(lines) == 52
    assert lines[-1] == "  and 450 more"


def test_a_broken_rule_is_reported_at_its_line() -> None:
    text = "providers:\n  p: {type: simulated}\nmodels:\n  m:\n    targets:\n      - provider: q\n"
    assert problems(text) == ["f.yaml:6:9: models.m.targets[0].provider: no provider is named `q`"]


def test_a_literal_secret_is_not_repeated_anywhere() -> None:
    options = "api_key: sk-SECRET, access_key_id: [SECRET], headers: {x: {y: SECRET}}"
    text = f"providers: {{p: {{type: openai, {options}}}}}"
    assert len(problems(text)) == 3
    assert not any("SECRET" in problem for problem in problems(text))


def test_an_alias_bomb_ends_with_an_error() -> None:
    lines = ["x-a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"x-{name}: &{name} [" + ", ".join([f"*{before}"] * 10) + "]")
    lines.append("models: {m: {targets: [{provider: p}], fallbacks: {any: *i}}}")
    # A billion values; the walk goes only as deep as the option's type does.
    found = problems("\n".join(lines))
    assert len(found) == 10
    assert all(problem.endswith("expected text, got a list") for problem in found)


def test_a_list_of_aliases_is_bounded() -> None:
    target = "&t {provider: p, weight: 1, priority: 1}"
    names = "\n".join(f"  m{n}: *m" for n in range(300))
    targets = ", ".join([target] + ["*t"] * 300)
    (problem,) = problems(f"models:\n  m: &m {{targets: [{targets}]}}\n{names}\n")
    assert "more than 200000 values" in problem


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("models", "gpt-5", "targets", 0, "weight"), "models.gpt-5.targets[0].weight"),
        (("models", "gpt-4.1", "targets"), 'models["gpt-4.1"].targets'),
        (("models", "openai/*"), 'models["openai/*"]'),
        ((), ""),
    ],
)
def test_paths_are_written_as_one_reads_them(path: parse.Path, text: str) -> None:
    assert path_text(path) == text


# --- properties -------------------------------------------------------------------------------------

_names = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True)
_positive = st.floats(min_value=1e-6, max_value=1e9)
_texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
_secrets = st.from_regex(r"env:[A-Z_]{1,8}|file:/[a-z]{1,8}", fullmatch=True).map(cfg.Secret)


@st.composite
def _configs(draw: st.DrawFn) -> cfg.Config:
    provider = st.builds(
        cfg.Provider,
        type=st.sampled_from(["openai", "simulated", "vllm"]),
        api_key=st.none() | _secrets,
        headers=st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.just("1") | _secrets),
        connect_timeout_s=_positive,
        responses_api=st.none() | st.booleans(),
    )
    providers = draw(st.dictionaries(_names, provider, min_size=1, max_size=3))
    target = st.builds(
        cfg.Target,
        provider=st.sampled_from(sorted(providers)),
        model=_texts,
        weight=_positive,
        priority=st.integers(0, 9),
        input_usd_per_mtok=st.none() | st.floats(0, 1e6),
        timeouts=st.none() | st.builds(cfg.Timeouts, first_token_s=_positive),
    )
    model = st.builds(
        cfg.Model,
        targets=st.lists(target, min_size=1, max_size=3, unique_by=lambda each: (each.provider, each.model)),
        strategy=st.sampled_from(["least-loaded", "weighted"]),
        continue_cut_streams=st.booleans(),
    )
    models = draw(st.dictionaries(_texts.filter(lambda name: name.count("*") < 2), model, max_size=3))
    server = draw(st.builds(cfg.Server, port=st.integers(0, 65535), drain_s=_positive))
    return cfg.Config(server=server, providers=providers, models=models)


@settings(max_examples=60)
@given(_configs(), st.booleans())
def test_what_is_written_reads_back_the_same(config: cfg.Config, defaults: bool) -> None:
    assert parse.parse(dump(config, defaults=defaults), "f.yaml") == config


@given(st.text(st.sampled_from("serv:port models{}[]-*&<>12.\n \"'"), max_size=80))
def test_any_text_is_a_configuration_or_a_list_of_problems(text: str) -> None:
    config, found = check(text)
    assert (config is None) == bool(found)


_scalars = st.sampled_from(
    [
        "0",
        "1",
        "-1",
        "0.5",
        "1.0",
        "65535",
        "65536",
        "256",
        "257",
        "1e3",
        "true",
        "false",
        "abc",
        "debug",
        "null",
    ]
)
_fields = st.sampled_from(
    [(cfg.Server, name) for name in cfg.Server.__struct_fields__ if name not in ("tls", "host")]
    + [(cfg.Retry, name) for name in cfg.Retry.__struct_fields__]
    + [(cfg.Breaker, name) for name in cfg.Breaker.__struct_fields__]
    + [(cfg.Logs, name) for name in cfg.Logs.__struct_fields__]
)


@settings(max_examples=300)
@given(_fields, _scalars)
def test_a_value_is_accepted_exactly_when_its_type_accepts_it(field: tuple[Any, str], value: str) -> None:
    """Checked against msgspec's own decoder, which reads the same structs."""
    struct, name = field
    where = {cfg.Server: "server: {%s}", cfg.Logs: "logs: {%s}"}.get(
        struct, f"outages: {{{struct.__name__.lower()}: {{%s}}}}"
    )
    _, found = check(where % f"{name}: {value}")
    structural = [problem for problem in found if " is more than " not in problem.message]
    try:
        plain = msgspec.json.decode(value)
    except msgspec.DecodeError:
        plain = value
    try:
        msgspec.convert({name: plain}, struct)
    except msgspec.ValidationError:
        assert structural
    else:
        # msgspec takes 1.0 for a whole number; a file should say what it means.
        assert not structural or (isinstance(plain, float) and "whole number" in structural[0].message)

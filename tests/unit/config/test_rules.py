"""Rules between options, each broken once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead import config as cfg
from fairlead.config import rules
from fairlead.config.fault import Fault, route_of


def provider_faults(**options: object) -> list[str]:
    provider = cfg.Provider(**options)  # type: ignore[arg-type]  # the cases below are the types
    return [fault.message for fault in rules.faults(cfg.Config(providers={"p": provider}))]


def models(**entries: cfg.Model) -> list[Fault]:
    providers = {"p": cfg.Provider(type="simulated"), "q": cfg.Provider(type="simulated")}
    return rules.faults(cfg.Config(providers=providers, models=entries))


def model(*fallbacks: str, kind: str = "any") -> cfg.Model:
    return cfg.Model(targets=[cfg.Target(provider="p")], fallbacks=cfg.Fallbacks(**{kind: list(fallbacks)}))


AWS = {"access_key_id": cfg.Secret("env:A"), "secret_access_key": cfg.Secret("env:B")}


@pytest.mark.parametrize(
    "options",
    [
        {"type": "openai"},
        {"type": "simulated"},
        {"type": "openai-compatible", "base_url": "https://api.example.com/v1"},
        {"type": "vllm", "base_url": "http://[::1]:8000/v1"},
        {"type": "azure", "base_url": "https://x.openai.azure.com/openai/v1"},
        {"type": "azure", "base_url": "https://x.openai.azure.com", "api_version": "2024-10-21"},
        {"type": "anthropic", "api_version": "2023-06-01"},
        {"type": "bedrock", "region": "eu-central-1", **AWS},
        {"type": "bedrock", "region": "eu-central-1", "api_key": cfg.Secret("env:A")},
        {"type": "openai", "proxy": "none"},
        {"type": "openai", "proxy": "http://proxy:3128"},
        {"type": "openai", "headers": {"X-Team": "core", "Authorization": cfg.Secret("env:AUTH")}},
    ],
)
def test_valid_providers(options: dict[str, object]) -> None:
    assert provider_faults(**options) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "openai-compatible"}, "`base_url` is missing; type `openai-compatible` has no default"),
        ({"type": "azure"}, "`base_url` is missing; type `azure` has no default"),
        ({"type": "azure", "base_url": "https://x.openai.azure.com"},
         "`api_version` is missing; this Azure URL needs one"),
        ({"type": "bedrock", **AWS}, "`region` is missing; type `bedrock` has no default"),
        ({"type": "bedrock", "region": "Us East", **AWS}, "not the name of a region"),
        ({"type": "bedrock", "region": "r"},
         "credentials are missing; type `bedrock` needs `api_key`, or both `access_key_id` and "
         "`secret_access_key`"),
        ({"type": "bedrock", "region": "r", "access_key_id": AWS["access_key_id"]},
         "`access_key_id` and `secret_access_key` go together; `secret_access_key` is missing"),
        ({"type": "openai", "region": "r"}, "has no meaning for type `openai`, only for `bedrock`"),
        ({"type": "openai", "api_version": "1"},
         "has no meaning for type `openai`, only for `azure` and `anthropic`"),
        ({"type": "openai", "api_key": cfg.Secret("sk-1")},
         "expected a secret reference; a literal secret must not stand in the file"),
        ({"type": "openai", "proxy": "socks5://p"},
         "expected a URL that begins with `http://` or `https://` and names a host"),
        ({"type": "openai", "proxy": "http://u:SECRET@p"}, "a URL must not hold credentials"),
        ({"type": "openai", "tls": cfg.UpstreamTls(cert="c")},
         "`cert` and `key` go together; `key` is missing"),
        ({"type": "openai", "tls": cfg.UpstreamTls(ca="")}, "expected text, got an empty one"),
        ({"type": "openai", "headers": {"a b": "x"}}, "not a header name"),
        ({"type": "openai", "headers": {"Host": "x"}}, "this header is the gateway's own and cannot be set"),
        ({"type": "openai", "headers": {"X-A": "x", "x-a": "y"}},
         "this header is given twice, in different letter case"),
        ({"type": "openai", "headers": {"Authorization": "Bearer SECRET"}},
         "a literal secret must not stand in the file"),
        ({"type": "openai", "headers": {"x": "a\r\nb: c"}},
         "a header's value is printable ASCII without spaces around it"),
    ],
)  # fmt: skip
def test_broken_providers(options: dict[str, object], message: str) -> None:
    assert provider_faults(**options) == [message]


@pytest.mark.parametrize(
    ("header", "secret"),
    [("Authorization", True), ("x-api-key", True), ("X-Relay-Token", True), ("Cookie", True),
     ("x-apikey", True), ("x-team", False), ("x-keyboard", False), ("x-tokens-left", False)],
)  # fmt: skip
def test_headers_that_carry_credentials_take_references_only(header: str, secret: bool) -> None:
    assert (provider_faults(type="openai", headers={header: "literal"}) != []) is secret
    assert provider_faults(type="openai", headers={header: cfg.Secret("env:A")}) == []


@pytest.mark.parametrize("name", ["a/b", "", "-a", "a b", "x" * 65])
def test_a_providers_name_is_part_of_target_names(name: str) -> None:
    config = cfg.Config(providers={name: cfg.Provider(type="simulated")})
    assert [fault.path for fault in rules.faults(config)] == [("providers", name)]


@pytest.mark.parametrize(
    "url",
    [
        "", "api.openai.com", "ftp://x", "http://", "http:///v1", "http://x:99999", "http://x:0", "http://x:a",
        "http://[::1", "http://u:p@x", "http://u@x", "http://x/v1?key=1", "http://x/v1#a", "http://x/ v1",
        "http://x/{region}", "http://x/\n", "http://ä",
    ],
)  # fmt: skip
def test_what_is_no_address_of_an_api(url: str) -> None:
    assert rules.url_fault(url) is not None


@given(st.text(max_size=30))
def test_any_text_is_a_url_or_has_a_fault_that_does_not_repeat_it(text: str) -> None:
    message = rules.url_fault(f"https://user:{text}@host/?key={text}")
    assert message is not None
    assert len(text) < 4 or text not in message


def test_targets_must_name_a_provider() -> None:
    (fault,) = models(m=cfg.Model(targets=[cfg.Target(provider="pp")]))
    assert fault.path == ("models", "m", "targets", 0, "provider")
    assert fault.hint == "did you mean `p`?"


def test_weights_must_leave_something_to_ask() -> None:
    targets = [cfg.Target(provider="p", weight=0), cfg.Target(provider="q", weight=0)]
    assert [fault.path for fault in models(m=cfg.Model(targets=targets))] == [("models", "m", "targets")]
    assert models(m=cfg.Model(targets=[targets[0], cfg.Target(provider="q")])) == []


def test_the_same_target_twice_is_refused() -> None:
    targets = [
        cfg.Target(provider="p", model="x"),
        cfg.Target(provider="p"),
        cfg.Target(provider="p", model="x"),
    ]
    assert [fault.path for fault in models(m=cfg.Model(targets=targets))] == [("models", "m", "targets", 2)]


@pytest.mark.parametrize("name", ["*", "gpt-*", "openai/*", "*-latest", "a*b"])
def test_wildcards_with_one_star(name: str) -> None:
    assert models(**{name: model()}) == []


@pytest.mark.parametrize("name", ["*a*", "**", "", " a", "a\n"])
def test_names_that_no_route_can_have(name: str) -> None:
    assert [fault.path for fault in models(**{name: model()})] == [("models", name)]


@pytest.mark.parametrize(
    ("name", "route"),
    [("a", "a"), ("gpt-4o", "gpt-*"), ("gpt-4o-mini", "gpt-4o-*"), ("gpt-", None), ("x", None),
     ("openai/x", "openai/*")],
)  # fmt: skip
def test_the_route_of_a_name_is_the_routers(name: str, route: str | None) -> None:
    assert route_of(name, {"a": model(), "gpt-*": model(), "gpt-4o-*": model(), "openai/*": model()}) == route


def test_fallbacks_must_name_models() -> None:
    (fault,) = models(gpt=model("gtp"))
    assert (fault.path, fault.hint) == (("models", "gpt", "fallbacks", "any", 0), "add it under `models`")
    (fault,) = models(large=model("smal"), small=model())
    assert fault.hint == "did you mean `small`?"
    assert models(**{"a": model("gpt-5"), "gpt-*": model()}) == []


def test_fallbacks_to_itself_or_twice_are_refused() -> None:
    assert [fault.message for fault in models(a=model("a"))] == ["a model cannot fall back to itself"]
    assert [fault.message for fault in models(a=model("b", "b"), b=model())] == ["`b` is listed twice"]


def test_fallbacks_that_go_in_a_circle_are_refused() -> None:
    (fault,) = models(a=model("b"), b=model("c", kind="context_window"), c=model("a"))
    assert fault.path == ("models", "c", "fallbacks", "any", 0)
    assert fault.message == "fallbacks go round in a circle: a -> b -> c -> a"


def test_fallbacks_that_meet_again_are_no_circle() -> None:
    assert models(a=model("b", "c"), b=model("d"), c=model("d"), d=model()) == []


def test_a_long_chain_of_fallbacks_needs_no_stack() -> None:
    chain = {f"m{n}": model(f"m{n + 1}") for n in range(3000)} | {"m3000": model()}
    assert models(**chain) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12, unique=True))
def test_without_the_reported_fallbacks_there_is_no_circle(edges: list[tuple[int, int]]) -> None:
    listed = {n: [f"m{b}" for a, b in edges if a == n and b != n] for n in range(6)}
    faults = models(**{f"m{n}": model(*listed[n]) for n in range(6)})
    for fault in sorted(faults, key=lambda each: str(each.path), reverse=True):
        name, index = fault.path[1], fault.path[4]
        assert isinstance(name, str)
        assert isinstance(index, int)
        del listed[int(name[1:])][index]
    assert models(**{f"m{n}": model(*listed[n]) for n in range(6)}) == []


def test_a_cost_fallback_needs_a_cap() -> None:
    (fault,) = models(a=model("b", kind="cost_cap"), b=model())
    assert fault.message == "has no effect without `max_cost_usd`"


def test_limits_must_not_contradict_each_other() -> None:
    outages = cfg.Outages(breaker=cfg.Breaker(open_s=61), retry=cfg.Retry(backoff_s=9))
    assert [(fault.path, fault.message) for fault in rules.faults(cfg.Config(outages=outages))] == [
        (("outages", "breaker", "open_s"), "61 is more than `max_open_s`, 60"),
        (("outages", "retry", "backoff_s"), "9 is more than `max_backoff_s`, 8"),
    ]


def test_the_default_configuration_breaks_no_rule() -> None:
    assert rules.faults(cfg.Config()) == []

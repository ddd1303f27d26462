"""What the types of the section `alerts` cannot say."""

from __future__ import annotations

import pytest

from fairlead.config import parse
from fairlead.config.alert_rules import address_fault
from fairlead.errors import ConfigError


def problems(section: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse.parse(f"alerts: {section}\n", "fairlead.yaml")
    return caught.value.message


@pytest.mark.parametrize(
    "section",
    [
        "{}",
        "",
        "{receivers: {hook: {type: webhook, url: 'http://127.0.0.1:9/x', hmac_key: env:KEY}}}",
        "{receivers: {slack: {type: slack, url: env:SLACK}, pager: {type: pagerduty, routing_key: env:KEY}}}",
        "{rules: {slow: {kind: burn, signal: ttft, over_s: 2, by: [model, target], match: {model: gpt-*}}}}",
        "{rules: {spend: {kind: burn, signal: cost, budget_usd: 10, budget_period_s: 86400}}}",
        "{rules: {busy: {kind: threshold, metric: fairlead_in_flight, above: 10, for_s: 30}}}",
        "{rules: {drift: {kind: drift, method: e-detector}}, false_pages_per_month: 0.5}",
    ],
)
def test_what_is_right_is_taken(section: str) -> None:
    config = parse.parse(f"alerts: {section}\n", "fairlead.yaml")

    assert parse.parse(parse.dump(config), "again").alerts == config.alerts


def test_without_metrics_there_is_nothing_to_look_at() -> None:
    with pytest.raises(ConfigError, match="nothing to look at"):
        parse.parse("alerts: {}\ntelemetry: {metrics: false}\n", "fairlead.yaml")


def test_without_the_section_there_are_no_alerts() -> None:
    assert parse.parse("{}", "fairlead.yaml").alerts is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{rules: {a: {kind: burn}}}", "`signal` is missing"),
        ("{rules: {a: {kind: burn, signal: ttft}}}", "`over_s` is missing"),
        ("{rules: {a: {kind: burn, signal: errors, over_s: 1}}}", "has no effect on the signal `errors`"),
        ("{rules: {a: {kind: burn, signal: cost}}}", "`budget_usd` is missing"),
        ("{rules: {a: {kind: burn, signal: errors, budget_usd: 1}}}", "has no effect on the signal"),
        ("{rules: {a: {kind: burn, signal: budget, objective: 0.5}}}", "has no effect on the signal"),
        ("{rules: {a: {kind: burn, signal: errors, severity: page}}}", "each of the `windows` has its own"),
        ("{rules: {a: {kind: burn, signal: errors, windows: []}}}", "expected at least one pair"),
        (
            "{rules: {a: {kind: burn, signal: errors, windows: [{long_s: 5, short_s: 5, burn: 1}]}}}",
            "`short_s` must be less than `long_s`",
        ),
        ("{rules: {a: {kind: threshold, metric: m}}}", "expected one of `above` and `below`"),
        ("{rules: {a: {kind: threshold, metric: m, above: 1, below: 0}}}", "expected one of"),
        ("{rules: {a: {kind: threshold, metric: 'no name', above: 1}}}", "expected the name of a metric"),
        ("{rules: {a: {kind: trend}}}", "`over_s` is missing"),
        ("{rules: {a: {kind: outage, signal: ttft}}}", "has no effect on a rule of kind `outage`"),
        ("{rules: {a: {kind: outage, by: ['x y']}}}", "expected the name of a label"),
        ("{rules: {a: {kind: outage, match: {'x y': a}}}}", "expected the name of a label"),
        ("{rules: {'a b': {kind: outage}}}", "a rule's name"),
        ("{receivers: {'a b': {type: webhook, url: 'http://x/'}}}", "a receiver's name"),
        ("{receivers: {a: {type: webhook}}}", "`url` is missing"),
        ("{receivers: {a: {type: pagerduty}}}", "`routing_key` is missing"),
        ("{receivers: {a: {type: slack, url: 'https://hooks.slack.com/x'}}}", "it is a secret"),
        ("{receivers: {a: {type: webhook, url: 'http://x/?token=1'}}}", "a URL with a query"),
        ("{receivers: {a: {type: webhook, url: 'http://u:p@x/'}}}", "must not hold credentials"),
        ("{receivers: {a: {type: webhook, url: 'http://169.254.169.254/'}}}", "link-local"),
        ("{receivers: {a: {type: webhook, url: 'http://x/', routing_key: env:K}}}", "has no effect"),
        ("{receivers: {a: {type: slack, url: env:K, token: env:K}}}", "has no effect"),
        ("{group_by: ['a b']}", "expected the name of a label"),
        ("{dashboard_url: 'javascript:x'}", "begins with `http://`"),
    ],
)
def test_what_is_wrong_is_named(section: str, words: str) -> None:
    assert words in problems(section)


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://example.com/hook?token=1", True),
        ("http://10.0.0.1:9093", True),
        ("http://[fe80::1]/", False),
        ("http://metadata.google.internal./", False),
        ("ftp://example.com/", False),
        ("http://example.com:99999/", False),
        ("http://exam ple.com/", False),
        ("http://", False),
    ],
)
def test_addresses(url: str, good: bool) -> None:
    assert (address_fault(url) is None) is good

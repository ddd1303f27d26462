"""The section `alerts`: rules, receivers, and how notifications are sent."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from fairlead.config.kinds import Amount, Count, Seconds, Secret, Section, Share

AlertKind = Literal["burn", "threshold", "drift", "outage", "cache_bound", "limit", "trend"]
BurnSignal = Literal["ttft", "itl", "errors", "cost", "budget"]
Severity = Literal["page", "ticket"]


class BurnWindow(Section, frozen=True, kw_only=True):
    """A pair of windows: an alert needs the budget to burn this fast over both."""

    long_s: Annotated[Seconds, Meta(description="The long window: enough has burnt to matter.")]
    short_s: Annotated[Seconds, Meta(description="The short window: it still burns.")]
    burn: Annotated[
        float, Meta(gt=0, description="How many times faster than the objective allows the budget burns.")
    ]
    severity: Annotated[Severity, Meta(description="How urgent it is.")] = "page"


class AlertRule(Section, frozen=True, kw_only=True):
    """One rule. Which options it takes depends on its `kind`."""

    kind: Annotated[AlertKind, Meta(description="What it looks at.")]
    severity: Annotated[
        Severity | None, Meta(description="How urgent; for `burn` the windows say it; `page` when left out.")
    ] = None
    by: Annotated[
        list[str] | None,
        Meta(description="Labels to tell alerts apart by; each kind has its own when left out."),
    ] = None
    match: Annotated[
        dict[str, str], Meta(description="Only series with these labels; a `*` matches the rest.")
    ] = field(default_factory=dict)
    for_s: Annotated[Amount, Meta(description="How long it must hold before it fires.")] = 0.0
    keep_firing_s: Annotated[Amount, Meta(description="How long it must be over before it resolves.")] = 120.0
    signal: Annotated[BurnSignal | None, Meta(description="`burn`: what has the objective.")] = None
    objective: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="`burn`: the share that must be good; 0.99 when left out."),
    ] = None
    over_s: Annotated[
        Seconds | None,
        Meta(description="`burn`: slower than this is bad. `trend`: the gap that must not be reached."),
    ] = None
    budget_usd: Annotated[
        Amount | None, Meta(description="`burn` of `cost`: what may be spent in `budget_period_s`.")
    ] = None
    budget_period_s: Annotated[Seconds, Meta(description="`burn` of `cost`: the time it is meant for.")] = (
        2_592_000.0
    )
    windows: Annotated[
        list[BurnWindow] | None,
        Meta(description="`burn`: the pairs of windows; those of Google's SRE workbook when left out."),
    ] = None
    min_events: Annotated[
        Count, Meta(description="Fewer in the long window, or in the window, say nothing.")
    ] = 10
    metric: Annotated[
        str | None, Meta(description="`threshold`, `drift`, `cache_bound`: the name of a metric.")
    ] = None
    stat: Annotated[
        Literal["value", "rate", "mean", "p50", "p90", "p95", "p99"],
        Meta(description="`threshold`: a gauge's value, a rate per second, or of a histogram."),
    ] = "value"
    above: Annotated[float | None, Meta(description="`threshold`, `cache_bound`: it holds above this.")] = (
        None
    )
    below: Annotated[float | None, Meta(description="`threshold`: it holds below this.")] = None
    window_s: Annotated[
        Seconds, Meta(description="Of rates, quantiles, error shares; `trend`: all blocks together.")
    ] = 300.0
    error_share: Annotated[
        Share, Meta(description="`outage`: the share of failed calls that is an outage.")
    ] = 0.5
    method: Annotated[
        Literal["daily", "e-detector"],
        Meta(description="`drift`: tests within a day, or evidence added up over days."),
    ] = "daily"
    looks_per_day: Annotated[
        Count, Meta(description="`drift`: how often a day its p-value is looked at, at most.")
    ] = 6
    blocks: Annotated[
        int, Meta(ge=8, le=200, description="`trend`: the parts that `window_s` is cut into.")
    ] = 24
    horizon_s: Annotated[Seconds, Meta(description="`trend`: how far ahead `over_s` must be reached.")] = (
        21_600.0
    )


class AlertReceiver(Section, frozen=True, kw_only=True):
    """Where notifications go."""

    type: Annotated[
        Literal["webhook", "slack", "pagerduty", "alertmanager"], Meta(description="What it speaks.")
    ]
    url: Annotated[
        str | Secret | None,
        Meta(description="Where to; a secret for Slack; PagerDuty has a default; Alertmanager's base URL."),
    ] = None
    hmac_key: Annotated[Secret | None, Meta(description="`webhook`: signs each body.")] = None
    token: Annotated[
        Secret | None, Meta(description="`webhook`, `alertmanager`: a bearer token to send.")
    ] = None
    routing_key: Annotated[Secret | None, Meta(description="`pagerduty`: the integration's key.")] = None
    severities: Annotated[
        list[Severity] | None, Meta(description="Only alerts of these; all when left out.")
    ] = None
    timeout_s: Annotated[Seconds, Meta(description="Longest wait for an answer.")] = 10.0


class Alerts(Section, frozen=True, kw_only=True):
    """Pages before users notice. Off until the section is there; `alerts: {}` takes the default rules."""

    receivers: Annotated[
        dict[str, AlertReceiver], Meta(description="Where notifications go, by a name of their own.")
    ] = field(default_factory=dict)
    rules: Annotated[dict[str, AlertRule], Meta(description="Rules by a name of their own.")] = field(
        default_factory=dict
    )
    default_rules: Annotated[
        bool | None,
        Meta(description="Add the default rules; when left out, only where `rules` is empty."),
    ] = None
    false_pages_per_month: Annotated[
        float,
        Meta(gt=0, le=1000, description="False alarms that `drift` and `trend` rules may raise together."),
    ] = 2.0
    interval_s: Annotated[float, Meta(ge=0.1, le=3600, description="Time between two evaluations.")] = 15.0
    group_by: Annotated[
        list[str] | None,
        Meta(description="Labels that one notification has in common; `rule` when left out."),
    ] = None
    group_wait_s: Annotated[Amount, Meta(description="Wait of a new group for more alerts of its kind.")] = (
        10.0
    )
    repeat_s: Annotated[Seconds, Meta(description="Tell again after this time what still fires.")] = 14_400.0
    give_up_s: Annotated[
        Seconds, Meta(description="Time after which an undeliverable notification is set aside.")
    ] = 21_600.0
    dashboard_url: Annotated[str | None, Meta(description="What notifications link to.")] = None

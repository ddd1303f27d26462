"""Rules for Prometheus: what promtool says of them, and what they do to series of our own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.config.alert_options import AlertRule, Alerts, BurnWindow
from fairlead.telemetry.alerts.export.prometheus import document, range_of
from fairlead.telemetry.alerts.rules import compiled

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
PAIR = BurnWindow(long_s=600, short_s=120, burn=5)
RULES = {
    "errors": AlertRule(kind="burn", signal="errors", objective=0.9, windows=[PAIR]),
    "ttft": AlertRule(kind="burn", signal="ttft", over_s=0.9, objective=0.9, windows=[PAIR]),
    "itl": AlertRule(kind="burn", signal="itl", over_s=0.05),
    "spend": AlertRule(kind="burn", signal="cost", budget_usd=100.0),
    "budget": AlertRule(kind="burn", signal="budget"),
    "own-windows": AlertRule(kind="burn", signal="budget", windows=[PAIR]),
    "busy": AlertRule(kind="threshold", metric="fairlead_in_flight", above=100.0, for_s=60.0),
    "p95": AlertRule(
        kind="threshold", metric="fairlead_ttft_seconds", stat="p95", above=3.0, match={"model": 'g"p.t-*'}
    ),
    "mean": AlertRule(kind="threshold", metric="fairlead_ttft_seconds", stat="mean", above=3.0, by=["model"]),
    "quiet": AlertRule(kind="threshold", metric="fairlead_requests_total", stat="rate", below=0.1),
    "outage": AlertRule(kind="outage"),
    "limit": AlertRule(kind="limit", severity="ticket"),
    "cache": AlertRule(kind="cache_bound"),
    "drift": AlertRule(kind="drift"),
    "slower": AlertRule(kind="trend", over_s=0.05),
}


def promtool(*words: str, cwd: Path) -> str:
    done = subprocess.run(
        ["promtool", *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(directory: Path, rules: dict[str, AlertRule]) -> str:
    text = document(compiled(Alerts(rules=rules)), 2.0)
    (directory / "rules.yml").write_text(text)
    return text


@needs_promtool
@pytest.mark.parametrize("rules", [RULES, {}], ids=["every kind", "the default ones"])
def test_promtool_accepts_them(rules: dict[str, AlertRule], tmp_path: Path) -> None:
    written(tmp_path, rules)

    assert "SUCCESS" in promtool("check", "rules", "rules.yml", cwd=tmp_path)


def unit_test(tmp_path: Path, series: list[dict[str, str]], expected: list[dict[str, Any]]) -> None:
    """What fires when, by promtool's own evaluation."""
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": series, "alert_rule_test": expected}],
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    promtool("test", "rules", "tests.yml", cwd=tmp_path)


def alert(name: str, said: str, severity: str = "page", **labels: str) -> dict[str, Any]:
    return {
        "exp_labels": {"severity": severity, "rule": name, "source": "fairlead", **labels},
        "exp_annotations": {"summary": said},
    }


@needs_promtool
def test_errors_fire_while_they_burn_and_not_before(tmp_path: Path) -> None:
    written(tmp_path, {"errors": RULES["errors"]})
    at = 'fairlead_requests_total{model="m",endpoint="chat",status_class="2xx",outcome='
    # Ten minutes of health, then nothing but failures, then health.
    series = [
        {"series": at + '"ok"}', "values": "0+10x40 400+0x40 400+10x80"},
        {"series": at + '"failed"}', "values": "0+0x40 0+10x40 400+0x80"},
    ]
    burns = "errors: the budget burns at 10.0 times the rate that it lasts at (model m)"
    fires = [alert("errors", burns, model="m")]
    unit_test(
        tmp_path,
        series,
        [
            {"eval_time": "9m", "alertname": "fairlead-errors", "exp_alerts": []},
            {"eval_time": "20m", "alertname": "fairlead-errors", "exp_alerts": fires},
            {"eval_time": "30m", "alertname": "fairlead-errors", "exp_alerts": []},
        ],
    )


@needs_promtool
def test_slow_first_tokens_fire(tmp_path: Path) -> None:
    written(tmp_path, {"ttft": RULES["ttft"]})
    labels = 'model="m",target="t"'
    series = [
        {"series": f'fairlead_ttft_seconds_bucket{{{labels},le="1.0"}}', "values": "0+2x80"},
        {"series": f'fairlead_ttft_seconds_bucket{{{labels},le="+Inf"}}', "values": "0+10x80"},
        {"series": f"fairlead_ttft_seconds_count{{{labels}}}", "values": "0+10x80"},
    ]
    said = "ttft: the budget burns at 8.0 times the rate that it lasts at (model m)"
    unit_test(
        tmp_path,
        series,
        [{"eval_time": "15m", "alertname": "fairlead-ttft", "exp_alerts": [alert("ttft", said, model="m")]}],
    )


@needs_promtool
def test_outages_limits_bounds_and_thresholds_fire(tmp_path: Path) -> None:
    written(tmp_path, {name: RULES[name] for name in ("outage", "limit", "cache", "busy")})
    series = [
        {"series": 'fairlead_breaker_state{target="down"}', "values": "2x40"},
        {"series": 'fairlead_breaker_state{target="up"}', "values": "0x40"},
        {"series": 'fairlead_attempts_total{target="bad",reason="timeout"}', "values": "0+9x40"},
        {"series": 'fairlead_attempts_total{target="bad",reason="ok"}', "values": "0+3x40"},
        {"series": 'fairlead_attempts_total{target="limited",reason="rate_limited"}', "values": "0+9x40"},
        {"series": 'fairlead_limit_warning{limit="acme/usd:day"}', "values": "0.8x40"},
        {"series": 'fairlead_cache_false_hit_upper95{model="m"}', "values": "0.05x40"},
        {"series": 'fairlead_cache_false_hit_upper95{model="new"}', "values": "1x40"},
        {"series": "fairlead_in_flight", "values": "150x40"},
    ]
    down = "outage: the target is down, or most calls to it fail (target {})"
    expected = {
        "outage": [alert("outage", down.format(name), target=name) for name in ("bad", "down")],
        "limit": [
            alert(
                "limit",
                "limit: 80% of the limit are reached (limit acme/usd:day)",
                "ticket",
                limit="acme/usd:day",
            )
        ],
        "cache": [alert("cache", "cache: up to 5% of the cached answers may be wrong (model m)", model="m")],
        "busy": [alert("busy", "busy: fairlead_in_flight is 150")],
    }
    unit_test(
        tmp_path,
        series,
        [
            {"eval_time": "8m", "alertname": f"fairlead-{name}", "exp_alerts": alerts}
            for name, alerts in expected.items()
        ],
    )


@needs_promtool
def test_a_slow_rise_fires_before_the_objective_is_broken(tmp_path: Path) -> None:
    rule = AlertRule(kind="trend", over_s=0.1, window_s=3600.0, blocks=24, horizon_s=21_600.0)
    written(tmp_path, {"slower": rule})
    # 100 gaps a minute; the first two hours 20 ms each, then 4 ms more with each quarter of an hour.
    total, gap, sums = 0.0, 0.02, []
    for minute in range(240):
        if minute > 120 and minute % 15 == 0:
            gap += 0.004
        total += 100 * gap
        sums.append(f"{total:.3f}")
    series = [
        {"series": 'fairlead_itl_seconds_sum{model="m",target="t"}', "values": " ".join(sums)},
        {"series": 'fairlead_itl_seconds_count{model="m",target="t"}', "values": "0+100x239"},
    ]
    firing = 'count(ALERTS{alertname="fairlead-slower"}) or vector(0)'
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {"expr": firing, "eval_time": at, "exp_samples": [{"value": value}]}
                    for at, value in (("100m", 0), ("239m", 1))
                ],
            }
        ],
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    promtool("test", "rules", "tests.yml", cwd=tmp_path)


def test_every_kind_has_a_rule_and_names_are_quoted() -> None:
    text = document(compiled(Alerts(rules=RULES)), 2.0)
    groups = yaml.safe_load(text)["groups"]

    assert {group["name"] for group in groups} == {f"fairlead-{name}" for name in RULES}
    (expr,) = [
        rule["expr"] for group in groups for rule in group["rules"] if rule.get("alert") == "fairlead-p95"
    ]
    assert r'model=~"g\"p\\.t\\-.*"' in expr


@pytest.mark.parametrize(
    ("seconds", "text"), [(300, "5m"), (3600, "1h"), (259_200, "3d"), (90, "90s"), (0.25, "250ms")]
)
def test_ranges(seconds: float, text: str) -> None:
    assert range_of(seconds) == text


def test_the_rules_that_are_shipped_are_what_the_command_writes() -> None:
    shipped = Path(__file__).resolve().parents[5] / "docs" / "examples" / "prometheus-rules.yaml"

    assert shipped.read_text(encoding="utf-8") == document(compiled(Alerts()), 2.0)

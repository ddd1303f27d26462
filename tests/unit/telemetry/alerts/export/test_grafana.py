"""Dashboards: what Grafana needs of them, and that they ask for metrics there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fairlead.config.alert_options import AlertRule, Alerts
from fairlead.telemetry.alerts.export.grafana import dashboards
from fairlead.telemetry.alerts.rules import compiled
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import COUNTERS, GAUGES

ROOT = Path(__file__).resolve().parents[5]
SHIPPED = ROOT / "docs" / "examples" / "grafana"


def panels() -> list[Any]:
    made = dashboards(compiled(Alerts()))
    return [
        pytest.param(panel, id=f"{name} {panel['title']}")
        for name, board in made.items()
        for panel in board["panels"]
    ]


@pytest.mark.parametrize("name", ["fairlead-users.json", "fairlead-gateway.json"])
def test_a_dashboard_has_what_grafana_imports(name: str) -> None:
    board = dashboards(compiled(Alerts()))[name]

    assert board["id"] is None
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", board["uid"])
    assert board["title"]
    assert board["schemaVersion"] >= 36
    assert {"from", "to"} <= board["time"].keys()
    assert {variable["name"] for variable in board["templating"]["list"]} >= {"source"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("panel", panels())
def test_a_panel_asks_for_metrics_that_there_are(panel: dict[str, Any]) -> None:
    known = {*GAUGES, *COUNTERS, *(family.name for family in Metrics().families())}
    known |= {name + suffix for name in known for suffix in ("_bucket", "_sum", "_count")}

    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        names = set(re.findall(r"\bfairlead_[a-z_0-9]+", target["expr"]))
        assert names
        assert names <= known


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_every_query_is_promql(tmp_path: Path) -> None:
    """Checked as recording rules, with Grafana's variables filled in."""
    rules = []
    for parameter in panels():
        for target in parameter.values[0]["targets"]:
            expr = target["expr"].replace("$__rate_interval", "5m").replace("$model", ".*")
            rules.append({"record": f"check:{len(rules)}", "expr": expr})
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))

    done = subprocess.run(
        ["promtool", "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_strictest_objective_is_drawn() -> None:
    rules = {
        "a": AlertRule(kind="burn", signal="ttft", over_s=2.0),
        "b": AlertRule(kind="burn", signal="ttft", over_s=1.0),
    }
    board = dashboards(compiled(Alerts(rules=rules)))["fairlead-users.json"]
    (panel,) = [one for one in board["panels"] if one["title"] == "Time to first token"]

    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] == 1.0


@pytest.mark.parametrize("name", ["fairlead-users.json", "fairlead-gateway.json"])
def test_those_that_are_shipped_are_what_the_command_writes(name: str) -> None:
    shipped = json.loads((SHIPPED / name).read_text(encoding="utf-8"))

    assert shipped == dashboards(compiled(Alerts()))[name], (
        "fairlead alerts export --grafana docs/examples/grafana"
    )

"""Rows, tables and promises of the fairness experiments."""

from __future__ import annotations

import msgspec

from fairlead.limits.simulate_report import Row, promises, rows, table, verdict
from fairlead.limits.simulate_workloads import WORKLOADS

OVERLOAD = WORKLOADS["overload"]


def test_a_row_tells_what_happened() -> None:
    (row,) = rows(OVERLOAD, ["RPM 20"])
    assert row.service == (92_160, 92_160)
    assert row.per_second == 512
    assert row.ratio == 1
    assert row.of_fcfs < 0.31
    assert (row.first_lost, row.first_asked, row.refused) == (420, 540, 1380)
    assert row.first_served
    assert 1 < row.first_p50_s < row.first_p99_s < 5


def test_waits_that_did_not_end_are_lower_bounds_and_say_so() -> None:
    (row,) = rows(OVERLOAD, ["FCFS"])
    assert not row.first_served
    assert row.first_lost > 200
    line = next(line for line in table(OVERLOAD, [row]).splitlines() if line.startswith("FCFS"))
    assert f">{row.first_p99_s:.1f}" in line


def test_a_table_has_a_line_for_each_policy_in_columns() -> None:
    found = rows(WORKLOADS["overload-weighted"], ["FCFS", "VTC"])
    lines = table(WORKLOADS["overload-weighted"], found).splitlines()
    assert lines[0] == f"overload-weighted: {WORKLOADS['overload-weighted'].about}"
    assert "c4 1.6/s (weight 4)" in lines[1]
    head, *body = lines[3:]
    assert head.startswith("policy")
    assert [line.split()[0] for line in body] == ["FCFS", "VTC"]
    assert len({line.index("%") for line in body}) == 1


def test_promises_are_judged_by_what_was_found() -> None:
    good = rows(OVERLOAD, ["gateway, tuned"]) + rows(WORKLOADS["flood"], ["gateway, tuned"])
    assert [one.kept for one in promises(good)] == [True] * 4
    assert "BROKEN" not in verdict(promises(good))
    bad: list[Row] = [
        msgspec.structs.replace(good[0], ratio=1.06, of_fcfs=0.98),
        msgspec.structs.replace(good[1], first_served=False, first_lost=1),
    ]
    assert [one.kept for one in promises(bad)] == [False] * 4
    assert verdict(promises(bad)).count("BROKEN") == 4


def test_without_the_promised_workloads_nothing_is_promised() -> None:
    assert promises(rows(WORKLOADS["increase"], ["VTC"])) == []
    assert verdict([]) == ""

"""An anatomy as text."""

from __future__ import annotations

from tests.unit.telemetry.records import record

from fairlead.cli.waterfall import waterfall
from fairlead.telemetry.anatomy import anatomy
from fairlead.types import Attempt


def test_bars_follow_each_other_and_end_with_the_whole() -> None:
    attempt = Attempt(target="lab/a", started_s=0.25, ended_s=0.75)
    shown = waterfall(anatomy(record(duration_s=1.0, queue_s=0.25, overhead_s=0.0, attempts=(attempt,))))

    assert shown.splitlines() == [
        "PART                   TIME   SHARE  (the engine says nothing)",
        "gateway queue    250.000 ms   25.0%  |##########                              |",
        "upstream         500.000 ms   50.0%  |          ####################          |",
        "gateway          250.000 ms   25.0%  |                              ##########|",
    ]


def test_a_request_that_took_no_time_has_none() -> None:
    assert waterfall(anatomy(record(duration_s=0.0, attempts=()))) == ""

"""What semantic metrics show, as metrics and in the control API."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from tests.unit.gateway.test_signal_work import bench
from tests.unit.signals.test_db import outcome

from fairlead.config import Signals as Options
from fairlead.errors import NotFound
from fairlead.gateway.admin_signals import WindowsQuery, signals_view, windows
from fairlead.gateway.sampling import Sampling
from fairlead.gateway.signal_readings import MOST, drift_readings, signal_readings
from fairlead.gateway.signals_opened import Signals
from fairlead.signals.board import Policy
from fairlead.signals.dispersion import dispersion
from fairlead.signals.features import Features
from fairlead.signals.lab import Lab
from fairlead.signals.repetition import Repetition
from fairlead.signals.tally import Tally
from fairlead.telemetry.metrics.readings import families_of


def filled(tally: Tally) -> Tally:
    loop = Repetition(zlib_ratio=0.01, run_share=0.9, tail_period=1)
    tally.measured("m", Features(refusal="policy", truncated=True, repetition=loop))
    tally.measured("m", Features(format="valid", calls=("invalid", "valid"), grounding=0.5))
    tally.measured("m", Features(languages=("en", "nl"), mismatch=True, grounding=0.25))
    tally.dispersed("m", dispersion(["a", "a", "b", "c"]))
    tally.reask_microusd[("m",)] += 1500
    tally.stored[("kept",)] += 7
    return tally


def test_every_count_is_a_metric() -> None:
    readings = list(signal_readings(filled(Tally()), {("m", "large"): 2}))

    found = {(reading.name.removeprefix("fairlead_"), *reading.labels): reading.value for reading in readings}
    assert found == {
        ("signals_sampled_total", "measured", "m"): 3,
        ("signals_sampled_total", "large", "m"): 2,
        ("refusals_total", "policy", "m"): 1,
        ("answers_truncated_total", "m"): 1,
        ("answers_degenerate_total", "m"): 1,
        ("answers_validity_total", "format", "valid", "m"): 1,
        ("answers_validity_total", "tool_call", "invalid", "m"): 1,
        ("answers_validity_total", "tool_call", "valid", "m"): 1,
        ("answers_language_total", "mismatch", "m"): 1,
        ("grounding_answers_total", "m"): 2,
        ("grounding_score_total", "m"): 0.75,
        ("consistency_questions_total", "measured", "m"): 1,
        ("consistency_score_total", "m"): 0.5,
        ("consistency_usd_total", "m"): 0.0015,
        ("signals_items_total", "kept"): 7,
    }
    assert list(families_of(readings))  # all of them are known by name


def test_names_that_clients_invent_do_not_make_series_without_end() -> None:
    tally = Tally()
    for number in range(MOST + 500):
        tally.measured(f"m{number}", Features(truncated=True))

    readings = [reading for reading in signal_readings(tally, {}) if reading.name.endswith("truncated_total")]

    assert len(readings) == MOST + 1
    assert readings[-1].labels == ("other",)
    assert sum(reading.value for reading in readings) == MOST + 500


def test_comparisons_are_gauges_that_alert_rules_read() -> None:
    found = {reading.name: (reading.labels, reading.value) for reading in drift_readings([outcome(1)])}

    assert found["fairlead_drift_p_value"] == (("prompt", "m"), 0.002)
    assert found["fairlead_drift_score"][1] > 1
    assert list(families_of(drift_readings([outcome(1)])))


def test_the_control_api_shows_it() -> None:
    async def main() -> None:
        async with bench() as made:
            sampling = Sampling(Options(), roll=lambda: 0.0, offer=made.work.offer)
            sampling.skipped["m", "large"] += 2
            filled(made.work.tally)
            await made.store.finish(outcome(1))
            signals = Signals(sampling, made.work, None, cast(Lab, made.lab), made.store, Policy(), None)

            view = await signals_view(signals)

            counts = {(one.what, one.kind): one.count for one in view.counts}
            assert counts["sampled", "large"] == 2
            assert counts["refusal", "policy"] == 1
            assert counts["tool_call", "invalid"] == 1
            assert counts["truncated", ""] == 1
            assert {one.what: (one.answers, one.mean) for one in view.scores} == {
                "grounding": (2, 0.375),
                "consistency": (1, 0.5),
            }
            (window,) = view.last
            assert (window.alarm, window.matched, window.share) == (True, "hour of day", 0.2)
            assert [example.id for example in window.examples] == ["a", "b"]
            assert (await windows(signals, WindowsQuery(model="m"))).data == (window,)
            assert (await windows(signals, WindowsQuery(model="n"))).data == ()
            assert [reading for reading in signals.readings() if reading.name == "fairlead_signals_waiting"]

    asyncio.run(main())


def test_without_the_section_there_is_nothing() -> None:
    async def main() -> None:
        assert not (await signals_view(None)).enabled
        with pytest.raises(NotFound, match="turned off"):
            await windows(None, WindowsQuery())

    asyncio.run(main())

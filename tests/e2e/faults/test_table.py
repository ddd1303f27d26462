"""Every row of the fault table, in each of its dialects, against a real gateway process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.faults.page import WRITING, Page, read_page, row_of
from tests.e2e.faults.play import CASES, Case, Seen, play
from tests.e2e.faults.scenarios import SCENARIOS, Scenario
from tests.e2e.faults.stories import ORDER

Played = dict[str, Seen | BaseException]


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What came of the rows that this run has selected, played side by side."""
    selected: set[str] = set()
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.module is request.module:
            parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
            if "case" in parameters:
                selected.add(parameters["case"].id)
            elif "scenario" in parameters:
                selected |= {case.id for case in CASES if case.scenario is parameters["scenario"]}
    directory: Path = tmp_path_factory.mktemp("faults")
    return asyncio.run(play([case for case in CASES if case.id in selected], directory))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_client_sees_what_the_table_says(case: Case, played: Played) -> None:
    seen = seen_in(played, case)
    scenario = case.scenario
    least, most = scenario.within_s
    assert (seen.saw, seen.attempts, seen.outcome, seen.breaker) == (
        scenario.expected(case.shape),
        scenario.attempts,
        scenario.outcome,
        scenario.breaker,
    )
    assert least <= seen.waited_s <= most


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_page_says_what_the_client_sees(scenario: Scenario, played: Played, page: Page) -> None:
    cases = [case for case in CASES if case.scenario is scenario]
    page.show(row_of(scenario, {case.shape: seen_in(played, case) for case in cases}))


def test_the_page_has_these_rows_and_no_others() -> None:
    assert len(set(ORDER)) == len(ORDER) >= 30
    if not WRITING:  # else this run is about to replace it
        assert list(read_page()) == ORDER


def seen_in(played: Played, case: Case) -> Seen:
    seen = played[case.id]
    if isinstance(seen, BaseException):
        raise seen
    return seen

"""Every attack of the corpus is stopped by its rule, and its twin passes."""

from __future__ import annotations

import pytest
from tests.unit.vault.ingest.corpus import Case, cases

from fairlead.vault.ingest.inspection import inspect
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.verdict import Verdict
from fairlead.vault.ingest.window import memory_window

CASES = cases()


def _inspect(name: str, data: bytes) -> Verdict:
    return inspect(memory_window(data), name, Limits())


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 150
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_attack_is_stopped(case: Case) -> None:
    verdict = _inspect(case.file, case.bad)

    assert verdict.decision != "accepted", case.id
    assert case.rule in {one.rule for one in verdict.findings}, verdict


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_twin_passes(case: Case) -> None:
    verdict = _inspect(case.twin_file or case.file, case.twin)

    assert verdict.decision == case.twin_decision, verdict


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.rule.startswith("pickle-global")], ids=lambda c: c.id
)
def test_an_unlisted_name_is_never_open_to_approval(case: Case) -> None:
    assert _inspect(case.file, case.bad).decision == "refused"

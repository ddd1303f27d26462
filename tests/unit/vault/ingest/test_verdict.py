"""Approvals lift what they name, on the bytes they name, and nothing else."""

from __future__ import annotations

import pytest

from fairlead.errors import IngestRefused, Quarantined
from fairlead.vault.ingest.verdict import (
    MAX_FINDINGS,
    Approval,
    FileVerdict,
    Report,
    TreeVerdict,
    Verdict,
    approve,
    finding,
    require_accepted,
    strictest,
)

HELD = Verdict(kind="hdf5", decision="quarantined", findings=(finding("hdf5", "", "x"),), sha256="ab")
BOTH = Verdict(
    kind="x",
    decision="quarantined",
    findings=(finding("hdf5", "", "x"), finding("code", "", "y")),
    sha256="ab",
)


def _approval(rule: str = "hdf5", sha256: str = "ab", by: str = "ann") -> Approval:
    return Approval(rule=rule, sha256=sha256, by=by, reason="checked")


def test_an_approval_lifts_its_rule() -> None:
    lifted = approve(HELD, [_approval()])

    assert lifted.decision == "accepted"
    assert [one.approved_by for one in lifted.findings] == ["ann"]
    require_accepted(lifted, "m.h5")


@pytest.mark.parametrize("approval", [_approval(rule="code"), _approval(sha256="cd"), _approval(by="")])
def test_an_approval_of_something_else_lifts_nothing(approval: Approval) -> None:
    assert approve(HELD, [approval]).decision == "quarantined"


def test_a_verdict_without_a_digest_cannot_be_approved() -> None:
    unread = Verdict(kind="x", decision="quarantined", findings=HELD.findings)

    assert approve(unread, [_approval(sha256="")]).decision == "quarantined"


def test_every_rule_needs_its_own() -> None:
    assert approve(BOTH, [_approval()]).decision == "quarantined"
    assert approve(BOTH, [_approval(), _approval(rule="code")]).decision == "accepted"


def test_a_refusal_cannot_be_approved() -> None:
    refused = Verdict(
        kind="x", decision="refused", findings=(finding("pickle-global", "", "x"),), sha256="ab"
    )

    assert approve(refused, [_approval(rule="pickle-global")]) == refused


def test_the_error_names_the_place_the_reason_and_the_way_on() -> None:
    with pytest.raises(Quarantined, match=r"m is quarantined: : x \(hdf5\), and 1 more") as caught:
        require_accepted(BOTH, "m")
    assert caught.value.hint == "to let it in, approve: code, hdf5"

    tree = TreeVerdict(decision="refused", files=(FileVerdict(path="a/b", verdict=Verdict(kind="x", decision="refused", findings=(finding("polyglot", "end", "x"),))),))  # fmt: skip  # noqa: E501  # one value
    with pytest.raises(IngestRefused, match=r"m is refused: a/b: end: x \(polyglot\)"):
        require_accepted(tree, "m")


def test_the_strictest_decides() -> None:
    assert strictest([]) == "accepted"
    assert strictest(["accepted", "quarantined"]) == "quarantined"
    assert strictest(["quarantined", "refused", "accepted"]) == "refused"


def test_a_flood_of_mild_findings_does_not_hide_a_refusal() -> None:
    report = Report()
    for number in range(MAX_FINDINGS + 10):
        report.add("code", str(number), "x")
    report.add("polyglot", "", "x")

    assert len(report.findings) == MAX_FINDINGS
    assert report.decision == "refused"

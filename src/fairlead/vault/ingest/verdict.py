"""What the gate says about a file: its kind, a decision, and the findings behind it.

A finding belongs to a rule of `rules.RULES`. Refusing rules are final; a
quarantining rule can be lifted by an `Approval`, which names the rule and the
digest of the exact bytes, so that it never carries over to another file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from fairlead.errors import IngestRefused, Quarantined
from fairlead.vault.ingest.rules import RULES

Decision = Literal["accepted", "quarantined", "refused"]
MAX_FINDINGS = 64
"""Of one file. More say nothing new, and a hostile file could have millions."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One reason against a file."""

    rule: str
    decision: Decision
    where: str
    """The place inside the file: an archive member, an offset, a key."""
    why: str
    remedy: str
    approved_by: str = ""
    """Who lifted it; empty when nobody did."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate decided about one file."""

    kind: str
    decision: Decision
    findings: tuple[Finding, ...] = ()
    size_bytes: int = 0
    sha256: str = ""
    """Of the bytes inspected; what is sealed later must have it too. Empty when some were not read."""
    refers_to: tuple[str, ...] = ()
    """Files beside it that this one reads: shards, external tensors."""


class FileVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a folder."""

    path: str
    """Relative to the folder, `/` between segments."""
    verdict: Verdict


class TreeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate decided about a folder: the strictest of its files' decisions and its own findings."""

    decision: Decision
    files: tuple[FileVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's word that a quarantined file may pass."""

    rule: str
    sha256: str
    by: str
    reason: str


class Stopped(Exception):
    """A reader met what it must not pass over; carries the one finding. Never leaves the gate."""

    def __init__(self, rule: str, where: str, why: str) -> None:
        super().__init__(f"{rule}: {where}: {why}")
        self.finding = finding(rule, where, why)


class Report:
    """Findings of one file as its readers add them."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.refers_to: list[str] = []

    def add(self, rule: str, where: str, why: str) -> None:
        """Note a finding; the same rule at the same place counts once."""
        self.add_finding(finding(rule, where, why))

    def add_finding(self, one: Finding) -> None:
        """Note a finding that was made elsewhere."""
        if len(self.findings) >= MAX_FINDINGS:
            # The strictest must not be lost among many mild ones.
            if one.decision == "refused" and self.decision != "refused":
                self.findings[-1] = one
        elif all((one.rule, one.where) != (other.rule, other.where) for other in self.findings):
            self.findings.append(one)

    @property
    def decision(self) -> Decision:
        """The strictest of the findings so far."""
        return strictest(one.decision for one in self.findings)


def finding(rule: str, where: str, why: str) -> Finding:
    """A finding of a rule in the table."""
    known = RULES[rule]
    return Finding(
        rule=rule,
        decision="refused" if known.refuses else "quarantined",
        where=where[:300],
        why=why[:500],
        remedy=known.remedy,
    )


def refusal(kind: str, rule: str, where: str, why: str) -> Verdict:
    """A verdict of one finding; refused, or quarantined where the rule says so."""
    one = finding(rule, where, why)
    return Verdict(kind=kind, decision=one.decision, findings=(one,))


def strictest(decisions: Iterable[Decision]) -> Decision:
    """The strictest of some decisions; nothing against it is `accepted`."""
    found = set(decisions)
    if "refused" in found:
        return "refused"
    return "quarantined" if "quarantined" in found else "accepted"


def shown(text: object, limit: int = 80) -> str:
    """Untrusted text for a message: one line, ASCII, short."""
    quoted = ascii(text) if isinstance(text, str | bytes | int) else type(text).__name__
    return quoted if len(quoted) <= limit else quoted[: limit - 3] + "..."


def approve(verdict: Verdict, approvals: Iterable[Approval]) -> Verdict:
    """The verdict with approvals applied.

    An approval counts for its rule on its digest only. Refusals stay, and so
    does a quarantine of which one rule is not approved.
    """
    by = {one.rule: one.by for one in approvals if one.sha256 == verdict.sha256 and verdict.sha256 and one.by}
    findings = tuple(
        msgspec.structs.replace(one, approved_by=by[one.rule])
        if one.decision == "quarantined" and one.rule in by
        else one
        for one in verdict.findings
    )
    if verdict.decision != "quarantined":
        return verdict
    decision = strictest(one.decision for one in findings if not one.approved_by)
    return msgspec.structs.replace(verdict, findings=findings, decision=decision)


def require_accepted(verdict: Verdict | TreeVerdict, name: str) -> None:
    """Pass only what is accepted.

    Raises:
        IngestRefused: the file or folder is refused.
        Quarantined: it waits for an approval; the hint says of which rules.
    """
    if verdict.decision == "accepted":
        return
    places = [("", one) for one in verdict.findings]
    if isinstance(verdict, TreeVerdict):
        places += [(f"{file.path}: ", one) for file in verdict.files for one in file.verdict.findings]
    against = [
        (place, one) for place, one in places if one.decision == verdict.decision and not one.approved_by
    ]
    place, first = against[0] if against else ("", None)
    why = f"{place}{first.where}: {first.why} ({first.rule})" if first else "no reason was given"
    more = f", and {len(against) - 1} more" if len(against) > 1 else ""
    if verdict.decision == "quarantined":
        rules = ", ".join(sorted({one.rule for _, one in against}))
        raise Quarantined(f"{name} is quarantined: {why}{more}", hint=f"to let it in, approve: {rules}")
    raise IngestRefused(f"{name} is refused: {why}{more}", hint=first.remedy if first else None)

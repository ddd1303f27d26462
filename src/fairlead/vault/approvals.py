"""The second person: who approved what, for whom, and how long that counts.

An approval is bound to the operation, the reference or tenant, the digest of
what is to happen (a version's model digest, or the new rules'), and the one
who asked. It is made by another principal, expires, and is good once: whoever
acts on a decision consumes the approvals that the decision names. Whether the
approver may approve is not kept here but asked of the rules at the time of
use, so that who has lost the right has lost its approvals too. Pure.
"""

from __future__ import annotations

import msgspec

from fairlead.vault.principal import Principal


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """One person's yes."""

    id: str
    by: Principal
    requester: str
    """The principal's id that it was given to."""
    operation: str
    target: str
    """The reference, or the tenant, as text."""
    digest: str
    made_at: float
    expires_at: float
    """Unix seconds."""


def why_not(
    approval: Approval, principal: Principal, operation: str, target: str, digest: str, now: float
) -> str | None:
    """Why an approval does not count for this; None when it does."""
    if approval.operation != operation or approval.target != target:
        return "it is for something else"
    if not digest or approval.digest != digest:
        return "it is for other contents"
    if approval.requester != principal.id:
        return "it was given to somebody else"
    if approval.by.is_same_person(principal):
        return "nobody approves what he asks for himself"
    if not approval.made_at <= now < approval.expires_at:
        return "it is not valid at this time"
    return None

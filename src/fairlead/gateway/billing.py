"""What one attempt used and what that costs, however it ended.

A provider bills what it has read and written, whether or not anybody got the
answer. What it reports counts. Where it could not report any more, because the
stream was cut, the client left or the attempt was given up, the prompt is
estimated and the answer counted by its events, one of which is about a token;
the attempt says so (`usage_estimated`). An attempt that was refused, or that
failed before the upstream took it on, used nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.gateway.attempt import UpstreamCall
from fairlead.telemetry.billing.cost import cost_microusd
from fairlead.types import Failure, FailureKind, Usage

_WORKED: Final = frozenset({FailureKind.CUT, FailureKind.TIMEOUT, FailureKind.TOO_SLOW})
"""Failures after which an upstream that had accepted the request has worked for it."""


def answered(call: UpstreamCall, chunks: int) -> tuple[Usage | None, bool]:
    """What an attempt used whose answer has begun, and whether that was counted here.

    Args:
        call: the attempt.
        chunks: its content events that were seen.
    """
    glimpse = call.glimpse
    usage = glimpse.usage
    if usage is None:
        if chunks and not call.verbatim:
            return Usage(input_tokens=call.prompt_tokens(), output_tokens=chunks), True
        if call.counts_prompt and glimpse.ended:
            return Usage(input_tokens=call.prompt_tokens()), True
        return None, False
    if not glimpse.ended and usage.output_tokens < chunks:
        # Dialects that count the prompt in their first event count the answer in their last.
        return msgspec.structs.replace(usage, output_tokens=chunks), True
    return usage, False


def unanswered(
    call: UpstreamCall, failure: Failure | None, reported: Usage | None
) -> tuple[Usage | None, bool]:
    """What an attempt used that came to nothing, and whether that was counted here.

    Args:
        call: the attempt.
        failure: how it ended; None when nobody wanted it any more.
        reported: what a whole answer that could not be used has reported.
    """
    if reported is not None:
        return reported, False
    if failure is not None and failure.status is not None:
        return None, False  # an answer that says no
    glimpse = getattr(call, "glimpse", None)
    if glimpse is not None and (glimpse.usage is not None or glimpse.chunks):
        return answered(call, glimpse.chunks)
    worked = call.sent if failure is None else call.headers and failure.kind in _WORKED
    if worked and not call.verbatim:
        return Usage(input_tokens=call.prompt_tokens()), True
    return None, False


def cost_of(call: UpstreamCall, failure: Failure | None, usage: Usage | None) -> int | None:
    """What the attempt cost, in micro-dollars; None where nobody knows."""
    if call.prices is None:
        return None
    if usage is None:
        return 0 if failure is not None else None
    return cost_microusd(usage, call.prices)

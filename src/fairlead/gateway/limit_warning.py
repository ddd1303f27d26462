"""What happens when a limit reaches one of its `warn_at`: a line in the log, and word to the alerts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from fairlead.limits.quota import What
from fairlead.limits.warn import Crossing
from fairlead.telemetry.alerts.watch import LimitWatch

_log: Final = logging.getLogger(__name__)

_RATE_S: Final = 60.0
"""How long a warning of a rate or of places is shown; a budget's lasts until its window ends."""


def warner(watch: LimitWatch, clock: Callable[[], float] = time.time) -> Callable[[Crossing], None]:
    """What the limiter is to call with each crossing. Quick, and does not fail."""

    def warn(crossing: Crossing) -> None:
        state, limit, now = crossing.state, crossing.state.limit, clock()
        _log.warning(
            "a limit is nearly used up",
            extra={
                "limit": limit.id,
                "fraction": crossing.fraction,
                "used": state.used + state.reserved,
                "amount": limit.amount,
            },
        )
        until = state.resets_at if limit.what is What.USD and state.resets_at else now + _RATE_S
        watch.crossed(limit.id, crossing.fraction, until, now)

    return warn

"""Which requests semantic metrics look at, and what the request path holds of them.

Decided when a request has found its route: by chance, by the model's share,
and within a number a minute. Then the pieces of the answer are held as they
are sent, up to a bound, and handed on at the end. Nothing here waits, fails a
request or changes it; what is too large or too much is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from fairlead import config as cfg
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.sample import Sample
from fairlead.limits.tree import DEFAULT_TENANT
from fairlead.providers.kept import STREAMED
from fairlead.signals.questions import Sampled
from fairlead.types import Outcome

_SESSION: Final = b"x-fairlead-session"
_LONGEST_SESSION: Final = 200


class Sampling:
    """The choice of requests, under one configuration."""

    def __init__(
        self, options: cfg.Signals, *, roll: Callable[[], float], offer: Callable[[Sampled], None]
    ) -> None:
        """Prepare.

        Args:
            options: the section `signals`.
            roll: a random number in [0, 1) at each call.
            offer: takes what was sampled, without waiting.
        """
        self._share = options.sample
        self._shares = options.models
        self._most = options.max_per_minute
        self._max_bytes = options.max_content_bytes
        self._roll = roll
        self._offer = offer
        self._minute = 0
        self._taken = 0
        self.skipped: Counter[tuple[str, ...]] = Counter()
        """Sampled requests that were not looked at: by model and reason."""

    def begin(self, ex: Exchange) -> None:
        """Hold this request's answer, if chance says so."""
        if ex.api.name not in STREAMED or self._roll() >= self._shares.get(ex.model, self._share):
            return
        minute = int(ex.started_at // 60)
        if minute != self._minute:
            self._minute, self._taken = minute, 0
        if self._taken >= self._most:
            self.skipped[ex.model, "rate"] += 1
        elif len(ex.body) > self._max_bytes:
            self.skipped[ex.model, "large"] += 1
        else:
            self._taken += 1
            sample = ex.sample = Sample(self._max_bytes, ex.call.tap)
            ex.call.tap = sample.take

    def end(self, ex: Exchange) -> None:
        """The request has ended: hand on what was held."""
        sample, ex.sample = ex.sample, None
        if sample is None or ex.outcome is not Outcome.OK:
            return  # only what a client got as an answer is one
        if sample.pieces is None:
            self.skipped[ex.model, "large"] += 1
            return
        session = ex.call.head.headers.get(_SESSION, b"")[:_LONGEST_SESSION]
        self._offer(
            Sampled(
                id=ex.id,
                at=ex.started_at,
                model=ex.model,
                tenant=ex.tenant or DEFAULT_TENANT,
                key_id=ex.key_id,
                api=ex.api.name,
                stream=ex.stream,
                request=ex.body,
                answer=b"".join(sample.pieces),
                session=session.decode("latin-1"),
                trace=ex.trace.parent() if ex.trace is not None else "",
                cost_microusd=ex.cost_microusd(),
            )
        )

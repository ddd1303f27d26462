"""One call to one target: from the prepared request to its first committed bytes.

`ask` returns once the upstream has shown that it answers: a whole body, or a
stream that has delivered its first tokens. Before that everything that goes
wrong is an `AttemptFailed` and costs the client nothing but time; after it
the relay passes bytes on and a failure is told in-band.

An `UpstreamCall` holds all that one attempt knows. From `ask` on it owns a
connection, which `gateway.dispatch` releases or aborts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fairlead.errors import (
    BadUpstreamAnswer,
    FairleadError,
    Overloaded,
    UpstreamCut,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTlsFailed,
    UpstreamUnreachable,
)
from fairlead.gateway.router import Target
from fairlead.gateway.stream import Reader
from fairlead.gateway.upstream import Upstream
from fairlead.limits.flows import Entry
from fairlead.net.client import Client, Connection, ResponseHead
from fairlead.providers.dialect import Glimpse
from fairlead.telemetry.billing.cost import Prices
from fairlead.types import Failure, FailureKind, Usage

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_MAX_ERROR_BYTES: Final = 256 * 1024

Accept = Callable[[ResponseHead, bytes], tuple[bytes, Glimpse]]

_KINDS: Final[dict[type[FairleadError], FailureKind]] = {
    UpstreamUnreachable: FailureKind.UNREACHABLE,
    UpstreamTlsFailed: FailureKind.TLS,
    UpstreamTimeout: FailureKind.TIMEOUT,
    UpstreamDisconnected: FailureKind.DISCONNECTED,
    UpstreamCut: FailureKind.CUT,
    UpstreamProtocolError: FailureKind.BAD_ANSWER,
    BadUpstreamAnswer: FailureKind.BAD_ANSWER,
    Overloaded: FailureKind.UNREACHABLE,
}


class AttemptFailed(Exception):
    """An attempt ended before it was committed."""

    def __init__(
        self, failure: Failure, body: bytes = b"", *, stale: bool = False, usage: Usage | None = None
    ) -> None:
        """Describe it.

        Args:
            failure: what went wrong.
            body: the upstream's own error body, for clients of the same dialect.
            stale: a pooled connection was closed before any byte came, as idle ones are.
            usage: what a whole answer reports that could not be used.
        """
        super().__init__(failure.message)
        self.usage = usage
        self.failure = failure
        self.body = body
        self.stale = stale


class UpstreamCall:
    """One attempt: what is asked, how long it may take, what has come of it. Mutable.

    Times are `time.monotonic()`; 0.0 where nothing has happened yet.
    """

    __slots__ = (
        "accept", "body", "commit_tokens", "conn", "connect_s", "counts_prompt", "deadline", "first_token",
        "first_token_by", "glimpse", "head", "headers", "headers_by", "hedge", "ignored", "min_tokens_per_s",
        "model", "native", "place", "prices", "prompt_tokens", "reader", "request", "sent", "span_id",
        "started", "target", "upstream", "verbatim",
    )  # fmt: skip

    conn: Connection
    head: ResponseHead
    glimpse: Glimpse

    def __init__(
        self,
        target: Target,
        upstream: Upstream,
        request: bytes,
        reader: Reader | None,
        accept: Accept,
        *,
        native: bool,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """Prepare an attempt.

        Args:
            target: who is asked.
            upstream: how it is asked.
            request: head and body.
            reader: reads a stream; None when a whole answer is wanted.
            accept: takes a whole answer: gives the client's bytes and its facts, or raises AttemptFailed.
            native: asked in the client's own dialect, so the upstream's error bodies are the client's too.
            ignored: advisory fields that this target has no place for.
        """
        self.target = target
        self.upstream = upstream
        self.request = request
        self.reader = reader
        self.accept = accept
        self.native = native
        self.ignored = ignored
        self.hedge = False
        self.model = ""
        """What the upstream is asked for."""
        self.span_id = ""
        """Of this attempt's span, as `request` says it."""
        self.prices: Prices | None = None
        self.prompt_tokens: Callable[[], int] = _nothing
        """About how long the prompt is, for answers that do not say."""
        self.verbatim = False
        """The answer's bytes are nobody's tokens."""
        self.counts_prompt = False
        """A whole answer without usage used the prompt and nothing else, as with embeddings."""
        self.sent = False
        """The upstream has the request."""
        self.place: Entry | None = None
        """Held at the target from the moment it was given until the attempt has ended."""
        self.body = b""
        """The whole answer for the client, or what a stream relays first."""
        self.started = self.connect_s = self.headers = self.first_token = 0.0
        self.headers_by = self.first_token_by = self.deadline = 0.0
        self.commit_tokens = 1
        self.min_tokens_per_s = 0.0


def _nothing() -> int:
    return 0


def failure_of(error: FairleadError) -> Failure:
    """The failure that a transport error stands for."""
    kind = _KINDS.get(type(error), FailureKind.BAD_ANSWER)
    return Failure(kind=kind, message=error.message, retry_after_s=error.retry_after_s)


async def ask(client: Client, call: UpstreamCall) -> None:
    """Send the request and wait until its answer is committed.

    Raises:
        AttemptFailed: no answer worth committing to came.
    """
    conn = client.idle(call.upstream.origin)
    if conn is None:
        conn = await _dialled(client, call)
    kept = False
    try:
        conn.deadline = call.headers_by
        conn.send(call.request)
        call.sent = True
        head = await conn.head()
        call.headers = time.monotonic()
        if not 200 <= head.status < 300:
            body = await conn.read_all(_MAX_ERROR_BYTES)
            conn.release()
            kept = True
            raise AttemptFailed(call.upstream.dialect.failure(head.status, head.raw_headers, body), body)
        call.conn = conn
        call.head = head
        if call.reader is None:
            answer = conn.whole(MAX_ANSWER_BYTES)
            if answer is None:
                answer = await conn.read_all(MAX_ANSWER_BYTES)
                call.first_token = time.monotonic()
            else:
                call.first_token = call.headers
            conn.release()
            kept = True
            call.body, call.glimpse = call.accept(head, answer)
        else:
            call.glimpse = call.reader.glimpse
            call.body = await _first_tokens(conn, head, call, call.reader)
            kept = True
    except (UpstreamError, Overloaded) as error:
        failure = failure_of(error)
        # Only the floor's deadline passes after the first token and before the request's own.
        floor = call.min_tokens_per_s > 0 and call.first_token and time.monotonic() < call.deadline
        if floor and failure.kind is FailureKind.TIMEOUT:
            message = f"the stream began with fewer than {call.min_tokens_per_s:g} tokens a second"
            failure = Failure(kind=FailureKind.TOO_SLOW, message=message)
        stale = conn.reused and failure.kind is FailureKind.DISCONNECTED
        raise AttemptFailed(failure, stale=stale) from error
    finally:
        if not kept:
            # Also when the client has left: closing cancels the upstream's work.
            conn.abort()


async def _dialled(client: Client, call: UpstreamCall) -> Connection:
    try:
        conn = await client.connect(call.upstream.origin, call.first_token_by)
    except FairleadError as error:
        raise AttemptFailed(failure_of(error)) from error
    call.connect_s = time.monotonic() - call.started
    return conn


async def _first_tokens(conn: Connection, head: ResponseHead, call: UpstreamCall, reader: Reader) -> bytes:
    """Hold back what arrives until it is enough to commit to."""
    content_type = head.headers.get(b"content-type", b"")
    if reader.media and not any(media in content_type for media in reader.media):
        body = await conn.read_all(MAX_ANSWER_BYTES)
        failure = call.upstream.dialect.failure(head.status, head.raw_headers, body)
        if failure.kind is FailureKind.SERVER_ERROR:
            message = f"a stream was asked for and `{content_type.decode('latin-1')[:80]}` came"
            failure = Failure(kind=FailureKind.BAD_ANSWER, message=message)
        raise AttemptFailed(failure)
    glimpse = reader.glimpse
    conn.deadline = call.first_token_by
    held = b""
    while True:
        data = await conn.read()
        held += reader.feed(data) if data else reader.finish()
        if glimpse.failure is not None:
            raise AttemptFailed(glimpse.failure)
        chunks = glimpse.chunks
        if chunks and not call.first_token:
            call.first_token = time.monotonic()
            if call.min_tokens_per_s > 0 and call.commit_tokens > 1:
                due = call.first_token + call.commit_tokens / call.min_tokens_per_s
                conn.deadline = min(due, call.deadline)
        if chunks >= call.commit_tokens or glimpse.finish_reason or not data:
            if not call.first_token:
                call.first_token = time.monotonic()
            return held

"""One call to one target: from the prepared request to its first committed bytes.

`ask` returns a `Reply` once the upstream has shown that it answers: a whole
body, or a stream that has delivered its first tokens. Before that everything
that goes wrong is an `AttemptFailed` and costs the client nothing but time;
after it the pipeline relays and a failure is told in-band.

The connection belongs to the Reply; whoever holds it releases or aborts it.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

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
from fairlead.gateway.timing import Timing
from fairlead.gateway.upstream import Upstream
from fairlead.net.client import Client, Connection, ResponseHead
from fairlead.providers.dialect import Glimpse
from fairlead.types import Failure, FailureKind

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_MAX_ERROR_BYTES: Final = 256 * 1024

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

    def __init__(self, failure: Failure, body: bytes = b"") -> None:
        """`body` is the upstream's own error body, for clients of the same dialect."""
        super().__init__(failure.message)
        self.failure = failure
        self.body = body


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long one attempt may take, as absolute times and durations in seconds."""

    headers: float
    """Until the response headers; for a whole answer until all of it."""
    first_token: float
    deadline: float
    commit_tokens: int
    min_tokens_per_s: float


class Reply:
    """A committed answer."""

    __slots__ = ("body", "conn", "glimpse", "head", "hedge", "ignored", "reader", "target", "timing")

    target: Target
    """Who answered; set by `gateway.dispatch`."""

    def __init__(
        self,
        conn: Connection,
        head: ResponseHead,
        timing: Timing,
        *,
        body: bytes,
        reader: Reader | None,
        glimpse: Glimpse,
    ) -> None:
        self.conn = conn
        self.head = head
        self.timing = timing
        self.body = body
        """The whole body (upstream's bytes), or what a stream relays first."""
        self.reader = reader
        """None for a whole answer."""
        self.glimpse = glimpse
        self.hedge = False
        self.ignored: tuple[str, ...] = ()


def failure_of(error: FairleadError) -> Failure:
    """The failure that a transport error stands for."""
    kind = _KINDS.get(type(error), FailureKind.BAD_ANSWER)
    return Failure(kind=kind, message=error.message, retry_after_s=error.retry_after_s)


async def connection(client: Client, upstream: Upstream, timing: Timing, deadline: float) -> Connection:
    """A connection to `upstream`: pooled when there is one, which suspends nothing.

    Raises:
        UpstreamUnreachable, UpstreamTlsFailed, UpstreamTimeout: it cannot be had.
        Overloaded: this upstream has all the connections it may have.
    """
    conn = client.idle(upstream.origin)
    if conn is not None:
        return conn
    before = time.monotonic()
    conn = await client.connect(upstream.origin, deadline)
    timing.connect_s = time.monotonic() - before
    return conn


async def ask(
    client: Client,
    upstream: Upstream,
    request: bytes,
    reader: Reader | None,
    patience: Patience,
    timing: Timing,
) -> Reply:
    """Send `request` and wait until its answer is committed.

    Args:
        client: where connections come from.
        upstream: who is asked.
        request: head and body.
        reader: reads a stream; None when a whole answer is wanted.
        patience: the time-outs.
        timing: filled in as things happen, also when the attempt fails.

    Raises:
        AttemptFailed: no answer worth committing to came.
    """
    try:
        conn = await connection(client, upstream, timing, patience.first_token)
    except FairleadError as error:
        raise AttemptFailed(failure_of(error)) from error
    kept = False
    try:
        conn.deadline = patience.headers
        conn.send(request)
        head = await conn.head()
        timing.headers = time.monotonic()
        if head.status >= 300 or head.status < 200:
            refusal = await _refused(conn, head, upstream)
            conn.release()
            kept = True
            raise refusal
        if reader is None:
            body = await conn.read_all(MAX_ANSWER_BYTES)
            timing.first_token = time.monotonic()
            reply = Reply(conn, head, timing, body=body, reader=None, glimpse=Glimpse())
        else:
            first = await _first_tokens(conn, head, upstream, reader, patience, timing)
            reply = Reply(conn, head, timing, body=first, reader=reader, glimpse=reader.glimpse)
        kept = True
        return reply
    except (UpstreamError, Overloaded) as error:
        raise AttemptFailed(failure_of(error)) from error
    finally:
        if not kept:
            # Also when the client has left: closing cancels the upstream's work.
            conn.abort()


async def _refused(conn: Connection, head: ResponseHead, upstream: Upstream) -> AttemptFailed:
    body = await conn.read_all(_MAX_ERROR_BYTES)
    failure = upstream.dialect.failure(head.status, head.raw_headers, body)
    return AttemptFailed(failure, body)


async def _first_tokens(
    conn: Connection,
    head: ResponseHead,
    upstream: Upstream,
    reader: Reader,
    patience: Patience,
    timing: Timing,
) -> bytes:
    """Hold back what arrives until it is enough to commit to."""
    content_type = head.headers.get(b"content-type", b"")
    if reader.media and not any(media in content_type for media in reader.media):
        body = await conn.read_all(MAX_ANSWER_BYTES)
        failure = upstream.dialect.failure(head.status, head.raw_headers, body)
        if failure.kind is FailureKind.SERVER_ERROR:
            message = f"a stream was asked for and `{content_type.decode('latin-1')[:80]}` came"
            failure = Failure(kind=FailureKind.BAD_ANSWER, message=message)
        raise AttemptFailed(failure)
    glimpse = reader.glimpse
    conn.deadline = patience.first_token
    held = b""
    while True:
        data = await conn.read()
        if data:
            held += reader.feed(data)
        else:
            held += reader.finish()
        if glimpse.failure is not None:
            raise AttemptFailed(glimpse.failure)
        chunks = glimpse.chunks
        if chunks and not timing.first_token:
            timing.first_token = time.monotonic()
            if patience.min_tokens_per_s > 0 and patience.commit_tokens > 1:
                due = timing.first_token + patience.commit_tokens / patience.min_tokens_per_s
                conn.deadline = min(due, patience.deadline)
        if chunks >= patience.commit_tokens or glimpse.finish_reason or not data:
            return held

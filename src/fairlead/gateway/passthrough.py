"""Uploads and stored objects, streamed through untouched.

Multipart forms (audio, image edits) name their model in a field, which is
looked for while the form streams in; files, batches and stored responses name
none and go to one provider: the `x-fairlead-provider` header says which, else
the first that offers the API. Answers of any status come back as they are.

Bodies are not kept, so another target is asked only when no connection could
be made and nothing was sent.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    FairleadError,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    Overloaded,
    UnsupportedByTarget,
    UpstreamCut,
    UpstreamError,
    UpstreamUnreachable,
)
from fairlead.gateway import auth
from fairlead.gateway.attempt import failure_of
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.headers import answer_headers, client_facts, forwarded
from fairlead.gateway.multipart import ModelFinder, boundary_of
from fairlead.gateway.pipeline import Pipeline
from fairlead.gateway.router import Target
from fairlead.gateway.upstream import Upstream
from fairlead.net.client import Client, Connection
from fairlead.net.framing import LAST_CHUNK, chunk
from fairlead.net.server import Call
from fairlead.providers.table import Api
from fairlead.providers.tail import Tail
from fairlead.telemetry import labels
from fairlead.telemetry.billing.cost import cost_microusd
from fairlead.types import Attempt, Failure, FailureKind, Outcome

_DEADLINE_S: Final = 1800.0
_READ_S: Final = 300.0


class _Prefix(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    name: str
    methods: frozenset[str]
    form: bool
    """A multipart form that names a model."""
    below: bool
    """Also everything under the path."""


_CLIMBS: Final = re.compile(r"(?:/|%2f|%5c)(?:\.|%2e){1,2}(?:/|;|%2f|%5c|%3b|$)", re.IGNORECASE)
"""A `.` or `..` in a path, plain or escaped. Upstreams resolve them, and a key for files must not reach
what lies beside them with the gateway's credential."""
_FORM: Final = frozenset({"POST"})
_STORE: Final = frozenset({"GET", "POST", "DELETE"})
_TABLE: Final = (
    _Prefix(path="/v1/audio/transcriptions", name="audio", methods=_FORM, form=True, below=False),
    _Prefix(path="/v1/audio/translations", name="audio", methods=_FORM, form=True, below=False),
    _Prefix(path="/v1/images/edits", name="images", methods=_FORM, form=True, below=False),
    _Prefix(path="/v1/images/variations", name="images", methods=_FORM, form=True, below=False),
    _Prefix(path="/v1/files", name="files", methods=_STORE, form=False, below=True),
    _Prefix(path="/v1/uploads", name="files", methods=_STORE, form=False, below=True),
    _Prefix(path="/v1/batches", name="batches", methods=_STORE, form=False, below=True),
    _Prefix(path="/v1/responses/", name="responses", methods=_STORE, form=False, below=True),
)


class _Timing:
    """When things happened, `time.monotonic()`; 0.0 when they did not."""

    __slots__ = ("connect_s", "headers", "span_id", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.connect_s = 0.0
        self.headers = 0.0
        self.span_id = ""


class _Body:
    """A request body on its way upstream: what was read ahead, then the rest as it comes."""

    __slots__ = ("_call", "_first", "length", "sent_bytes")

    def __init__(self, call: Call, first: bytes, length: int | None) -> None:
        self._call = call
        self._first = first
        self.length = length
        """Of the whole body; None when the client sends it in chunks."""
        self.sent_bytes = 0

    async def send(self, conn: Connection) -> None:
        """Send all of it, or as much as the upstream takes before it refuses."""
        piece = self._first or await self._call.read()
        chunked = self.length is None
        while piece:
            self.sent_bytes += len(piece)
            last = self.sent_bytes == self.length
            if not await conn.send_piece(chunk(piece) if chunked else piece, last=last):
                return
            piece = await self._call.read()
        if chunked:
            await conn.send_piece(LAST_CHUNK, last=True)


class Passthrough:
    """Relays bytes between clients and one upstream each."""

    def __init__(
        self, pipeline: Pipeline, upstreams: Sequence[Upstream], client: Client, *, max_prefix_bytes: int
    ) -> None:
        """Join the parts.

        Args:
            pipeline: whose keys, routes and records are used.
            upstreams: providers, in the order of the configuration.
            client: the upstream client.
            max_prefix_bytes: how much of a form is held while its model is looked for.
        """
        self._pipeline = pipeline
        self._upstreams = upstreams
        self._client = client
        self._max_prefix_bytes = max_prefix_bytes
        dialect = pipeline.openai
        self._apis = {
            entry.name: Api(
                name=entry.name,
                scope=entry.name,
                suffix="",
                dialect=dialect,
                dialect_name="openai",
                verbatim=True,
            )
            for entry in _TABLE
        }

    def serves(self, method: str, path: str) -> bool:
        """Whether this method and path are passed through."""
        entry = _entry(path)
        return entry is not None and method in entry.methods

    def api(self, path: str) -> Api:
        """The API of a path that is served."""
        entry = _entry(path)
        assert entry is not None
        return self._apis[entry.name]

    async def handle(self, ex: Exchange) -> None:
        """Relay one request and its answer, and emit its record in every case.

        Raises:
            FairleadError: it could not be relayed.
            asyncio.CancelledError: the client has left.
        """
        self._pipeline.in_flight += 1
        self._pipeline.trace(ex)
        try:
            grant = self._pipeline.authenticate(ex)
            peer = ex.call.head.peer
            ex.deadline = ex.started + client_facts(ex.call.head).patience(_DEADLINE_S)
            entry = _entry(ex.call.head.path)
            assert entry is not None
            if grant is not None:
                auth.authorise(grant, entry.name, None, peer, ex.started_at)
            if grant is not None and not entry.form and not grant.covers_every_model:
                # A batch's file names models that nobody here reads.
                raise Forbidden(f"`{entry.name}` needs an API key that is for every model")
            if entry.form:
                await self._form(ex, grant)
            else:
                await self._reserve(ex, grant)
                body = _Body(ex.call, b"", _length(ex.call))
                await self._relay(ex, self._provider(ex, entry.name), None, body)
            ex.outcome = Outcome.OK if ex.status < 400 else Outcome.UPSTREAM_REFUSED
        except FairleadError as error:
            ex.failed(error)
            raise
        except asyncio.CancelledError:
            ex.client_gone()
            raise
        finally:
            self._pipeline.in_flight -= 1
            try:
                self._pipeline.admission.settle(ex)
            finally:
                self._pipeline.emit(ex)

    async def _reserve(self, ex: Exchange, grant: auth.Grant | None) -> None:
        waiting = self._pipeline.admission.reserve_bytes(ex, "" if grant is None else grant.caller.name)
        if waiting is not None:
            await waiting

    async def _form(self, ex: Exchange, grant: auth.Grant | None) -> None:
        """A multipart form: find its model, replace its name, choose a target."""
        call = ex.call
        boundary = boundary_of(call.head.headers.get(b"content-type", b""))
        if boundary is None:
            raise InvalidRequest("a multipart/form-data body is expected here", param="content-type")
        finder = ModelFinder(boundary)
        while True:
            piece = await call.read()
            if not piece or finder.feed(piece):
                break
            if len(finder.data) > self._max_prefix_bytes:
                raise BodyTooLarge(
                    f"no `model` field in the first {self._max_prefix_bytes} bytes of the form",
                    hint="put the `model` field in front of the file",
                    param="model",
                )
        found = finder.found
        if found is None:
            raise InvalidRequest("the form has no `model` field", param="model")
        if grant is not None:
            auth.authorise(grant, ex.api.scope, found.value, call.head.peer, ex.started_at)
        match = self._pipeline.routes.find(found.value)
        if match is None:
            raise ModelNotFound(f"no route serves the model `{found.value[:200]}`", param="model")
        ex.route, asked = match
        ex.model = ex.route.name
        await self._reserve(ex, grant)
        tried = [target for target in ex.route.targets if ex.api.name not in _upstream(target).native]
        if len(tried) == len(ex.route.targets):
            raise UnsupportedByTarget(f"no target of `{ex.model}` offers `{ex.api.name}`", param="model")
        unreachable: UpstreamUnreachable | None = None
        while True:
            now = time.monotonic()
            target = ex.route.choose(tried=tried, now=now, roll=self._pipeline.roll())
            if target is None:
                if unreachable is not None:
                    raise unreachable
                message = f"every target of `{ex.model}` that offers `{ex.api.name}` is down or has no place"
                raise Overloaded(message, retry_after_s=max(ex.route.wait_s(now) or 0.0, 0.5))
            tried.append(target)
            name = (target.model or asked).encode()
            first = bytes(finder.data[: found.start]) + name + bytes(finder.data[found.end :])
            length = _length(call)
            if length is not None:
                length += len(name) - (found.end - found.start)
            body = _Body(call, first, length)
            try:
                await self._relay(ex, _upstream(target), target, body, asked)
                return
            except UpstreamUnreachable as error:
                if body.sent_bytes:
                    raise  # TLS may say only after the handshake that our certificate is refused
                unreachable = error

    async def _relay(
        self, ex: Exchange, upstream: Upstream, target: Target | None, body: _Body, model: str = ""
    ) -> None:
        timing = _Timing(time.monotonic())
        tail = Tail()
        ex.sent = timing.started
        failure: Failure | None = None
        conn: Connection | None = None
        clean = False
        trial = False
        if target is not None:
            target.load_state.in_flight += 1
            trial = target.breaker.start()
        try:
            conn = self._client.idle(upstream.origin) or await self._dial(ex, upstream, timing)
            await self._exchange(ex, upstream, conn, timing, body, tail)
            clean = True
        except UpstreamError as error:
            failure = failure_of(error)
            if time.monotonic() >= ex.deadline:
                raise DeadlineExceeded from error
            raise
        finally:
            if conn is not None:
                if clean:
                    conn.release()
                else:
                    conn.abort()
            if target is not None:
                target.load_state.in_flight -= 1
                stale = conn is not None and conn.reused
                if not _judged(target, ex, failure, clean=clean, stale=stale) and trial:
                    target.breaker.abandon()
            ex.bytes_in = body.sent_bytes
            if clean and ex.status < 300 and target is not None:
                ex.usage = tail.usage(images=ex.api.name == "images")
            prices = target.prices_for(model) if target is not None and ex.usage is not None else None
            ex.attempts.append(
                Attempt(
                    target=target.name if target is not None else upstream.name,
                    started_s=timing.started - ex.started,
                    connect_s=timing.connect_s,
                    headers_s=timing.headers - ex.started if timing.headers else None,
                    ended_s=time.monotonic() - ex.started,
                    status=ex.status if timing.headers else None,
                    failure=failure,
                    usage=ex.usage,
                    cost_microusd=cost_microusd(ex.usage, prices) if ex.usage and prices else None,
                    model=labels.clean(model) if target is not None and target.model is None else "",
                    priced_by=prices.source if prices is not None else "",
                    span_id=timing.span_id,
                )
            )

    async def _dial(self, ex: Exchange, upstream: Upstream, timing: _Timing) -> Connection:
        conn = await self._client.connect(upstream.origin, ex.deadline)
        timing.connect_s = time.monotonic() - timing.started
        return conn

    async def _exchange(
        self, ex: Exchange, upstream: Upstream, conn: Connection, timing: _Timing, body: _Body, tail: Tail
    ) -> None:
        call = ex.call
        incoming = call.head
        extra = forwarded(ex)
        if ex.trace is not None:
            timing.span_id = ex.trace.new_id()
            extra += ex.trace.lines(timing.span_id)
        for name in (b"content-type", b"accept", b"range", b"idempotency-key"):
            value = incoming.headers.get(name)
            if value is not None:
                extra += b"%b: %b\r\n" % (name, value)
        if incoming.method == "POST":
            framing = b"content-length: %d\r\n" % body.length if body.length is not None else None
            extra += framing or b"transfer-encoding: chunked\r\n"
        path = incoming.path.removeprefix("/v1") + (f"?{incoming.query}" if incoming.query else "")
        conn.deadline = ex.deadline
        has_body = incoming.method == "POST" and body.length != 0
        conn.send(upstream.head(incoming.method, path, extra), complete=not has_body)
        if has_body:
            await body.send(conn)
        head = await conn.head()
        timing.headers = ex.headers_at = time.monotonic()
        ex.status = head.status
        length = head.headers.get(b"content-length")
        call.start(head.status, answer_headers(ex, head), int(length) if length is not None else None)
        try:
            while True:
                conn.deadline = min(time.monotonic() + _READ_S, ex.deadline)
                piece = await conn.read()
                if not piece:
                    break
                tail.feed(piece)
                call.write(piece)
                await call.drain()
        except UpstreamCut:
            call.abort()
            raise
        call.end()

    def _provider(self, ex: Exchange, name: str) -> Upstream:
        """The provider that files, batches and stored responses go to."""
        wanted = ex.call.head.headers.get(b"x-fairlead-provider", b"").decode("latin-1")
        for upstream in self._upstreams:
            if name in upstream.native and (not wanted or upstream.name == wanted):
                return upstream
        if wanted:
            raise NotFound(
                f"no provider `{wanted[:100]}` offers `{name}`", hint="see `providers` in the configuration"
            )
        raise NotFound(f"no configured provider offers `{name}`")


def _upstream(target: Target) -> Upstream:
    upstream = target.api
    assert isinstance(upstream, Upstream)
    return upstream


def _judged(target: Target, ex: Exchange, failure: Failure | None, *, clean: bool, stale: bool) -> bool:
    """Tell the breaker what an attempt says of its target, by the rules of `gateway.dispatch`.

    False when it says nothing.
    """
    now = time.monotonic()
    if failure is not None:
        late = failure.kind is FailureKind.TIMEOUT and now >= ex.deadline
        if late or (stale and failure.kind is FailureKind.DISCONNECTED):
            return False
        target.breaker.fail(failure, now)
        return True
    if clean and ex.status < 500:
        target.breaker.succeed(now)
        return True
    # The client has left or sent nonsense, or its very file is what the upstream cannot digest.
    return False


def _entry(path: str) -> _Prefix | None:
    for entry in _TABLE:
        if path == entry.path or (entry.below and path.startswith(entry.path.rstrip("/") + "/")):
            return None if _CLIMBS.search(path) else entry
    return None


def _length(call: Call) -> int | None:
    value = call.head.headers.get(b"content-length")
    if value is not None:
        return int(value)
    return 0 if b"transfer-encoding" not in call.head.headers else None

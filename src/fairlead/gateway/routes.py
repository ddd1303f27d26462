"""HTTP in and out: which path is which API, and errors in the client's words.

The gateway's `Application`. Generating APIs go to the pipeline, uploads and
stored objects to the pass-through, the rest is answered here. Nothing of a
request's order is decided here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from fairlead import config as cfg
from fairlead.errors import BudgetExceeded, FairleadError, MethodNotAllowed, NotFound
from fairlead.gateway import auth
from fairlead.gateway.exchange import Exchange, RequestIds
from fairlead.gateway.headers import own_headers
from fairlead.gateway.passthrough import Passthrough
from fairlead.gateway.pipeline import Pipeline
from fairlead.net.framing import header
from fairlead.net.server import Call, Head, Intake
from fairlead.providers.dialect import ClientDialect
from fairlead.providers.table import Api, apis

_log: Final = logging.getLogger(__name__)
_JSON: Final = b"content-type: application/json\r\n"
_TEXT: Final = b"content-type: text/plain; charset=utf-8\r\n"
_MAX_RETRY_AFTER_S: Final = 60.0
"""SDKs give up or ignore longer waits."""
_UNCHECKED_BODY_BYTES: Final = 64 * 1024
"""Bodies up to this size are read before the key is checked."""
_ADMIN_BODY_BYTES: Final = 1024 * 1024


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered besides the pipeline, handed in by the application."""

    admin: Callable[[Call], Awaitable[None]]
    """Everything under `/admin/v1/`."""
    metrics: Callable[[bytes], Awaitable[tuple[bytes, bytes]]]
    """The exposition for an `accept` header: content type and body."""
    ready: Callable[[], str | None]
    """None when traffic may come, else why not."""
    page: Callable[[str], tuple[bytes, bytes] | None]
    """A page of the dashboard by path: content type and body."""


class Routes:
    """Implements `net.server.Application`. `pipeline` and `passthrough` are replaced by a reload."""

    def __init__(self, pipeline: Pipeline, passthrough: Passthrough, server: cfg.Server, side: Side) -> None:
        self.pipeline = pipeline
        self.passthrough = passthrough
        self._apis = apis()
        self._ids = RequestIds()
        self._side = side
        self._openai = self._apis["/v1/chat/completions"].dialect
        self._anthropic = self._apis["/v1/messages"].dialect
        self._json = Intake(limit_bytes=server.max_body_bytes)
        self._small = Intake(limit_bytes=_ADMIN_BODY_BYTES)
        self._upload = Intake(limit_bytes=server.max_upload_bytes, streamed=True)

    # --- net.server.Application -----------------------------------------------------------------

    def intake(self, head: Head) -> Intake:
        """How the body of this request is taken. Raises NotFound and MethodNotAllowed."""
        if head.path in self._apis:
            if head.method != "POST":
                raise MethodNotAllowed(f"`{head.path}` answers POST", allow=("POST",))
            length = head.headers.get(b"content-length")
            if length is None or len(length) > 5 or int(length) > _UNCHECKED_BODY_BYTES:
                # Large bodies are read only for those who may send them.
                self.pipeline.check_key(head)
            return self._json
        if self.passthrough.serves(head.method, head.path):
            self.pipeline.check_key(head)
            return self._upload
        if head.path.startswith("/admin/v1/"):
            return self._small
        if head.method not in ("GET", "HEAD"):
            if self._get(head) is not None:
                raise MethodNotAllowed(f"`{head.path}` answers GET", allow=("GET", "HEAD"))
            raise NotFound(f"there is no `{head.path[:200]}`", hint="`/admin/v1/openapi.json` lists the API")
        return self._small

    def handle(self, call: Call) -> Coroutine[Any, Any, None]:
        """Answer one request. Not itself a coroutine: each level of them costs every request a little."""
        head = call.head
        api = self._apis.get(head.path)
        if api is not None:
            return self._ask(call, api, self.pipeline.handle)
        if self.passthrough.serves(head.method, head.path):
            return self._ask(call, self.passthrough.api(head.path), self.passthrough.handle)
        return self._serve(call)

    async def _serve(self, call: Call) -> None:
        """Answer what is no request to a model."""
        head = call.head
        try:
            if head.path.startswith("/admin/v1/"):
                await self._side.admin(call)
                return
            answer = self._get(head)
            if answer is None:
                raise NotFound(f"there is no `{head.path[:200]}`", hint="the API is under `/v1/`")
            await answer(call)
        except FairleadError as error:
            self._tell(call, self._dialect_of(head), error, self._ids(), b"")
        except Exception:
            _log.exception("a request failed unexpectedly", extra={"path": head.path})
            self._tell(call, self._dialect_of(head), FairleadError(), self._ids(), b"")

    def refuse(self, error: FairleadError, head: Head | None) -> tuple[int, bytes, bytes]:
        """The words for a request that never reached `handle`."""
        dialect = self._dialect_of(head) if head is not None else self._openai
        request_id = self._ids()
        ids = b"x-request-id: %b\r\nrequest-id: %b\r\n" % ((request_id.encode(),) * 2)
        return error.status, ids + error_headers(error), dialect.error_body(error, request_id)

    # --- inside ---------------------------------------------------------------------------------

    async def _ask(self, call: Call, api: Api, handle: Callable[[Exchange], Awaitable[None]]) -> None:
        ex = Exchange(self._ids(), call, api)
        try:
            await handle(ex)
        except FairleadError as error:
            tried = len(ex.attempts)
            self._tell(call, api.dialect, error, ex.id, own_headers(ex), verbatim=api.verbatim, tried=tried)
        except Exception:
            _log.exception("a request failed unexpectedly", extra={"request_id": ex.id})
            self._tell(call, api.dialect, FairleadError(), ex.id, own_headers(ex), verbatim=api.verbatim)

    def _tell(
        self,
        call: Call,
        dialect: ClientDialect,
        error: FairleadError,
        request_id: str,
        headers: bytes,
        *,
        verbatim: bool = False,
        tried: int = 0,
    ) -> None:
        """Tell the client: as a status when none was sent, else in-band with a proper end."""
        call.quiet()
        if not call.started:
            if not headers:
                headers = b"x-request-id: %b\r\n" % request_id.encode()
            body = getattr(error, "upstream_body", b"") or dialect.error_body(error, request_id)
            call.reply(error.status, headers + error_headers(error, tried), body)
        elif verbatim:
            # Bytes that are nobody's events have no place for an error: an improper end is the sign.
            call.abort()
        else:
            call.write(dialect.error_event(error, request_id))
            call.end()

    def _dialect_of(self, head: Head) -> ClientDialect:
        api = self._apis.get(head.path)
        if api is not None:
            return api.dialect
        return self._anthropic if b"anthropic-version" in head.headers else self._openai

    def _get(self, head: Head) -> Callable[[Call], Awaitable[None]] | None:
        path = head.path
        if path == "/healthz":
            return self._healthz
        if path == "/readyz":
            return self._readyz
        if path == "/metrics":
            return self._metrics
        if path == "/v1/models" or path.startswith("/v1/models/"):
            return self._models
        return self._page if self._side.page(path) is not None else None

    async def _healthz(self, call: Call) -> None:
        call.reply(200, _TEXT, b"ok\n")

    async def _readyz(self, call: Call) -> None:
        reason = self._side.ready()
        if reason is None:
            call.reply(200, _TEXT, b"ready\n")
        else:
            call.reply(503, _TEXT + b"retry-after: 1\r\n", reason.encode() + b"\n")

    async def _metrics(self, call: Call) -> None:
        media, body = await self._side.metrics(call.head.headers.get(b"accept", b""))
        call.reply(200, b"content-type: %b\r\n" % media, body)

    async def _page(self, call: Call) -> None:
        found = self._side.page(call.head.path)
        assert found is not None
        media, body = found
        block = (
            b"content-type: %b\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n"
            b"content-security-policy: default-src 'self'; frame-ancestors 'none'\r\n" % media
        )
        call.reply(200, block, body)

    async def _models(self, call: Call) -> None:
        grant = self.pipeline.check_key(call.head)
        names = self.pipeline.routes.names()
        if grant is not None:
            auth.authorise(grant, "models", None, call.head.peer, self.pipeline.now())
            names = [name for name in names if grant.covers_model(name)]
        # Some SDKs escape the `/` of a name and some do not.
        wanted = unquote(call.head.path.removeprefix("/v1/models").removeprefix("/"))
        anthropic = b"anthropic-version" in call.head.headers
        entry = _anthropic_model if anthropic else _openai_model
        if wanted:
            covered = grant is None or grant.covers_model(wanted)
            if not covered or self.pipeline.routes.find(wanted) is None:
                raise NotFound(f"no route serves the model `{wanted[:200]}`", param="model")
            call.reply(200, _JSON, msgspec.json.encode(entry(wanted)))
            return
        listing: dict[str, object] = {"data": [entry(name) for name in names]}
        if anthropic:
            listing |= {
                "has_more": False,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        else:
            listing["object"] = "list"
        call.reply(200, _JSON, msgspec.json.encode(listing))


def _openai_model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "fairlead"}


def _anthropic_model(name: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def error_headers(error: FairleadError, tried: int = 0) -> bytes:
    """Header lines of an error answer: media type, when to come back, and whether to.

    After `tried` attempts of its own, more than one, or without a time to come back the gateway
    has done what can be done, and an SDK's own retries would only multiply an outage.
    """
    block = _JSON
    wait_s = error.retry_after_s if error.retryable else None
    if isinstance(error, BudgetExceeded) and error.retry_after_s is not None:
        # When the window ends, though that be in weeks: nothing shorter helps. SDKs are told not to retry.
        block += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % _told(error.retry_after_s)
    elif wait_s is not None:
        wait_s = min(wait_s, _MAX_RETRY_AFTER_S)
        block += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % _told(wait_s)
    if wait_s is None or tried > 1:
        block += b"x-should-retry: false\r\n"
    if error.status == 401:
        block += b"www-authenticate: Bearer\r\n"
    if isinstance(error, MethodNotAllowed):
        block += header("allow", ", ".join(error.allow))
    return block


def _told(wait_s: float) -> tuple[int, int]:
    """A wait in seconds and in milliseconds, rounded up: who comes back a moment early is refused again."""
    return math.ceil(wait_s), math.ceil(wait_s * 1000)

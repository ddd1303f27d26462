"""Turns a client's request into one target's, and that target's answer back.

Same dialect: the original bytes travel, with only the model name replaced
and usage asked for, and the answer's bytes come back untouched. Otherwise
the request is parsed once into the neutral model and encoded per target.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairlead.errors import BadUpstreamAnswer, InvalidRequest, UnsupportedByTarget
from fairlead.gateway.attempt import AttemptFailed
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.router import AFFINITY_BYTES, Target
from fairlead.gateway.stream import NativeReader, Reader, TranslatedReader, VerbatimReader
from fairlead.gateway.upstream import Upstream
from fairlead.net.client import ResponseHead
from fairlead.providers.chat import ChatRequest, Message, TextPart
from fairlead.providers.dialect import Glimpse
from fairlead.providers.rewrite import RequestHead, object_fields, replace_fields
from fairlead.providers.table import Api
from fairlead.types import Failure, FailureKind

_encode = msgspec.json.encode


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """One request for one target."""

    request: bytes
    native: bool
    """Asked in the client's own dialect: the upstream's error bodies are the client's too."""
    reader: Reader | None
    accept: Callable[[ResponseHead, bytes], tuple[bytes, Glimpse]]
    """Takes a whole answer: the client's bytes and its facts. Raises AttemptFailed."""
    ignored: tuple[str, ...] = ()
    """Advisory fields that this target has no place for."""


class Asked:
    """What the client asked for, read as far as somebody needed it."""

    __slots__ = ("_neutral", "api", "ex", "extra", "head", "model", "stream")

    def __init__(self, ex: Exchange, head: RequestHead, model: str, extra: bytes) -> None:
        """Keep the request.

        Args:
            ex: the exchange.
            head: the fields that routing reads.
            model: what targets without a model name of their own are asked for.
            extra: header lines to send upstream with every attempt.
        """
        self.ex = ex
        self.api: Api = ex.api
        self.head = head
        self.stream = head.stream is True
        self.model = model
        self.extra = extra
        self._neutral: ChatRequest | None = None

    def neutral(self) -> ChatRequest:
        """The request in the neutral model, parsed at its first use.

        Raises:
            InvalidRequest: it is not valid in the client's dialect.
        """
        if self._neutral is None:
            self._neutral = self.api.dialect.parse(self.ex.body)
        return self._neutral

    def affinity(self) -> bytes:
        """What decides prefix affinity: the beginning of the prompt, without the fields around it."""
        body = self.ex.body
        start = body.find(b'"messages"')
        if start < 0:
            start = max(body.find(b'"prompt"'), 0)
        return body[start : start + AFFINITY_BYTES]

    def for_target(self, target: Target, now: float, *, keep_text: bool = False) -> Prepared:
        """The request for `target`; with `keep_text` in a form that a cut stream can be continued from.

        Raises:
            AttemptFailed: this target's dialect cannot carry the request.
            InvalidRequest: no dialect could.
        """
        upstream = target.api
        assert isinstance(upstream, Upstream)
        model = target.model or self.model
        if self.api.name in upstream.native and not (keep_text and self.stream):
            return self._native(upstream, model)
        return self._translated(upstream, model, self._neutral_for(upstream), now, keep_text=keep_text)

    def continuing(self, target: Target, text: str, now: float) -> Prepared:
        """The request that goes on after `text`, as an assistant prefill."""
        upstream = target.api
        assert isinstance(upstream, Upstream)
        request = self.neutral()
        prefill = Message(role="assistant", parts=(TextPart(text=text),))
        extras = dict(request.extras)
        if upstream.type == "vllm":
            extras["continue_final_message"] = msgspec.Raw(b"true")
            extras["add_generation_prompt"] = msgspec.Raw(b"false")
        request = msgspec.structs.replace(request, messages=(*request.messages, prefill), extras=extras)
        return self._translated(upstream, target.model or self.model, request, now, keep_text=True)

    def _neutral_for(self, upstream: Upstream) -> ChatRequest:
        if not self.api.translatable:
            name = self.api.name
            raise _unsupported(f"`{name}` is not offered by {upstream.type} upstreams", param=None)
        return self.neutral()

    def _native(self, upstream: Upstream, model: str) -> Prepared:
        head = self.head
        api = self.api
        body = self.ex.body
        changes: dict[str, bytes | None] = {}
        if head.model != model:
            changes["model"] = _encode(model)
        reader: Reader | None = None
        if api.verbatim:
            reader = VerbatimReader()
        elif self.stream and api.watcher is not None:
            strip = False
            if api.asks_usage and not head.include_usage:
                # The record needs usage; the client, which did not ask, does not see it.
                strip = True
                changes["stream_options"] = self._usage_asked()
            reader = NativeReader(api.watcher(strip), api.end_mark)
        if changes:
            body = replace_fields(body, changes)
        request = upstream.request(api.suffix, body, self.extra, model=model)
        return Prepared(request=request, native=True, reader=reader, accept=self._accept_native)

    def _usage_asked(self) -> bytes:
        """The client's `stream_options`, with usage asked for."""
        if self.head.stream_options is None:
            return b'{"include_usage":true}'
        given = object_fields(self.ex.body)["stream_options"]
        return replace_fields(bytes(given), {"include_usage": b"true"})

    def _accept_native(self, head: ResponseHead, body: bytes) -> tuple[bytes, Glimpse]:
        glimpse = self.api.glance(body)
        if glimpse.failure is not None:
            raise AttemptFailed(glimpse.failure)
        return body, glimpse

    def _translated(
        self, upstream: Upstream, model: str, request: ChatRequest, now: float, *, keep_text: bool
    ) -> Prepared:
        try:
            outgoing = upstream.dialect.encode(request, model)
        except UnsupportedByTarget as error:
            raise _unsupported(f"{error.message} (target {upstream.name})", param=error.param) from error
        client = self.api.dialect
        reader = None
        if request.stream:
            encoder = client.encoder(request, self.ex.id)
            reader = TranslatedReader(upstream.dialect.decoder(request), encoder, keep_text=keep_text)

        def accept(head: ResponseHead, body: bytes) -> tuple[bytes, Glimpse]:
            try:
                answer = upstream.dialect.decode(body, head.raw_headers)
            except BadUpstreamAnswer as error:
                failure = Failure(kind=FailureKind.BAD_ANSWER, message=error.message)
                raise AttemptFailed(failure) from error
            glimpse = Glimpse()
            glimpse.usage = answer.usage
            glimpse.model = answer.model
            glimpse.finish_reason = answer.choices[-1].finish.value if answer.choices else ""
            glimpse.ended = True
            return client.render(answer, request, self.ex.id), glimpse

        wire = upstream.request(
            outgoing.path, outgoing.body, self.extra, model=model, headers=outgoing.headers, now=now
        )
        return Prepared(request=wire, native=False, reader=reader, accept=accept, ignored=outgoing.ignored)


def _unsupported(message: str, *, param: str | None) -> AttemptFailed:
    return AttemptFailed(Failure(kind=FailureKind.UNSUPPORTED, message=message, status=400, param=param))


def require_model(head: RequestHead) -> str:
    """The model that the request names. Raises InvalidRequest when it names none."""
    if not head.model:
        raise InvalidRequest("`model` is missing: it names what should answer", param="model")
    return head.model

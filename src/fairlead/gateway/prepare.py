"""Turns a client's request into one target's, and that target's answer back.

Same dialect: the original bytes travel, with only the model name replaced
and usage asked for, and the answer's bytes come back untouched. Otherwise
the request is parsed once into the neutral model and encoded per target.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from fairlead.errors import BadUpstreamAnswer, InvalidRequest, UnsupportedByTarget
from fairlead.gateway.attempt import AttemptFailed, UpstreamCall
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.headers import own_headers
from fairlead.gateway.queue import Ask as Share
from fairlead.gateway.router import AFFINITY_BYTES, Target
from fairlead.gateway.stream import NativeReader, Reader, TranslatedReader, VerbatimReader
from fairlead.gateway.upstream import Upstream
from fairlead.net.client import ResponseHead
from fairlead.providers.chat import ChatRequest, Message, TextPart
from fairlead.providers.dialect import Glimpse
from fairlead.providers.embeddings import (
    EmbeddingsDialect,
    in_encoding,
    parse_embeddings,
    render_embeddings,
)
from fairlead.providers.estimate import estimate_from_body, estimate_input_tokens
from fairlead.providers.rewrite import RequestHead, object_fields, replace_fields
from fairlead.providers.table import Api
from fairlead.types import Failure, FailureKind, Usage

_encode = msgspec.json.encode
_LARGE_TOKENS: Final = 4096


class Asked:
    """What the client asked for, read as far as somebody needed it."""

    __slots__ = (
        "_neutral", "_prompt_tokens", "_share", "api", "ex", "extra", "head", "input_tokens", "model",
        "output_tokens", "span_id", "stream",
    )  # fmt: skip

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
        self.input_tokens = 0
        """Estimated; where limits or a fair queue are on the way."""
        self.output_tokens = 0
        """Expected at most; likewise."""
        self.span_id = ""
        """Of the attempt that was prepared last; "" without traces."""
        self._neutral: ChatRequest | None = None
        self._prompt_tokens: int | None = None
        self._share: Share | None = None

    @property
    def queued(self) -> bool:
        """Some target of the route has a queue in front of it."""
        route = self.ex.route
        return route is not None and route.queued

    @property
    def answers(self) -> int:
        """How many answers it asks for, within what any upstream gives: JSON knows no largest integer."""
        return min(max(self.head.n or 1, 1), 1000)

    def share(self) -> Share:
        """What it asks of a target's capacity."""
        share = self._share
        if share is None:
            flow = self.ex.flow
            assert flow is not None, "set with the limits on its way"
            self.ex.queued = True
            share = self._share = Share(
                flow=flow,
                input_tokens=self.input_tokens,
                expected_tokens=self.output_tokens,
                streams=self.stream,
            )
        return share

    def neutral(self) -> ChatRequest:
        """The request in the neutral model, parsed at its first use.

        Raises:
            InvalidRequest: it is not valid in the client's dialect.
        """
        if self._neutral is None:
            self._neutral = self.api.dialect.parse(self.ex.body)
        return self._neutral

    def prompt_tokens(self) -> int:
        """About how long the prompt is. A large body is read for it: its size may be that of a picture."""
        if self._prompt_tokens is None:
            tokens = estimate_from_body(self.ex.body)
            if tokens > _LARGE_TOKENS and self.api.translatable:
                try:
                    tokens = min(tokens, estimate_input_tokens(self.neutral()))
                except InvalidRequest:
                    pass  # the upstream may know more fields, or says better what is wrong
            self._prompt_tokens = tokens
        return self._prompt_tokens

    def answered_here(self) -> bool:
        """Answer what no target of the route can be asked but the gateway can count itself."""
        count, route = self.api.count, self.ex.route
        if count is None or route is None:
            return False
        if any(isinstance(t.api, Upstream) and self.api.name in t.api.native for t in route.targets):
            return False
        self.ex.status = 200
        self.ex.call.reply(
            200, b"content-type: application/json\r\n" + own_headers(self.ex), count(self.ex.body)
        )
        return True

    def affinity(self) -> bytes:
        """What decides prefix affinity: the beginning of the prompt, without the fields around it."""
        body = self.ex.body
        start = body.find(b'"messages"')
        if start < 0:
            start = max(body.find(b'"prompt"'), 0)
        return body[start : start + AFFINITY_BYTES]

    def for_target(self, target: Target, *, keep_text: bool = False) -> UpstreamCall:
        """The request for `target`; with `keep_text` in a form that a cut stream can be continued from.

        Raises:
            AttemptFailed: this target's dialect cannot carry the request.
            InvalidRequest: no dialect could.
        """
        return self._billed(self._for_target(target, keep_text=keep_text), target)

    def _billed(self, call: UpstreamCall, target: Target) -> UpstreamCall:
        """The call with what its cost is made of."""
        call.model = target.model or self.model
        call.span_id = self.span_id
        call.prices = target.prices_for(self.model)
        call.prompt_tokens = self.prompt_tokens
        call.verbatim = self.api.verbatim
        call.counts_prompt = self.api.name == "embeddings"
        return call

    def _lines(self) -> bytes:
        """Header lines of one more attempt, which has a span of its own."""
        trace = self.ex.trace
        if trace is None:
            return self.extra
        self.span_id = trace.new_id()
        return self.extra + trace.lines(self.span_id)

    def _for_target(self, target: Target, *, keep_text: bool) -> UpstreamCall:
        upstream = target.api
        assert isinstance(upstream, Upstream)
        model = target.model or self.model
        if self.api.name in upstream.native and not (keep_text and self.stream):
            return self._native(target, upstream, model)
        if self.api.name == "embeddings" and upstream.kind.embeddings is not None:
            return self._embeddings(target, upstream, upstream.kind.embeddings, model)
        return self._translated(target, model, self._neutral_for(upstream), keep_text=keep_text)

    def continuing(self, target: Target, text: str, tokens: int) -> UpstreamCall:
        """The request that goes on after `text`, about `tokens` long, as an assistant prefill."""
        upstream = target.api
        assert isinstance(upstream, Upstream)
        request = self.neutral()
        prefill = Message(role="assistant", parts=(TextPart(text=text),))
        extras = dict(request.extras)
        if upstream.type == "vllm":
            extras["continue_final_message"] = msgspec.Raw(b"true")
            extras["add_generation_prompt"] = msgspec.Raw(b"false")
        limit = request.max_output_tokens
        request = msgspec.structs.replace(
            request,
            messages=(*request.messages, prefill),
            extras=extras,
            max_output_tokens=max(limit - tokens, 1) if limit is not None else None,
        )
        model = target.model or self.model
        return self._billed(self._translated(target, model, request, keep_text=True), target)

    def _neutral_for(self, upstream: Upstream) -> ChatRequest:
        if not self.api.translatable:
            name = self.api.name
            raise _unsupported(f"`{name}` is not offered by {upstream.type} upstreams", param=None)
        return self.neutral()

    def _native(self, target: Target, upstream: Upstream, model: str) -> UpstreamCall:
        head = self.head
        api = self.api
        body = self.ex.body if api.clean is None else api.clean(self.ex.body)
        changes: dict[str, bytes | None] = {}
        if head.model != model:
            changes["model"] = _encode(model)
        reader: Reader | None = None
        if api.verbatim:
            reader = VerbatimReader(images=api.name == "images")
        elif self.stream and api.watcher is not None:
            strip = False
            if api.asks_usage and not head.include_usage:
                # The record needs usage; the client, which did not ask, does not see it.
                strip = True
                changes["stream_options"] = self._usage_asked()
            reader = NativeReader(api.watcher(strip), api.end_mark)
        if changes:
            body = replace_fields(body, changes)
        request = upstream.request(api.suffix, body, self._lines(), model=model)
        return UpstreamCall(target, upstream, request, reader, self._accept_native, native=True)

    def _usage_asked(self) -> bytes:
        """The client's `stream_options`, with usage asked for."""
        if self.head.stream_options is None:
            return b'{"include_usage":true}'
        given = object_fields(self.ex.body)["stream_options"]
        return replace_fields(bytes(given), {"include_usage": b"true"})

    def _embeddings(
        self, target: Target, upstream: Upstream, dialect_of: Callable[[str], EmbeddingsDialect], model: str
    ) -> UpstreamCall:
        request = parse_embeddings(self.ex.body)
        try:
            dialect = dialect_of(model)
            outgoing = dialect.encode(request, model)
        except UnsupportedByTarget as error:
            raise _unsupported(f"{error.message} (target {upstream.name})", param=error.param) from error

        def accept(head: ResponseHead, body: bytes) -> tuple[bytes, Glimpse]:
            try:
                answer = dialect.decode(body)
                rendered = render_embeddings(answer, request)
            except BadUpstreamAnswer as error:
                failure = Failure(kind=FailureKind.BAD_ANSWER, message=error.message)
                raise AttemptFailed(failure) from error
            glimpse = Glimpse()
            if answer.input_tokens:
                glimpse.usage = Usage(input_tokens=answer.input_tokens)
            glimpse.ended = True
            return rendered, glimpse

        extra = self._lines()
        wire = upstream.request(
            outgoing.path, outgoing.body, extra, model=model, headers=outgoing.headers, now=time.time()
        )
        return UpstreamCall(target, upstream, wire, None, accept, native=False, ignored=outgoing.ignored)

    def _accept_native(self, head: ResponseHead, body: bytes) -> tuple[bytes, Glimpse]:
        glimpse = self.api.glance(body)
        if glimpse.failure is not None:
            raise AttemptFailed(glimpse.failure, usage=glimpse.usage)
        if self.api.name == "embeddings":
            # Some engines answer in floats whatever was asked; OpenAI's SDK asks for base64.
            encoding: Literal["float", "base64"] = "float"
            if self.head.encoding_format == "base64":
                encoding = "base64"
            try:
                body = in_encoding(body, encoding)
            except BadUpstreamAnswer as error:
                failure = Failure(kind=FailureKind.BAD_ANSWER, message=error.message)
                raise AttemptFailed(failure, usage=glimpse.usage) from error
        return body, glimpse

    def _translated(
        self, target: Target, model: str, request: ChatRequest, *, keep_text: bool
    ) -> UpstreamCall:
        upstream = target.api
        assert isinstance(upstream, Upstream)
        try:
            outgoing = upstream.dialect.encode(request, model)
        except UnsupportedByTarget as error:
            raise _unsupported(f"{error.message} (target {upstream.name})", param=error.param) from error
        client = self.api.dialect
        reader = None
        if request.stream:
            encoder = client.encoder(request, self.ex.id)
            decoder = upstream.dialect.decoder(request)
            created = int(self.ex.started_at)
            reader = TranslatedReader(decoder, encoder, created=created, keep_text=keep_text)

        def accept(head: ResponseHead, body: bytes) -> tuple[bytes, Glimpse]:
            try:
                answer = upstream.dialect.decode(body, head.raw_headers)
                rendered = client.render(answer, request, self.ex.id)
            except BadUpstreamAnswer as error:
                failure = Failure(kind=FailureKind.BAD_ANSWER, message=error.message)
                raise AttemptFailed(failure, usage=upstream.dialect.usage(body)) from error
            glimpse = Glimpse()
            glimpse.usage = answer.usage
            glimpse.engine = answer.engine
            glimpse.model = answer.model
            glimpse.finish_reason = answer.choices[-1].finish.value if answer.choices else ""
            glimpse.ended = True
            return rendered, glimpse

        extra = self._lines()
        wire = upstream.request(
            outgoing.path, outgoing.body, extra, model=model, headers=outgoing.headers, now=time.time()
        )
        return UpstreamCall(target, upstream, wire, reader, accept, native=False, ignored=outgoing.ignored)


def _unsupported(message: str, *, param: str | None) -> AttemptFailed:
    return AttemptFailed(Failure(kind=FailureKind.UNSUPPORTED, message=message, status=400, param=param))


def require_model(head: RequestHead) -> str:
    """The model that the request names. Raises InvalidRequest when it names none."""
    if not head.model:
        raise InvalidRequest("`model` is missing: it names what should answer", param="model")
    return head.model

"""The fault table: one request each, to a target that misbehaves.

A row says what the first target does (as a script, so that every byte is
chosen), how the gateway is configured, and what must come of it: what the
client sees, how long it waits, which attempts the record lists and what the
breaker thinks of the target afterwards. `test_table` runs every row in each
of its clients' dialects; docs/faults.md is written from the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from tests.e2e.faults.shapes import (
    CHAT,
    CHAT_STREAM,
    EVERY,
    MESSAGES,
    STREAMS,
    TOKENS,
    WHOLES,
    Shape,
)

from fairlead.net.http1 import LAST_CHUNK, chunk
from fairlead.providers.openai_sse import MAX_EVENT_BYTES
from fairlead.testing import (
    Action,
    Close,
    HalfClose,
    ReadRequest,
    Reset,
    Script,
    Send,
    Stall,
    Wait,
    sse_event,
)
from fairlead.testing import answer as plain_answer

Scripts = Callable[[Shape], Sequence[Script]]

WHOLE: Final = "200, whole answer"
SPARE: Final = "200, whole answer of the spare"
GATEWAYS: Final[dict[str, dict[str, Any]]] = {
    "usual": {},
    "heartbeats": {"server": {"commit_s": 0.2, "heartbeat_s": 0.1}},
}
"""Settings of the whole gateway; each set runs as a process of its own."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    name: str
    fault: str
    """What the first target does, in words."""
    does: Scripts = lambda shape: [healthy(shape)]
    """What it does: a script for each connection, the last for all further ones."""
    address: Literal["scripted", "refused", "unknown", "full"] = "scripted"
    tls: Literal["", "unknown authority", "wrong name", "expired"] = ""
    shapes: tuple[Shape, ...] = STREAMS
    spare: bool = False
    """There is a healthy target of a lower tier."""
    gateway: str = "usual"
    model: dict[str, Any] = {}
    """Options of the model."""
    provider: dict[str, Any] = {}
    """Options of the first target's provider."""
    headers: dict[str, str] = {}
    """Of the client's request."""
    sees: str
    sees_anthropic: str | None = None
    """Where Anthropic's words differ."""
    within_s: tuple[float, float] = (0.0, 3.0)
    attempts: tuple[str, ...] = ("ok",)
    """How each attempt ended, as recorded."""
    outcome: str = "ok"
    breaker: str = "closed"

    def expected(self, shape: Shape) -> str:
        """What the client of this dialect must see."""
        if shape.dialect == "anthropic" and self.sees_anthropic is not None:
            return self.sees_anthropic
        return self.sees


def healthy(shape: Shape) -> tuple[Action, ...]:
    """Answer one request as one should."""
    return (ReadRequest(), Send(shape.whole()))


def sends(*parts: bytes | Action) -> tuple[Action, ...]:
    """Read the request, then send and do these."""
    return (ReadRequest(), *(Send(part) if isinstance(part, bytes) else part for part in parts))


def always(script: Callable[[Shape], Script]) -> Scripts:
    """On every connection."""
    return lambda shape: [script(shape)]


def once(script: Callable[[Shape], Script]) -> Scripts:
    """On the first connection; healthy afterwards."""
    return lambda shape: [script(shape), healthy(shape)]


def begun(shape: Shape, tokens: int = 2) -> bytes:
    """A stream's head and first tokens."""
    return shape.head() + shape.begin() + shape.tokens(*("All", " rivers")[:tokens])


def answer(
    body: bytes, *, status: int = 200, content_type: str = "application/json", headers: Sequence[str] = ()
) -> bytes:
    """A whole answer after which the connection is closed."""
    lines = ["connection: close", *headers]
    return plain_answer(body, status=status, content_type=content_type, headers=lines)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def refuses_with(status: int, code: str) -> Callable[[Shape], Script]:
    """A script that answers with an error status."""
    return lambda shape: sends(shape.refusal(status, code), Close())


def vllm_error(shape: Shape) -> bytes:
    """How vLLM reports a failure inside a stream: the code is a number."""
    return sse_event(
        b'{"error": {"message": "engine died", "type": "InternalServerError", "param": null, "code": 500}}'
    )


def flat_error(shape: Shape) -> bytes:
    """How older vLLM and SGLang do: without an envelope."""
    return sse_event(
        b'{"object": "error", "message": "engine died", "type": "InternalServerError", "code": 500}'
    )


SHORT: Final[dict[str, Any]] = {"timeouts": {"headers_s": 0.4, "first_token_s": 0.4, "stall_s": 0.4}}
_PATIENT: Final = (0.3, 4.0)
"""One time-out of SHORT, on a busy machine."""

CONNECTING: Final = (
    Scenario(
        name="refused",
        fault="refuses connections",
        address="refused",
        shapes=EVERY,
        sees="503 `upstreams_exhausted`, do not retry",
        attempts=("unreachable",) * 3,
        outcome="failed",
        breaker="open",
    ),
    Scenario(
        name="refused, spare",
        fault="refuses connections",
        address="refused",
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("unreachable", "ok"),
    ),
    Scenario(
        name="DNS failure",
        fault="has a name that nobody knows",
        address="unknown",
        spare=True,
        shapes=(CHAT_STREAM, MESSAGES),
        provider={"connect_timeout_s": 3.0},
        sees=SPARE,
        within_s=(0.0, 6.0),
        attempts=("unreachable", "ok"),
    ),
    Scenario(
        name="no room",
        fault="does not accept connections: its backlog is full",
        address="full",
        spare=True,
        shapes=(CHAT_STREAM, CHAT),
        provider={"connect_timeout_s": 0.4},
        sees=SPARE,
        within_s=_PATIENT,
        attempts=("timeout", "ok"),
    ),
    Scenario(
        name="TLS: unknown authority",
        fault="presents a certificate of an authority that is not trusted",
        tls="unknown authority",
        shapes=(CHAT_STREAM, CHAT),
        sees="503 `upstreams_exhausted`, do not retry",
        attempts=("tls",) * 3,
        outcome="failed",
        breaker="open",
    ),
    Scenario(
        name="TLS: wrong name",
        fault="presents a certificate for another name",
        tls="wrong name",
        shapes=(CHAT_STREAM, MESSAGES),
        spare=True,
        sees=SPARE,
        attempts=("tls", "ok"),
    ),
    Scenario(
        name="TLS: expired",
        fault="presents a certificate that has expired",
        tls="expired",
        shapes=(CHAT_STREAM, MESSAGES),
        spare=True,
        sees=SPARE,
        attempts=("tls", "ok"),
    ),
)

HANGING: Final = (
    Scenario(
        name="hangs before headers",
        fault="takes the request and says nothing",
        does=always(lambda shape: sends(Stall())),
        shapes=EVERY,
        spare=True,
        model=SHORT,
        sees=SPARE,
        within_s=_PATIENT,
        attempts=("timeout", "ok"),
    ),
    Scenario(
        name="hangs before headers, alone",
        fault="takes the request and says nothing",
        does=always(lambda shape: sends(Stall())),
        shapes=EVERY,
        model=SHORT,
        sees="504 `upstream_timeout`, do not retry",
        within_s=(1.0, 6.0),
        attempts=("timeout",) * 3,
        outcome="failed",
        breaker="open",
    ),
    Scenario(
        name="hangs after headers",
        fault="sends its head, then nothing",
        does=always(lambda shape: sends(shape.head(), Stall())),
        shapes=EVERY,
        spare=True,
        model=SHORT,
        sees=SPARE,
        within_s=_PATIENT,
        attempts=("timeout", "ok"),
    ),
    Scenario(
        name="hangs after its first event",
        fault="sends the event before the first token, then nothing",
        does=always(lambda shape: sends(shape.head(), shape.begin(), Stall())),
        spare=True,
        model=SHORT,
        sees=SPARE,
        within_s=_PATIENT,
        attempts=("timeout", "ok"),
    ),
    Scenario(
        name="stalls after the first token",
        fault="sends one token, then nothing",
        does=always(lambda shape: sends(begun(shape, 1), Stall())),
        spare=True,
        model=SHORT,
        sees="200, 1 token, error `upstream_cut`, proper end",
        within_s=_PATIENT,
        attempts=("timeout",),
        outcome="cut",
    ),
    Scenario(
        name="stalls in the body",
        fault="sends half of a whole answer, then nothing",
        does=always(lambda shape: sends(half(shape.whole()), Stall())),
        shapes=WHOLES,
        spare=True,
        model=SHORT,
        sees=SPARE,
        within_s=_PATIENT,
        attempts=("timeout", "ok"),
    ),
    Scenario(
        name="slow drip",
        fault="sends 3 tokens a second where 20 are required",
        does=always(lambda shape: sends(begun(shape, 1), Send(shape.tokens(*"abcdef"), 20, 0.1), Stall())),
        spare=True,
        model={"timeouts": {"min_tokens_per_s": 20.0, "commit_tokens": 8}},
        sees=SPARE,
        within_s=_PATIENT,
        attempts=("too_slow", "ok"),
    ),
    Scenario(
        name="client's own deadline",
        fault="takes the request and says nothing",
        does=always(lambda shape: sends(Stall())),
        shapes=EVERY,
        spare=True,
        headers={"x-stainless-read-timeout": "0.5"},
        sees="504 `deadline_exceeded`, do not retry",
        within_s=(0.4, 2.0),
        attempts=("timeout",),
        outcome="failed",
    ),
    Scenario(
        name="longer than the client's read time-out",
        fault="sends a token every 0.2 s, five in all",
        does=always(
            lambda shape: (
                ReadRequest(),
                Send(shape.head() + shape.begin()),
                *(action for word in TOKENS for action in (Wait(0.2), Send(shape.tokens(word)))),
                Send(shape.finish() + shape.end()),
            )
        ),
        headers={"x-stainless-read-timeout": "0.6"},
        sees=WHOLE,
        within_s=(1.0, 4.0),
    ),
    Scenario(
        name="the request's time",
        fault="takes the request and says nothing",
        does=always(lambda shape: sends(Stall())),
        shapes=(CHAT_STREAM, MESSAGES),
        model={"timeouts": {"total_s": 0.5}},
        sees="504 `deadline_exceeded`, do not retry",
        within_s=(0.4, 2.0),
        attempts=("timeout",),
        outcome="failed",
    ),
)

CUT: Final = (
    Scenario(
        name="closes before headers",
        fault="closes the connection without a byte, once",
        does=once(lambda shape: sends(Close())),
        shapes=EVERY,
        sees=WHOLE,
        attempts=("disconnected", "ok"),
    ),
    Scenario(
        name="closes before the request",
        fault="closes each connection before it has read the request",
        does=always(lambda shape: (Close(),)),
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("disconnected", "ok"),
    ),
    Scenario(
        name="reset before headers",
        fault="resets the connection without a byte, once",
        does=once(lambda shape: sends(Reset())),
        shapes=EVERY,
        sees=WHOLE,
        attempts=("disconnected", "ok"),
    ),
    Scenario(
        name="cut in the headers",
        fault="closes in the middle of its head, once",
        does=once(lambda shape: sends(shape.head()[:40], Close())),
        shapes=EVERY,
        sees=WHOLE,
        attempts=("cut", "ok"),
    ),
    Scenario(
        name="cut after the headers",
        fault="closes after its head, once",
        does=once(lambda shape: sends(shape.head(), Close())),
        shapes=EVERY,
        sees=WHOLE,
        attempts=("cut", "ok"),
    ),
    Scenario(
        name="cut before the first token",
        fault="closes in the middle of its first token, once",
        does=once(
            lambda shape: sends(shape.head(), shape.begin(), half(shape.tokens("All")), Wait(0.1), Close())
        ),
        sees=WHOLE,
        attempts=("cut", "ok"),
    ),
    Scenario(
        name="cut in the middle of an event",
        fault="closes in the middle of the third token",
        does=always(
            lambda shape: sends(begun(shape), Wait(0.1), half(shape.tokens(" reach")), Wait(0.1), Close())
        ),
        spare=True,
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("cut",),
        outcome="cut",
    ),
    Scenario(
        name="cut between events",
        fault="closes after two tokens",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), Close())),
        spare=True,
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("cut",),
        outcome="cut",
    ),
    Scenario(
        name="reset in a stream",
        fault="resets after two tokens",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), Reset())),
        spare=True,
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("cut",),
        outcome="cut",
    ),
    Scenario(
        name="half-closes in a stream",
        fault="says that nothing more comes (FIN) after two tokens, and stays",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), HalfClose(), Stall())),
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("cut",),
        outcome="cut",
    ),
    Scenario(
        name="cut after the end mark",
        fault="closes before the last chunk, everything said",
        does=always(
            lambda shape: sends(
                begun(shape), shape.tokens(" reach", " the", " sea"), shape.finish(), shape.mark(), Close()
            )
        ),
        sees=WHOLE,
    ),
    Scenario(
        name="short body",
        fault="closes before the announced content-length, once",
        does=once(lambda shape: sends(shape.whole()[:-10], Close())),
        shapes=WHOLES,
        sees=WHOLE,
        attempts=("cut", "ok"),
    ),
    Scenario(
        name="reset in the body",
        fault="resets in the middle of a whole answer, once",
        does=once(lambda shape: sends(half(shape.whole()), Wait(0.1), Reset())),
        shapes=WHOLES,
        sees=WHOLE,
        attempts=("cut", "ok"),
    ),
)

STREAMING: Final = (
    Scenario(
        name="error first in a stream",
        fault="sends an error event in place of the first token, once",
        does=once(lambda shape: sends(shape.head(), shape.error_event(), LAST_CHUNK)),
        sees=WHOLE,
        attempts=("server_error", "ok"),
    ),
    Scenario(
        name="error in the middle of a stream",
        fault="sends an error event after two tokens, then ends properly",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), shape.error_event(), shape.end())),
        spare=True,
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("server_error",),
        outcome="cut",
    ),
    Scenario(
        name="vLLM's error first in a stream",
        fault="sends vLLM's error object in place of the first token, once",
        does=once(lambda shape: sends(shape.head(), vllm_error(shape), shape.end())),
        shapes=(CHAT_STREAM,),
        sees=WHOLE,
        attempts=("server_error", "ok"),
    ),
    Scenario(
        name="vLLM's error in a stream",
        fault="sends vLLM's error object after two tokens, then `[DONE]`",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), vllm_error(shape), shape.end())),
        shapes=(CHAT_STREAM,),
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("server_error",),
        outcome="cut",
    ),
    Scenario(
        name="bare error in a stream",
        fault="sends an error object without envelope after two tokens, then `[DONE]`",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), flat_error(shape), shape.end())),
        shapes=(CHAT_STREAM,),
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("server_error",),
        outcome="cut",
    ),
    Scenario(
        name="overloaded in a stream",
        fault="sends an `overloaded_error` event in place of the first token",
        does=always(lambda shape: sends(shape.head(), shape.error_event("overloaded_error"), LAST_CHUNK)),
        spare=True,
        sees=SPARE,
        attempts=("overloaded", "ok"),
    ),
    Scenario(
        name="empty stream",
        fault="sends status 200 and the end, once",
        does=once(lambda shape: sends(shape.head(), LAST_CHUNK)),
        sees=WHOLE,
        attempts=("empty", "ok"),
    ),
    Scenario(
        name="only the end mark",
        fault="sends status 200 and the end mark, once",
        does=once(lambda shape: sends(shape.head(), shape.end())),
        sees=WHOLE,
        attempts=("empty", "ok"),
    ),
    Scenario(
        name="no finish reason",
        fault="ends the body properly after two tokens",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), LAST_CHUNK)),
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("cut",),
        outcome="cut",
    ),
    Scenario(
        name="end mark without finish reason",
        fault="sends two tokens and the end mark",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), shape.end())),
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("cut",),
        outcome="cut",
    ),
    Scenario(
        name="no end mark",
        fault="ends the body properly after the finish reason, without the end mark",
        does=always(
            lambda shape: sends(
                begun(shape), shape.tokens(" reach", " the", " sea"), shape.finish(), LAST_CHUNK
            )
        ),
        sees=WHOLE,
    ),
    Scenario(
        name="byte by byte",
        fault="sends a healthy stream in pieces of seven bytes",
        does=always(lambda shape: (ReadRequest(), Send(shape.whole(), 7))),
        shapes=EVERY,
        sees=WHOLE,
    ),
    Scenario(
        name="bad JSON in a stream",
        fault="sends an event that is no JSON after two tokens",
        does=always(
            lambda shape: sends(begun(shape), Wait(0.1), sse_event(b'{"choices": [{"del'), shape.end())
        ),
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("bad_answer",),
        outcome="cut",
    ),
    Scenario(
        name="bad chunk size",
        fault="breaks the chunked framing after two tokens",
        does=always(lambda shape: sends(begun(shape), Wait(0.1), b"xyz\r\n", Stall())),
        sees="200, 2 tokens, error `upstream_cut`, proper end",
        attempts=("bad_answer",),
        outcome="cut",
    ),
    Scenario(
        name="huge event",
        fault=f"sends an event of more than {MAX_EVENT_BYTES // 2**20} MiB",
        does=always(
            lambda shape: sends(
                shape.head(),
                chunk(b"data: "),
                *([chunk(b"x" * 2**20)] * (MAX_EVENT_BYTES // 2**20 + 1)),
                Stall(),
            )
        ),
        shapes=(CHAT_STREAM,),
        spare=True,
        sees=SPARE,
        within_s=(0.0, 10.0),
        attempts=("bad_answer", "ok"),
    ),
)

STATUSES: Final = (
    Scenario(
        name="429, retry-after-ms",
        fault="answers 429 with `retry-after-ms: 300`, once",
        does=once(
            lambda shape: sends(
                shape.refusal(429, "rate_limit_error", headers=["retry-after-ms: 300"]), Close()
            )
        ),
        shapes=EVERY,
        sees=WHOLE,
        within_s=(0.3, 2.0),
        attempts=("rate_limited", "ok"),
    ),
    Scenario(
        name="429, retry-after",
        fault="answers 429 with `retry-after: 30`",
        does=always(
            lambda shape: sends(shape.refusal(429, "rate_limit_error", headers=["retry-after: 30"]), Close())
        ),
        shapes=EVERY,
        sees="429 `rate_limit_exceeded`, retry after 30 s",
        attempts=("rate_limited",),
        outcome="upstream_refused",
    ),
    Scenario(
        name="429, retry-after, spare",
        fault="answers 429 with `retry-after: 30`",
        does=always(
            lambda shape: sends(shape.refusal(429, "rate_limit_error", headers=["retry-after: 30"]), Close())
        ),
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("rate_limited", "ok"),
    ),
    Scenario(
        name="429 without a time",
        fault="answers 429, and not for how long",
        does=always(lambda shape: sends(shape.refusal(429, "rate_limit_error"), Close())),
        shapes=EVERY,
        sees="429 `rate_limit_exceeded`, do not retry",
        attempts=("rate_limited",) * 4,
        outcome="upstream_refused",
    ),
    Scenario(
        name="no credit",
        fault="answers 429 with `insufficient_quota`",
        does=always(lambda shape: sends(shape.refusal(429, "insufficient_quota"), Close())),
        shapes=(CHAT_STREAM, CHAT),
        spare=True,
        sees=SPARE,
        attempts=("quota", "ok"),
        breaker="open",
    ),
    *(
        Scenario(
            name=f"{status} once",
            fault=f"answers {status}, once",
            does=once(refuses_with(status, code)),
            shapes=EVERY,
            sees=WHOLE,
            attempts=(kind, "ok"),
        )
        for status, code, kind in (
            (500, "api_error", "server_error"),
            (503, "overloaded_error", "overloaded"),
            (529, "overloaded_error", "overloaded"),
        )
    ),
    Scenario(
        name="500",
        fault="answers 500",
        does=always(lambda shape: sends(shape.refusal(500, "api_error"), Close())),
        shapes=EVERY,
        sees="502 `upstream_error`, do not retry",
        attempts=("server_error",) * 3,
        outcome="failed",
        breaker="open",
    ),
    Scenario(
        name="503, retry-after",
        fault="answers 503 with `retry-after: 20`",
        does=always(
            lambda shape: sends(shape.refusal(503, "overloaded_error", headers=["retry-after: 20"]), Close())
        ),
        shapes=EVERY,
        sees="503 `overloaded`, retry after 20 s",
        attempts=("overloaded",),
        outcome="failed",
    ),
    Scenario(
        name="529",
        fault="answers 529",
        does=always(lambda shape: sends(shape.refusal(529, "overloaded_error"), Close())),
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("overloaded", "ok"),
    ),
    Scenario(
        name="401",
        fault="refuses the gateway's credential",
        does=always(lambda shape: sends(shape.refusal(401, "authentication_error"), Close())),
        shapes=EVERY,
        sees="502 `upstream_error`, do not retry",
        attempts=("auth",),
        outcome="failed",
        breaker="open",
    ),
    Scenario(
        name="401, spare",
        fault="refuses the gateway's credential",
        does=always(lambda shape: sends(shape.refusal(401, "authentication_error"), Close())),
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("auth", "ok"),
        breaker="open",
    ),
    Scenario(
        name="404",
        fault="does not know the model",
        does=always(lambda shape: sends(shape.refusal(404, "not_found_error"), Close())),
        shapes=EVERY,
        sees="404 `model_not_found`, do not retry",
        attempts=("not_found",),
        outcome="upstream_refused",
    ),
    Scenario(
        name="400",
        fault="answers 400",
        does=always(lambda shape: sends(shape.refusal(400, "invalid_request_error"), Close())),
        shapes=EVERY,
        spare=True,
        sees="400 `invalid_request_error`, do not retry",
        attempts=("invalid_request",),
        outcome="upstream_refused",
    ),
    Scenario(
        name="prompt too long",
        fault="answers 400: the prompt is longer than the context window",
        does=always(
            lambda shape: sends(
                shape.refusal(
                    400, "invalid_request_error", "prompt is too long: maximum context length is 8192 tokens"
                ),
                Close(),
            )
        ),
        shapes=EVERY,
        model={"fallbacks": {"context_window": ["{key}-other"]}},
        sees="200, whole answer of the fallback",
        attempts=("context_window", "ok"),
    ),
    Scenario(
        name="content policy",
        fault="answers 400: refused by the content policy",
        does=always(
            lambda shape: sends(
                shape.refusal(400, "content_filter", "Output blocked by content filtering policy")
                if shape.dialect == "openai"
                else shape.refusal(
                    400, "invalid_request_error", "Output blocked by content filtering policy"
                ),
                Close(),
            )
        ),
        shapes=EVERY,
        model={"fallbacks": {"content_policy": ["{key}-other"]}},
        sees="200, whole answer of the fallback",
        attempts=("content_policy", "ok"),
    ),
    Scenario(
        name="down, fallback",
        fault="refuses connections",
        address="refused",
        shapes=EVERY,
        model={"fallbacks": {"any": ["{key}-other"]}},
        sees="200, whole answer of the fallback",
        attempts=("unreachable", "unreachable", "unreachable", "ok"),
        breaker="open",
    ),
)

BODIES: Final = (
    Scenario(
        name="bad JSON",
        fault="answers 200 with half of a JSON body, properly framed, once",
        does=once(lambda shape: sends(answer(half(shape.body())), Close())),
        shapes=WHOLES,
        sees=WHOLE,
        attempts=("bad_answer", "ok"),
    ),
    Scenario(
        name="error object in a 200",
        fault="answers 200 with an error object, once",
        does=once(lambda shape: sends(answer(shape.error("api_error")), Close())),
        shapes=WHOLES,
        sees=WHOLE,
        attempts=("server_error", "ok"),
    ),
    Scenario(
        name="empty body",
        fault="answers 200 with nothing, once",
        does=once(lambda shape: sends(answer(b""), Close())),
        shapes=WHOLES,
        sees=WHOLE,
        attempts=("bad_answer", "ok"),
    ),
    Scenario(
        name="HTML in a 200",
        fault="answers 200 with a page of HTML, once",
        does=once(
            lambda shape: sends(answer(b"<html>maintenance</html>", content_type="text/html"), Close())
        ),
        shapes=EVERY,
        sees=WHOLE,
        attempts=("bad_answer", "ok"),
    ),
    Scenario(
        name="HTML in a 502",
        fault="answers 502 with a proxy's page of HTML, once",
        does=once(
            lambda shape: sends(
                answer(b"<html>Bad Gateway</html>", status=502, content_type="text/html"), Close()
            )
        ),
        shapes=EVERY,
        sees=WHOLE,
        attempts=("server_error", "ok"),
    ),
    Scenario(
        name="JSON for a stream",
        fault="answers a stream's request with a whole JSON body, once",
        does=once(lambda shape: sends(answer(shape.body()), Close())),
        sees=WHOLE,
        attempts=("bad_answer", "ok"),
    ),
    Scenario(
        name="redirect",
        fault="answers 302",
        does=always(lambda shape: sends(answer(b"", status=302, headers=["location: http://x/"]), Close())),
        shapes=(CHAT_STREAM, CHAT),
        spare=True,
        sees=SPARE,
        attempts=("bad_answer", "ok"),
    ),
    Scenario(
        name="headers too large",
        fault="sends 100 KiB of headers",
        does=always(
            lambda shape: sends(
                answer(b"{}", headers=[f"x-{number}: {'x' * 1000}" for number in range(100)]), Stall()
            )
        ),
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("bad_answer", "ok"),
    ),
    Scenario(
        name="two lengths",
        fault="sends content-length and transfer-encoding",
        does=always(
            lambda shape: sends(answer(b"0\r\n\r\n", headers=["transfer-encoding: chunked"]), Stall())
        ),
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("bad_answer", "ok"),
    ),
    Scenario(
        name="not HTTP",
        fault="greets like a mail server",
        does=always(lambda shape: sends(b"220 mail.example ESMTP\r\n", Stall())),
        shapes=EVERY,
        spare=True,
        sees=SPARE,
        attempts=("bad_answer", "ok"),
    ),
)

WAITING: Final = (
    Scenario(
        name="heartbeats",
        fault="answers after 0.7 s",
        does=always(lambda shape: sends(Wait(0.7), shape.whole())),
        gateway="heartbeats",
        sees="200, heartbeats, whole answer",
        within_s=(0.7, 3.0),
    ),
    Scenario(
        name="heartbeats, then another target",
        fault="says nothing",
        does=always(lambda shape: sends(Stall())),
        gateway="heartbeats",
        spare=True,
        model={"timeouts": {"first_token_s": 0.6}},
        sees="200, heartbeats, whole answer of the spare",
        within_s=(0.5, 3.0),
        attempts=("timeout", "ok"),
    ),
    Scenario(
        name="heartbeats, then an error",
        fault="answers 500 after 0.5 s",
        does=always(lambda shape: sends(Wait(0.5), shape.refusal(500, "api_error"), Close())),
        gateway="heartbeats",
        model={"timeouts": {"total_s": 10.0}},
        sees="200, heartbeats, 0 tokens, error `upstream_error`, proper end",
        within_s=(0.5, 6.0),
        attempts=("server_error",) * 3,
        outcome="failed",
        breaker="open",
    ),
    Scenario(
        name="refused before the first heartbeat",
        fault="answers 400 at once",
        does=always(lambda shape: sends(shape.refusal(400, "invalid_request_error"), Close())),
        gateway="heartbeats",
        sees="400 `invalid_request_error`, do not retry",
        attempts=("invalid_request",),
        outcome="upstream_refused",
    ),
)

GROUPS: Final[dict[str, tuple[Scenario, ...]]] = {
    "Connecting": CONNECTING,
    "Hanging and slow": HANGING,
    "Connections cut": CUT,
    "Inside a stream": STREAMING,
    "Statuses": STATUSES,
    "Answers that are none": BODIES,
    "Heartbeats": WAITING,
}
SCENARIOS: Final = tuple(scenario for group in GROUPS.values() for scenario in group)

"""The APIs of the gateway, by hand: path to how its requests and answers are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.providers.anthropic import AnthropicClient, AnthropicWatcher
from fairlead.providers.anthropic import glance as glance_message
from fairlead.providers.anthropic_history import without_foreign_reasoning
from fairlead.providers.dialect import ClientDialect, Glimpse, Watcher
from fairlead.providers.embeddings import glance as glance_embeddings
from fairlead.providers.openai_chat import ChatWatcher, OpenAIChatClient
from fairlead.providers.openai_chat import glance as glance_chat
from fairlead.providers.openai_completions import CompletionsClient, CompletionsWatcher
from fairlead.providers.openai_responses import ResponsesClient, ResponsesWatcher
from fairlead.providers.openai_responses import glance as glance_response
from fairlead.providers.plain import glance_any
from fairlead.providers.rerank import glance as glance_ranking

_DONE: Final = b"data: [DONE]\n\n"


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """One API that takes a JSON body naming a model."""

    name: str
    """What an upstream must offer to be asked natively."""
    scope: str
    """Name in key scopes and records."""
    suffix: str
    """Path under an upstream's base URL."""
    dialect: ClientDialect
    dialect_name: str
    translatable: bool = False
    """Chat in some form: any upstream dialect can answer."""
    watcher: Callable[[bool], Watcher] | None = None
    """Reads a native stream; the flag says to strip the usage that only we asked for."""
    asks_usage: bool = False
    """Usage in a stream must be asked for with `stream_options`."""
    end_mark: bytes = b""
    """Sent when an upstream finishes a stream without its dialect's own end mark."""
    glance: Callable[[bytes], Glimpse] = glance_any
    """Reads a whole native answer."""
    clean: Callable[[bytes], bytes] | None = None
    """Takes out of a native body what only other providers could read."""
    count: Callable[[bytes], bytes] | None = None
    """Answers without an upstream, for targets that cannot."""
    verbatim: bool = False
    """The answer is relayed byte for byte as it comes; it need not be JSON."""


def apis() -> dict[str, Api]:
    """Request path to API."""
    openai = OpenAIChatClient()
    chat = Api(
        name="chat",
        scope="chat",
        suffix="/chat/completions",
        dialect=openai,
        dialect_name="openai",
        translatable=True,
        watcher=lambda strip: ChatWatcher(strip_usage=strip),
        asks_usage=True,
        end_mark=_DONE,
        glance=glance_chat,
    )
    completions = Api(
        name="completions",
        scope="completions",
        suffix="/completions",
        dialect=CompletionsClient(),
        dialect_name="openai",
        translatable=True,
        watcher=lambda strip: CompletionsWatcher(strip_usage=strip),
        asks_usage=True,
        end_mark=_DONE,
        glance=glance_chat,
    )
    responses = Api(
        name="responses",
        scope="responses",
        suffix="/responses",
        dialect=ResponsesClient(),
        dialect_name="responses",
        translatable=True,
        watcher=lambda strip: ResponsesWatcher(),
        glance=glance_response,
    )
    anthropic = AnthropicClient()
    messages = Api(
        name="messages",
        scope="messages",
        suffix="/messages",
        dialect=anthropic,
        dialect_name="anthropic",
        translatable=True,
        watcher=lambda strip: AnthropicWatcher(),
        end_mark=b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        glance=glance_message,
        clean=without_foreign_reasoning,
    )
    table = {
        "/v1/chat/completions": chat,
        "/v1/completions": completions,
        "/v1/responses": responses,
        "/v1/messages": messages,
        "/v1/messages/count_tokens": Api(
            name="count_tokens",
            scope="count_tokens",
            suffix="/messages/count_tokens",
            dialect=anthropic,
            dialect_name="anthropic",
            count=anthropic.count_tokens,
        ),
    }
    for path, scope, verbatim, glance in (
        ("/embeddings", "embeddings", False, glance_embeddings),
        ("/rerank", "rerank", False, glance_ranking),
        ("/moderations", "moderations", False, glance_any),
        ("/images/generations", "images", True, glance_any),
        ("/audio/speech", "audio", True, glance_any),
    ):
        table["/v1" + path] = Api(
            name=scope,
            scope=scope,
            suffix=path,
            dialect=openai,
            dialect_name="openai",
            verbatim=verbatim,
            glance=glance,
        )
    return table

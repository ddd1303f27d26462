"""The same request and the same answer in OpenAI's and in Anthropic's words. Pure.

What a client asked in one dialect may have been answered in the other already.
`text_of` says what a request is, whoever words it; `reworded` gives an answer
in the other dialect, where nothing is lost on the way.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.providers.chat import ChatRequest
from fairlead.providers.kept import rewritten

DIALECTS: Final = frozenset({"chat", "messages"})
"""APIs that have a word for everything the other one says, but for what `text_of` excludes."""

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def text_of(request: ChatRequest) -> bytes | None:
    """Everything that changes the answer, the same for both dialects; None for what only one can say.

    Whether it streams, who asks and hints that change no answer are left out.
    """
    if request.extras or request.n != 1 or request.logprobs or request.service_tier is not None:
        return None
    neutral = msgspec.structs.replace(request, stream=False, include_usage=False, user=None, advisory={})
    try:
        # Schemas are kept as they were written: read, they are the same whatever their white space.
        return _encode(_decode(msgspec.json.encode(neutral)))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def reworded(source: str, body: bytes, target: str, request_id: str) -> bytes | None:
    """An answer of one API as a whole answer of the other; None when something would be lost."""
    if source not in DIALECTS or target not in DIALECTS:
        return None
    return rewritten(source, body, target, request_id)

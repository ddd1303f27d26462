"""Reasoning of other providers in a conversation that goes to Anthropic untranslated.

A model group may hold targets of several providers. What one of them thought
comes back from the client in its next turn, and Anthropic refuses a whole
request over one thinking block that it did not sign. Those blocks, and only
those, are taken out; all other bytes stay. Blocks that Anthropic made are never
touched, because it requires them back.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.providers import anthropic_wire as wire
from fairlead.providers.opaque import native
from fairlead.providers.rewrite import object_fields, replace_fields

_messages_decoder: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_content_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_block_decoder: Final = msgspec.json.Decoder(wire.StartedBlock)


def without_foreign_reasoning(body: bytes) -> bytes:
    """The body without reasoning that Anthropic would refuse; the same object when there is none.

    A body that is not what the API prescribes is returned as it is: Anthropic
    says better than we could what is wrong with it.

    Raises:
        InvalidRequest: the body is no UTF-8 JSON object.
    """
    if b"thinking" not in body:
        return body
    raw = object_fields(body).get("messages")
    if raw is None:
        return body
    try:
        messages = _messages_decoder.decode(raw)
        kept = [changed for message in messages if (changed := _cleaned(message)) is not None]
    except (msgspec.DecodeError, RecursionError):
        return body
    if len(kept) == len(messages) and all(a is b for a, b in zip(kept, messages, strict=True)):
        return body
    return replace_fields(body, {"messages": msgspec.json.encode(kept)})


def _cleaned(message: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw] | None:
    """The message itself, a copy without foreign blocks, or None when nothing is left."""
    content = message.get("content")
    if content is None or not bytes(content).startswith(b"["):
        return message
    blocks = _content_decoder.decode(content)
    own = [block for block in blocks if not _is_foreign(block)]
    if len(own) == len(blocks):
        return message
    if not own:
        return None
    return {**message, "content": msgspec.Raw(msgspec.json.encode(own))}


def _is_foreign(raw: msgspec.Raw) -> bool:
    if b"thinking" not in bytes(raw):
        return False
    block = _block_decoder.decode(raw)
    if block.type == "thinking":
        return not native(block.signature)
    return block.type == "redacted_thinking" and not native(block.data)

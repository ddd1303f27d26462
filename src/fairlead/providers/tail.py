"""Usage at the end of an answer that is relayed byte for byte: images and transcriptions.

Such an answer is megabytes of base64 or text with its usage behind it, so only
its last bytes are kept and looked at. What is not JSON, or tells its usage
elsewhere, has none.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.providers.openai_usage import read_usage
from fairlead.types import Usage

_KEPT: Final = 2048
_MARK: Final = b'"usage"'


class Tail:
    """The last bytes of an answer. Mutable."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> None:
        """More of the answer."""
        self._bytes = data[-_KEPT:] if len(data) >= _KEPT else (self._bytes + data)[-_KEPT:]

    def usage(self, *, images: bool) -> Usage | None:
        """What the answer has told of its usage; None for nothing.

        Args:
            images: output tokens of unknown kind are images.
        """
        text = self._bytes.rstrip()
        start = text.rfind(_MARK)
        if start < 0 or not text.endswith(b"}"):
            return None
        value = _object(text[start + len(_MARK) :].lstrip().removeprefix(b":").lstrip())
        usage = read_usage(value) if value is not None else None
        if (
            usage is not None
            and images
            and not usage.image_output_tokens
            and b'"output_tokens_details"' not in text
        ):
            return msgspec.structs.replace(usage, image_output_tokens=usage.output_tokens)
        return usage


def _object(text: bytes) -> msgspec.Raw | None:
    """The JSON object that `text` begins with; it holds no text with braces, or it is none of ours."""
    depth = 0
    for place, byte in enumerate(text):
        if byte == 0x7B:
            depth += 1
        elif byte == 0x7D:
            depth -= 1
            if depth == 0:
                return msgspec.Raw(text[: place + 1])
        if depth == 0:
            return None
    return None

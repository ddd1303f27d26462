"""SentencePiece vocabularies: pieces with scores, and the settings they were trained with."""

from __future__ import annotations

from typing import Final

from fairlead.vault.ingest import protobuf
from fairlead.vault.ingest.protobuf import Message
from fairlead.vault.ingest.verdict import Stopped
from fairlead.vault.ingest.window import Window

_RULE: Final = "sentencepiece"
_MODEL: Final = Message({1: "piece", 2: "bytes", 3: "bytes", 4: "bytes", 5: "bytes"})
_PIECE: Final = Message({1: "text", 2: "fixed32", 3: "varint"})
_MAX_PIECE_BYTES: Final = 4096
_SETTINGS_BYTES: Final = 16 << 20


def is_sentencepiece(window: Window) -> bool:
    """Whether a file's fields are those of a vocabulary with at least one piece."""
    pieces = 0
    try:
        for found in protobuf.fields(window, _MODEL, _RULE, "model"):
            pieces += found.number == 1
    except Stopped:
        return False
    return pieces > 0


def read(window: Window) -> None:
    """Check every piece.

    Raises:
        Stopped: one is not plain.
    """
    for found in protobuf.fields(window, _MODEL, _RULE, "model"):
        assert found.window is not None
        if found.number != 1:
            if found.window.size > _SETTINGS_BYTES:
                raise Stopped(_RULE, f"field {found.number}", "settings larger than any")
            continue
        named = False
        for part in protobuf.fields(found.window, _PIECE, _RULE, "piece"):
            if part.number == 1:
                protobuf.text(part, _MAX_PIECE_BYTES, _RULE, "piece")
                named = True
        if not named:
            raise Stopped(_RULE, "piece", "a piece without its text")

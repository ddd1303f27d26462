"""Texts as tokens, and what differs between two texts.

Words are runs of letters and digits of any script; a script that is written
without spaces counts character by character, so that one changed sign is one
changed token. Case is folded for comparing and kept for whoever cares.
Operators and the signs of code are tokens; the punctuation of prose is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from difflib import SequenceMatcher
from typing import Final

import msgspec

MAX_TOKENS: Final = 200
MAX_CHARS: Final = 4000
"""Longer texts are not compared: the alignment is quadratic, and so long a text hides a difference well."""

_TOKEN: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]"  # kana, han, Thai: one sign at a time
    r"|[^\W_]+(?:['\u2019][^\W_]+)*(?:\+\+|#)?"  # words, `don't`, `C++`
    r"|[^\w\s.,;:!?\u00a1\u00bf\u3001\u3002\uff0c\uff1f\uff01\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb()\u2026-]+"
)
_APOSTROPHES: Final = str.maketrans({"\u2019": "'", "\u02bc": "'"})


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A text taken apart."""

    raw: str
    """Normalised to NFKC; empty of a text that is too long."""
    tokens: tuple[str, ...]
    """As written."""
    folded: tuple[str, ...]
    """The same, without case."""

    too_long: bool = False


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """A place where two texts differ: these tokens stand where those stand. One side may be empty."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two texts."""

    edits: tuple[Edit, ...]
    only_ours: tuple[str, ...]
    only_theirs: tuple[str, ...]
    moved: tuple[str, ...]
    """Tokens of both that stand elsewhere."""
    recased: tuple[str, ...]
    """Tokens of both that one writes in another case, the first of a text aside."""


def taken_apart(text: str) -> Text:
    """A text's tokens, after compatibility normalisation; none of a text that is too long."""
    if len(text) > MAX_CHARS:
        return _TOO_LONG
    raw = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    # Normalising may lengthen a text: one sign can stand for eighteen.
    tokens = tuple(_TOKEN.findall(raw)) if len(raw) <= MAX_CHARS else ()
    if len(raw) > MAX_CHARS or len(tokens) > MAX_TOKENS:
        return _TOO_LONG
    return Text(raw=raw, tokens=tokens, folded=tuple(token.casefold() for token in tokens))


_TOO_LONG: Final = Text(raw="", tokens=(), folded=(), too_long=True)


def difference(ours: Text, theirs: Text) -> Difference:
    """Align two texts, and tell where they differ."""
    matcher = SequenceMatcher(None, ours.folded, theirs.folded, autojunk=False)
    edits: list[Edit] = []
    recased: list[str] = []
    deleted: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    for what, i1, i2, j1, j2 in matcher.get_opcodes():
        if what == "equal":
            recased += [
                ours.folded[i]
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True)
                if ours.tokens[i] != theirs.tokens[j] and i and j
            ]
            continue
        edit = Edit(ours=ours.folded[i1:i2], theirs=theirs.folded[j1:j2])
        deleted.update(edit.ours)
        inserted.update(edit.theirs)
        edits.append(edit)
    moved = deleted & inserted
    return Difference(
        edits=tuple(edits),
        only_ours=tuple((deleted - moved).elements()),
        only_theirs=tuple((inserted - moved).elements()),
        moved=tuple(moved.elements()),
        recased=tuple(recased),
    )

"""Token counting by a simple rule.

A token is one of: up to five letters, digits or underscores of a word, with
the one space before it; one other visible character, with the one space before
it; a run of white space. That is about four characters a token in English
prose, and joining the tokens gives the text back.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence

_TOKEN = re.compile(r" ?\w{1,5}| ?[^\w\s]|\s+")
_VOCABULARY = 128_000


def tokenize(text: str) -> list[str]:
    """The tokens of a text; joined, they are the text again."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """Tokens in a text."""
    return sum(1 for _ in _TOKEN.finditer(text))


def token_id(token: str) -> int:
    """A stable number for a token, as /tokenize reports it."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % _VOCABULARY


def block_hashes(tokens: Sequence[str], block_tokens: int) -> tuple[int, ...]:
    """One hash per full block of a prompt, each chained to those before it."""
    hashes = []
    chain = hashlib.blake2b(digest_size=8)
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        for token in tokens[start : start + block_tokens]:
            chain.update(token.encode("utf-8", "surrogatepass"))
            chain.update(b"\0")
        hashes.append(int.from_bytes(chain.copy().digest(), "big"))
    return tuple(hashes)

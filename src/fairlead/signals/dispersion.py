"""How far several answers to one question lie apart.

Answers fall into groups: by canonical JSON where they are JSON or tool calls,
else by normalised text, and with vectors also by nearness. The last is *not*
the mutual entailment that semantic entropy is defined by: two near texts may
contradict each other. So it is called dispersion, and says how it was grouped.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

_SPACE: Final = re.compile(r"\s+")
_EDGES: Final = " \t\r\n.!?,;:\"'`*_"
NEAR: Final = 0.9
"""Cosine from which two answers are in one group."""


class Dispersion(msgspec.Struct, frozen=True, kw_only=True):
    """How answers to one question agree."""

    answers: int
    groups: int
    agreement: float
    """Part of the answers in the largest group."""
    entropy: float
    """`-sum(p log p)` over the groups, in nats."""
    by: Literal["json", "text", "vectors"]
    """What decided about sameness."""


def dispersion(
    answers: Sequence[str], near: Callable[[int, int], float] | None = None, *, threshold: float = NEAR
) -> Dispersion:
    """Group at least one answer.

    Args:
        answers: their texts.
        near: cosine of two answers, by their places; None where nothing understands them.
        threshold: from which cosine two are the same.
    """
    forms = [_canonical(answer) for answer in answers]
    whole = all(form.startswith("json:") for form in forms)
    labels = list(forms)
    by: Literal["json", "text", "vectors"] = "json" if whole else "text"
    if not whole and near is not None:
        labels, by = _joined(forms, near, threshold), "vectors"
    sizes = sorted(Counter(labels).values(), reverse=True)
    shares = [size / len(answers) for size in sizes]
    return Dispersion(
        answers=len(answers),
        groups=len(sizes),
        agreement=shares[0],
        entropy=abs(sum(share * math.log(share) for share in shares)),
        by=by,
    )


def _canonical(answer: str) -> str:
    """`json:` and the canonical form of JSON, or `text:` and the normalised text."""
    text = answer.strip()
    if text[:1] in ("{", "["):
        try:
            value = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
            return "json:" + msgspec.json.encode(value, order="deterministic").decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "text:" + _SPACE.sub(" ", folded).strip(_EDGES)


def _joined(forms: Sequence[str], near: Callable[[int, int], float], threshold: float) -> list[str]:
    """Each answer's group: the first one before it that is the same, or near."""
    leaders: list[int] = []
    labels: list[str] = []
    for at, form in enumerate(forms):
        same = (lead for lead in leaders if forms[lead] == form or near(lead, at) >= threshold)
        leader = next(same, at)
        if leader == at:
            leaders.append(at)
        labels.append(str(leader))
    return labels

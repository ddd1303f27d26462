"""What two texts must agree on before one's answer may serve the other.

Each guard reads facts off a text and compares them: numbers, units, dates,
negation, opposites, comparatives and quantifiers, named entities, code and
identifiers. A guard that is unsure says that they differ: that costs a hit,
the contrary would cost a wrong answer. Guards work on signs, digits and case
where they can, in every language alike, and on word lists (`guard_words`)
where they must.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from fairlead.cache.semantic import guard_words
from fairlead.cache.semantic.text import Difference, Text

GUARDS: Final = (
    "length", "numbers", "units", "dates", "negation", "opposites", "comparatives", "entities", "code",
)  # fmt: skip
"""Names of the guards, as they appear in metrics."""

_NUMBER: Final = re.compile(r"(?:(?<![\w.)\]])[-+\u2212])?\d+(?:[.,:/\u2044]\d+)*")
_UNIT_AFTER: Final = re.compile(r"\d\s?([^\W\d_]{1,12}|[%$\u20ac\u00a3\u00a5])")
_DEGREES: Final = re.compile(r"\u00b0\s?([CFK])\b")
_CURRENCY: Final = re.compile(r"[$\u20ac\u00a3\u00a5\u20b9%]")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL: Final = re.compile(r"(\d+)\.(\d+)")
_CODE: Final = re.compile(
    r"```.*?(?:```|\Z)|`[^`]+`"  # fenced and quoted code
    r"|https?://\S+|(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]+"  # addresses
    r"|(?<![\w-])--?[A-Za-z][\w-]*"  # flags
    r"|(?<![~.\w-])[~.\w-]*[/\\][\w./\\-]+"  # paths
    r"|(?<!\w)(?:\w*_\w+|\w+(?:::\w+)+|\w+(?:->\w+)+|\w+(?:\.[A-Za-z]\w*)+|\w+\(\w*\))"  # signs in names
    r"|\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*"  # camelCase
    r"|\b(?=\w*[A-Za-z])(?=\w*\d)\w+\b"  # letters and digits: v2, sha256, B12
    r"|[@#]\w+|[<>=!+*/&|^%]=|<<|>>|&&|\|\||=>|->|[{}\[\]<>=|&^~\\$]",
    re.DOTALL,
)
_QUANTITY: Final = re.compile(r"\d+(?:st|nd|rd|th|[a-z]{1,3})")
"""`5km`, `1st`: a number and its unit, no identifier."""
_QUOTED: Final = re.compile(
    r"[\"\u201c\u00ab\u201e]([^\"\u201c\u201d\u00bb\u201e]{1,80})[\"\u201d\u00bb\u201c]"
)
_SENTENCE_START: Final = re.compile(
    r"(?:\A|[.!?:;\u3002\uff1f\uff01]\s|[\n\"\u201c(\u00bf\u00a1])\s*([^\W\d_]+)"
)
_MIN_STEM: Final = 3
_CASED_PRONOUN: Final = frozenset({"i", "i'm", "i'd", "i'll", "i've"})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the guards read off one text."""

    text: Text
    numbers: tuple[str, ...]
    units: tuple[str, ...]
    """Sorted, as the next ones: where they stand is the numbers' matter."""
    dates: tuple[str, ...]
    negators: int
    comparatives: tuple[str, ...]
    entities: tuple[str, ...]
    """Names in the order of the text, without case."""
    code: tuple[str, ...]


def facts_of(text: Text) -> Facts:
    """Read everything that guards compare."""
    numbers = _numbers(text)
    return Facts(
        text=text,
        numbers=numbers,
        units=_units(text),
        dates=_named(text.folded, guard_words.dates()),
        negators=sum(_denies(word) for word in text.folded),
        comparatives=_named(text.folded, guard_words.comparatives()),
        entities=_entities(text),
        code=tuple(
            match[0] for match in _CODE.finditer(text.raw) if not _QUANTITY.fullmatch(match[0].lower())
        ),
    )


def disagreements(ours: Facts, theirs: Facts, difference: Difference) -> tuple[str, ...]:
    """Names of the guards on which two texts differ, in the order of `GUARDS`; empty when they agree."""
    if ours.text.too_long or theirs.text.too_long:
        return ("length",)
    found = {
        "numbers": ours.numbers != theirs.numbers,
        "units": ours.units != theirs.units,
        "dates": ours.dates != theirs.dates,
        "negation": ours.negators != theirs.negators,
        "opposites": _opposed(difference),
        "comparatives": ours.comparatives != theirs.comparatives,
        "entities": _other_entities(ours, theirs),
        "code": ours.code != theirs.code,
    }
    return tuple(name for name in GUARDS if found.get(name))


def _numbers(text: Text) -> tuple[str, ...]:
    """Numbers in their order, digits of any script, written alike."""
    found: list[tuple[int, str]] = [
        (match.start(), _number(match[0])) for match in _NUMBER.finditer(text.raw)
    ]
    words = guard_words.NUMBER_WORDS
    if any(word in words for word in text.folded):
        at = 0
        lowered = text.raw.casefold()
        for word in text.folded:
            at = max(lowered.find(word, at), at)
            if word in words:
                found.append((at, words[word]))
            at += len(word)
        found.sort()
    return tuple(number for _, number in found)


def _number(written: str) -> str:
    digits = "".join(str(unicodedata.digit(char)) if char.isdigit() else char for char in written)
    digits = digits.replace("\u2212", "-").lstrip("+")
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    elif digits.count(",") == 1 and "." not in digits and len(digits.partition(",")[2]) != 3:
        digits = digits.replace(",", ".")
    # Three decimals may be thousands elsewhere (`1.000`), so they stay as they are.
    if (decimal := _DECIMAL.fullmatch(digits)) and len(decimal[2]) != 3:
        whole, rest = decimal[1].lstrip("0") or "0", decimal[2].rstrip("0")
        return f"{whole}.{rest}" if rest else whole
    return digits.lstrip("0") or "0" if digits.isdigit() else digits


def _units(text: Text) -> tuple[str, ...]:
    known, counted = guard_words.units(), guard_words.counted()
    found = {known[word] for word in text.folded if len(word) > 2 and word in known}
    for match in _UNIT_AFTER.finditer(text.raw):
        word = match[1].casefold()
        # One or two letters after a number are a unit unless they are known to be something else.
        if (unit := counted.get(word) or (word if len(word) <= 2 else "")) and word not in _NO_UNITS:
            found.add(_SHORT.get(word, unit))
    found |= {f"\u00b0{match[1]}" for match in _DEGREES.finditer(text.raw)}
    found |= {known.get(sign, sign) for sign in _CURRENCY.findall(text.raw)}
    return tuple(sorted(found))


_SHORT: Final[Mapping[str, str]] = {
    "m": "metre", "in": "inch", "k": "thousand", "bn": "billion", "c": "celsius", "f": "fahrenheit",
}  # fmt: skip
"""What one or two letters after a number stand for, where the lists do not tell."""

_NO_UNITS: Final = frozenset({
    "st", "nd", "rd", "th", "of", "to", "or", "is", "at", "on", "by", "if", "as", "be", "do", "my", "we",
    "it", "so", "no",
    "a", "i", "de", "en", "et", "la", "le", "y", "o", "e", "zu", "im", "am", "и", "в",
})  # fmt: skip


def _named(words: Iterable[str], known: Mapping[str, str]) -> tuple[str, ...]:
    bare = (word.removesuffix("'s") for word in words)
    return tuple(sorted(known[word] for word in bare if word in known))


def _denies(word: str) -> bool:
    return word in guard_words.negators() or word.endswith("n't")


def _opposed(difference: Difference) -> bool:
    families, prefixes = guard_words.families(), guard_words.prefixes()
    there: dict[int, set[int]] = {}
    for word in difference.only_theirs:
        for family, alternative in families.get(word, ()):
            there.setdefault(family, set()).add(alternative)
    for word in difference.only_ours:
        for family, alternative in families.get(word, ()):
            if there.get(family, set()) - {alternative}:
                return True
        if any(_turned(word, other, prefixes) for other in difference.only_theirs):
            return True
    return False


def _turned(one: str, other: str, prefixes: frozenset[str]) -> bool:
    """Whether two words differ in a beginning that turns the sense: `mutable`, `immutable`."""
    shared = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        shared += 1
    # A shared stem may begin with letters that both prefixes end with: try a few lengths.
    for stem in range(shared, max(shared - 3, _MIN_STEM - 1), -1):
        if one[: len(one) - stem] in prefixes and other[: len(other) - stem] in prefixes:
            return True
    return False


def _entities(text: Text) -> tuple[str, ...]:
    """Capitalised words inside sentences, words in capitals, and quotations."""
    starts = {match.start(1) for match in _SENTENCE_START.finditer(text.raw)}
    found: list[str] = []
    at = 0
    for token in text.tokens:
        at = text.raw.find(token, at)
        begins = at in starts
        at += len(token)
        if not token[:1].isupper() or token.casefold() in _CASED_PRONOUN:
            continue
        if not begins or (len(token) > 1 and token.isupper()):
            found.append(token.casefold().removesuffix("'s"))
    found += [match[1].casefold() for match in _QUOTED.finditer(text.raw)]
    return tuple(found)


def _other_entities(ours: Facts, theirs: Facts) -> bool:
    """Whether a name of one text is missing in the other, or the names stand in another order."""
    # A name that begins one text's sentence is none there, so names are looked for among all words.
    words_ours = {word.removesuffix("'s") for word in ours.text.folded}
    words_theirs = {word.removesuffix("'s") for word in theirs.text.folded}
    ours_raw, theirs_raw = ours.text.raw.casefold(), theirs.text.raw.casefold()
    if any(name not in words_theirs and name not in theirs_raw for name in ours.entities):
        return True
    if any(name not in words_ours and name not in ours_raw for name in theirs.entities):
        return True
    names = set(ours.entities) | set(theirs.entities)
    return _order(ours.text, names) != _order(theirs.text, names)


def _order(text: Text, names: set[str]) -> list[str]:
    """The names of a text as they come, each once."""
    return list(
        dict.fromkeys(word for word in (one.removesuffix("'s") for one in text.folded) if word in names)
    )

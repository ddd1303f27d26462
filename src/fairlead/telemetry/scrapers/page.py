"""Prometheus text (0.0.4) and OpenMetrics (1.0), read line by line.

For pages of other people's programs: a line that is not as it should be is
skipped and counted, never the page. Only samples of wanted names are looked
at closer, because an engine's page is mostly histogram buckets. Bounded in
every direction: the caller bounds the page, this module lines, labels, and
series of a name.

What both formats allow is accepted from either: time stamps in milliseconds
or seconds, exemplars, `# EOF`, names in quotes (UTF-8 names of Prometheus 3),
`\\r\\n`. The library `prometheus-client` gives up a whole page at its first bad
line, and reads all of its samples.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

MAX_LINE_BYTES: Final = 16_384
MAX_LABELS: Final = 64
_LONGEST_NAME: Final = 512
MAX_SERIES: Final = 4096
"""Samples kept of one name."""

# Quantifiers are possessive (`*+`): whatever a line holds, it is read once.
_LABEL: Final = re.compile(
    rb'[ \t]*+(?:([A-Za-z_][A-Za-z0-9_]*+)|"((?:[^"\\]|\\.)*+)")[ \t]*+'  # the label's name, plain or quoted
    rb'(=[ \t]*+"((?:[^"\\]|\\.)*+)")?[ \t]*+'  # its value; without one the text is the metric's name
)
_VALUE: Final = re.compile(
    rb"[ \t]*+([+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|[+-]?[Ii]nf(?:inity)?|[Nn]a[Nn])"
    rb"(?:[ \t]++[0-9eE.+-]++)?[ \t]*+(?:#.*)?"  # a time stamp, an exemplar
)
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One series' labels and value. The value may be infinite or no number."""

    labels: dict[str, str]
    value: float


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of the wanted names."""

    samples: dict[str, list[Sample]]
    """By name, in the page's order; names without samples are not there."""
    bad_lines: int = 0
    """Lines of wanted names that could not be read, and lines too long to be looked at."""
    left_out: int = 0
    """Samples beyond `MAX_SERIES` of a name."""

    def get(self, name: str) -> Sequence[Sample]:
        """All samples of a name."""
        return self.samples.get(name, ())

    def total(self, *names: str, where: tuple[str, str] | None = None) -> float | None:
        """The sum of the first of these names that has samples; None when none has.

        Args:
            names: in order of preference.
            where: count only samples with this label and value.
        """
        for name in names:
            values = self.values(name, where)
            if values:
                return sum(values)
        return None

    def values(self, name: str, where: tuple[str, str] | None = None) -> list[float]:
        """The values of a name that are quantities: finite and not below zero."""
        return [
            sample.value
            for sample in self.get(name)
            if 0.0 <= sample.value < math.inf and (where is None or sample.labels.get(where[0]) == where[1])
        ]


def read(page: bytes, wanted: Collection[str]) -> Page:
    """The samples of the `wanted` names. Never raises.

    Args:
        page: the text, in UTF-8; what is not UTF-8 in a label's value is replaced.
        wanted: names as they stand on a line, suffixes such as `_total` and `_sum` included.
    """
    names = {name.encode(): name for name in wanted}
    samples: dict[str, list[Sample]] = {}
    bad = left_out = 0
    for line in page.split(b"\n"):
        name = names.get(line.partition(b"{")[0])
        if name is None:
            if line[:1] == b"{":
                name = names.get(_quoted_name(line))
            elif line[:1] != b"#" and (words := line[:_LONGEST_NAME].split(None, 1)):
                name = names.get(words[0])  # no labels, but perhaps an exemplar with some
            if name is None:
                continue
        sample = _sample(line) if len(line) <= MAX_LINE_BYTES else None
        if sample is None:
            bad += 1
        elif len(kept := samples.setdefault(name, [])) >= MAX_SERIES:
            left_out += 1
        else:
            kept.append(sample)
    return Page(
        samples={name: kept for name, kept in samples.items() if kept}, bad_lines=bad, left_out=left_out
    )


def _quoted_name(line: bytes) -> bytes:
    """The metric's name where it is the first thing in the braces; it may hold anything."""
    match = _LABEL.match(line[:_LONGEST_NAME], 1)
    return _bytes(match[2]) if match is not None and match[2] is not None and match[3] is None else b""


def _sample(line: bytes) -> Sample | None:
    """The labels and the value of a line with a wanted name; None when they are malformed."""
    line = line.rstrip(b"\r")
    quoted = line[:1] == b"{"
    brace = 0 if quoted else line.find(b"{")
    space = min((at for at in (line.find(b" "), line.find(b"\t")) if at >= 0), default=len(line))
    if brace < 0 or line[space:brace].strip():
        return _with_value(line, space, {})
    parsed = _labels(line, brace + 1)
    if parsed is None or parsed[1] != int(quoted):
        return None
    labels, _, at = parsed
    return _with_value(line, at, labels)


def _labels(line: bytes, at: int) -> tuple[dict[str, str], int, int] | None:
    """Labels, how many names stand among them, and where the closing brace ends; None when malformed."""
    labels: dict[str, str] = {}
    names = 0
    while True:
        if line[at : at + 1] == b"}":
            return labels, names, at + 1
        match = _LABEL.match(line, at)
        if match is None or len(labels) >= MAX_LABELS:
            return None
        plain, quoted, value, text = match.groups()
        if value is not None:
            labels[_text(plain if plain is not None else quoted)] = _text(text)
        elif quoted is not None:
            names += 1
        else:
            return None
        at = match.end()
        if line[at : at + 1] == b",":
            at += 1
            while line[at : at + 1] in (b" ", b"\t"):
                at += 1
        elif line[at : at + 1] != b"}":
            return None


def _with_value(line: bytes, at: int, labels: dict[str, str]) -> Sample | None:
    match = _VALUE.fullmatch(line, at)
    return Sample(labels, float(match[1])) if match is not None else None


def _bytes(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: b"\n" if match[1] == b"n" else match[1], text)


def _text(text: bytes) -> str:
    return _bytes(text).decode("utf-8", "replace")

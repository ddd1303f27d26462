"""What a version is called: `vault://TENANT/NAME@VERSION`.

A reference has one spelling. Nothing is normalised, decoded or completed:
whatever is not already in the one form is refused, so that no two components
can read one text as two names. Percent signs, dots as segments, upper case in
names, look-alikes outside ASCII, queries and fragments are therefore errors.

    TENANT   as in `tenants`: letters, digits, `.`, `_`, `-`, at most 63
    NAME     segments joined by `/`: lower-case letters, digits, `.`, `_`, `-`
    VERSION  one such segment

A file inside a version is called by its `file path`, which is freer (upper
case and non-ASCII letters occur in real model folders) and has rules of its own.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import msgspec

from fairlead.errors import InvalidRequest

SCHEME: Final = "vault://"
MAX_NAME_CHARS: Final = 512
MAX_PATH_BYTES: Final = 1024
MAX_PATH_DEPTH: Final = 32

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SEGMENT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


class Ref(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One version of one model or dataset of one tenant. Impossible to build with a wrong part.

    Raises:
        InvalidRequest: a part breaks the rules; the message says which.
    """

    tenant: str
    name: str
    version: str

    def __post_init__(self) -> None:
        """Check every part, for references that are built and not parsed."""
        if not _TENANT.fullmatch(self.tenant) or _is_tricky(self.tenant):
            raise _refused("tenant", self.tenant)
        if len(self.name) > MAX_NAME_CHARS:
            raise _refused("name", self.name)
        for segment in self.name.split("/"):
            if not _SEGMENT.fullmatch(segment) or _is_tricky(segment):
                raise _refused("name", self.name)
        if not _SEGMENT.fullmatch(self.version) or _is_tricky(self.version):
            raise _refused("version", self.version)

    def __str__(self) -> str:
        """The one spelling, which `parse_ref` reads back."""
        return f"{SCHEME}{self.tenant}/{self.name}@{self.version}"


def parse_ref(text: str) -> Ref:
    """Read `vault://TENANT/NAME@VERSION`.

    Raises:
        InvalidRequest: the text is not a reference.
    """
    if not text.startswith(SCHEME):
        raise _refused("reference", text)
    tenant, slash, rest = text[len(SCHEME) :].partition("/")
    name, at, version = rest.partition("@")
    if not slash or not at:
        raise _refused("reference", text)
    return Ref(tenant=tenant, name=name, version=version)


def check_file_path(path: str) -> str:
    """The path of a file inside a version, given back when it is safe on every platform we know.

    Relative, `/` between segments, in Unicode's composed form (NFC), without
    `.` and `..`, control characters, backslashes, colons, and segments that end
    in a dot or a space.

    Raises:
        InvalidRequest: the path breaks a rule.
    """
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise _refused("file path", path) from None
    segments = path.split("/")
    if (
        not 0 < len(encoded) <= MAX_PATH_BYTES
        or len(segments) > MAX_PATH_DEPTH
        or not unicodedata.is_normalized("NFC", path)
        or any(_is_unsafe_segment(segment) for segment in segments)
    ):
        raise _refused("file path", path)
    return path


def _is_tricky(segment: str) -> bool:
    """Whether a segment of the right letters could still mean a folder above or change on Windows."""
    return ".." in segment or segment.endswith(".")


def _is_unsafe_segment(segment: str) -> bool:
    if not segment or segment[-1] in ". " or segment[0] == " ":  # `.` and `..` end in a dot
        return True
    if len(segment.encode()) > 255:
        return True
    return any(
        character in '\\:*?"<>|' or unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Co", "Cn"}
        for character in segment
    )


def _refused(what: str, text: str) -> InvalidRequest:
    """An error that quotes at most as much as fits a line, with every odd character escaped."""
    shown = ascii(text if len(text) <= 80 else text[:77] + "...")
    return InvalidRequest(
        f"{shown} is not a vault {what}",
        hint="write vault://TENANT/NAME@VERSION, with names of a-z, 0-9, `.`, `_`, `-` and `/` between them"
        if what != "file path"
        else "write a relative path with `/`, without `..`, control characters and characters of Windows",
        param=what.replace(" ", "_"),
    )

"""JSON that is signed: one spelling out, and nothing ambiguous in.

`canonical` writes UTF-8 with sorted keys, no spaces and integers only, a subset
on which RFC 8785 agrees. `parse` reads what others wrote: bounded, no key
twice, no number but integers that every reader keeps exactly, no text that is
not Unicode. `base64_bytes` reads base64 in its one spelling. Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final, NoReturn

from fairlead.errors import InvalidRequest

MAX_INTEGER: Final = (1 << 53) - 1
"""The largest integer that every JSON reader keeps exactly."""
_MAX_DIGITS: Final = 16


class _Refused(ValueError):
    """What a reader's hook met."""


def canonical(value: object) -> bytes:
    """The one spelling of dictionaries, lists, texts, integers, booleans and null.

    Raises:
        InvalidRequest: something in it has none, such as a float or half of a surrogate pair.
    """
    _check_plain(value)
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("this cannot be written as canonical JSON") from error


def parse(raw: bytes, *, max_bytes: int, what: str, whole_floats: bool = False) -> Any:
    """The value of a JSON text that somebody else wrote.

    Args:
        raw: its bytes.
        max_bytes: more are refused unread.
        what: what it is to be, for the message.
        whole_floats: whether `1000.0` is 1000, as writers that keep all numbers as doubles spell it.

    Raises:
        InvalidRequest: it is not JSON, or could be read in two ways.
    """
    if len(raw) > max_bytes:
        raise InvalidRequest(f"{what} is longer than {max_bytes} bytes")
    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=_unique,
            parse_float=_whole_float if whole_floats else _no_float,
            parse_constant=_no_float,
            parse_int=_integer,
        )
        if b"\\u" in raw:  # the only way in for half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except _Refused as refused:
        raise InvalidRequest(f"{what} {refused}") from None
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{what} is not valid JSON") from None
    return value


def base64_bytes(text: str, what: str) -> bytes:
    """The bytes of standard base64: padded, without line breaks, the unused bits zero.

    Raises:
        InvalidRequest: it is not base64, or not in this spelling.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise InvalidRequest(f"{what} is not base64 in its one spelling")
    return raw


def _check_plain(value: object) -> None:
    """Refuse floats; `json.dumps` would write them, each Python in its way."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
        elif isinstance(one, float) or (isinstance(one, int) and abs(one) > MAX_INTEGER):
            raise InvalidRequest("signed JSON has no number but integers of at most 53 bits")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Refused("has a key twice in one object")
    return fields


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS + 1 or abs(value := int(text)) > MAX_INTEGER:
        raise _Refused("has an integer that not every reader keeps")
    return value


def _whole_float(text: str) -> int:
    whole, _, fraction = text.partition(".")
    if fraction != "0":
        raise _Refused("has a number that is not an integer")
    return _integer(whole)


def _no_float(text: str) -> NoReturn:
    raise _Refused("has a number that is not an integer")

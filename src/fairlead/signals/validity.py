"""Whether JSON that was demanded is there, and meets its schema.

Schemas come from clients and texts from models, and both may be hostile. So
nothing is ever fetched that a schema refers to, patterns run on an engine that
is linear in its input, sizes are bounded, and what cannot be checked within
that is `unchecked`, not wrong. The process that computes is ended when it
takes too long.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import msgspec

from fairlead.errors import UsageError

VALID: Final = "valid"
INVALID: Final = "invalid"
UNPARSABLE: Final = "unparsable"
UNKNOWN_TOOL: Final = "unknown_tool"
UNCHECKED: Final = "unchecked"
VERDICTS: Final = (VALID, INVALID, UNPARSABLE, UNKNOWN_TOOL, UNCHECKED)

_MAX_SCHEMA_BYTES: Final = 65_536
_MAX_TEXT_CHARS: Final = 1_048_576
_MAX_DEPTH: Final = 64
_PATTERN_BYTES: Final = 1_048_576


class Validity:
    """Checks texts against schemas; remembers the last few schemas."""

    _MOST: Final = 64

    def __init__(self) -> None:
        """Load the validator.

        Raises:
            UsageError: the extra is not installed.
        """
        try:
            self._library: Any = importlib.import_module("jsonschema_rs")
        except ImportError as error:
            raise UsageError(
                "semantic metrics need a package that is not installed: jsonschema-rs",
                hint="pip install 'fairlead[signals]'",
            ) from error
        self._validators: dict[bytes, Any] = {}

    def check(self, text: str, schema: bytes | None) -> str:
        """One of `VERDICTS`. Without a schema any JSON is valid."""
        if len(text) > _MAX_TEXT_CHARS:
            return UNCHECKED
        try:
            value = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return UNPARSABLE
        if schema is None:
            return VALID
        validator = self._validator(schema)
        if validator is None or too_deep(value):
            return UNCHECKED
        try:
            return VALID if validator.is_valid(value) else INVALID
        except (ValueError, OverflowError, self._library.ReferencingError):
            return UNCHECKED  # a pattern or a reference that cannot be followed, a number out of range

    def _validator(self, schema: bytes) -> Any:
        """The compiled schema; None when it is too large or no schema."""
        if schema in self._validators:
            return self._validators[schema]
        library, validator = self._library, None
        try:
            value = msgspec.json.decode(schema) if len(schema) <= _MAX_SCHEMA_BYTES else None
            if isinstance(value, dict | bool) and not too_deep(value):
                validator = library.validator_for(
                    value,
                    offline=True,
                    pattern_options=library.RegexOptions(
                        size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES
                    ),
                )
        except (msgspec.DecodeError, RecursionError, ValueError, library.ReferencingError):
            validator = None
        while len(self._validators) >= self._MOST:
            del self._validators[next(iter(self._validators))]
        self._validators[schema] = validator
        return validator


def too_deep(value: object, left: int = _MAX_DEPTH) -> bool:
    """Whether a JSON value nests more than any meant one."""
    if not left:
        return True
    if isinstance(value, dict):
        return any(too_deep(one, left - 1) for one in value.values())
    return isinstance(value, list) and any(too_deep(one, left - 1) for one in value)

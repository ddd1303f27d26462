"""Reading a client's body for translation, field by field.

`Fields` hands out top-level fields typed, by name, and in the end tells which
fields nobody took: those are kept (as extras) or refused, but never lost
unnoticed. Nested objects are decoded into structs that forbid unknown fields,
for the same reason.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, overload

import msgspec

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.rewrite import invalid_field, object_fields

T = TypeVar("T")

NULL: Final = b"null"

_NO_TRANSLATION: Final = "this cannot be translated for the chosen target"


class Fields:
    """The top-level fields of one body, taken one by one."""

    __slots__ = ("_fields",)

    def __init__(self, body: bytes) -> None:
        """Raises InvalidRequest when the body is no JSON object."""
        self._fields = object_fields(body)

    @overload
    def take(self, name: str, kind: type[T]) -> T | None: ...

    @overload
    def take(self, name: str, kind: Any) -> Any: ...

    def take(self, name: str, kind: Any) -> Any:
        """Take one field; None when it is absent or null.

        Raises:
            InvalidRequest: it has another type; `param` is the path of the culprit.
            UnsupportedByTarget: something inside it is unknown to this translation.
        """
        value = self._fields.pop(name, None)
        if value is None or bytes(value) == NULL:
            return None
        return decode_field(name, bytes(value), kind)

    @overload
    def require(self, name: str, kind: type[T]) -> T: ...

    @overload
    def require(self, name: str, kind: Any) -> Any: ...

    def require(self, name: str, kind: Any) -> Any:
        """Like `take`, for a field that must be there."""
        value = self.take(name, kind)
        if value is None:
            raise InvalidRequest(f"{name}: this field is required", param=name)
        return value

    def take_raw(self, name: str) -> msgspec.Raw | None:
        """Take one field as it is; None when it is absent or null."""
        value = self._fields.pop(name, None)
        return None if value is None or bytes(value) == NULL else value.copy()

    def refuse(self, name: str, why: str) -> None:
        """Refuse a field by name, unless it is absent or null."""
        if self.take_raw(name) is not None:
            raise UnsupportedByTarget(f"{name}: {why}", param=name)

    def rest(self) -> dict[str, msgspec.Raw]:
        """What nobody took, nulls left out."""
        return {name: value.copy() for name, value in self._fields.items() if bytes(value) != NULL}


@overload
def decode_field(name: str, value: bytes, kind: type[T]) -> T: ...


@overload
def decode_field(name: str, value: bytes, kind: Any) -> Any: ...


def decode_field(name: str, value: bytes, kind: Any) -> Any:
    """Decode one field's JSON into `kind`.

    Raises:
        InvalidRequest: it has another type; `param` is the path of the culprit.
        UnsupportedByTarget: something inside it is unknown to this translation.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as error:
        invalid = invalid_field(name, error)
        # msgspec has one exception for all; its text is the only way to tell an unknown
        # field, or an unknown kind of part, from a wrong one.
        text = str(error)
        param = invalid.param or name
        if "unknown field" in text:
            param = f"{param}.{text.split('`')[1][:100]}"
            raise UnsupportedByTarget(f"{param}: {_NO_TRANSLATION}", param=param) from error
        # A field that must be null is one that an answer may have, and a request may not.
        if text.startswith("Expected `null`,") or (text.startswith("Invalid ") and param.endswith(".type")):
            raise UnsupportedByTarget(f"{invalid.message}; {_NO_TRANSLATION}", param=param) from error
        raise invalid from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{name}: {error}", param=name) from error
    except RecursionError as error:
        raise InvalidRequest(f"{name}: nested too deeply", param=name) from error

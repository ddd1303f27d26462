"""What became of each option of the file that is imported.

`Options` hands out the values of one section and remembers which were asked
for: whatever nobody took is reported as not mapped, so that an option this
importer has never heard of cannot be lost in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from fairlead.config import secrets
from fairlead.config.options import Secret

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
"""A value of a YAML file, without types of its own."""

_LARGEST: Final = 1e12
"""No setting means more than this; also keeps infinities and sums of them out."""
_ENVIRON: Final = "os.environ/"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one option; `path` is where it stands in the imported file."""

    path: str
    outcome: Literal["mapped", "approximated", "not mapped"]
    message: str = ""


class Notes:
    """Collects notes, and reads values that may be given by a variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.all: list[Note] = []
        self._environ = environ

    def mapped(self, path: str, message: str = "") -> None:
        self.all.append(Note(path=path, outcome="mapped", message=message))

    def approximated(self, path: str, message: str) -> None:
        self.all.append(Note(path=path, outcome="approximated", message=message))

    def not_mapped(self, path: str, message: str) -> None:
        self.all.append(Note(path=path, outcome="not mapped", message=message))

    def final(self) -> list[Note]:
        """The notes, without `mapped` where something else turned out later."""
        qualified = {note.path for note in self.all if note.outcome != "mapped"}
        unique = dict.fromkeys((note.path, note.outcome, note.message) for note in self.all)
        return [
            Note(path=path, outcome=outcome, message=message)
            for path, outcome, message in unique
            if outcome != "mapped" or path not in qualified
        ]

    def text(self, value: Plain) -> str | None:
        """A value as text; one given by `os.environ/NAME` is read now. None when there is none."""
        if isinstance(value, str):
            name = variable_of(value)
            return value if name is None else self._environ.get(name)
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def number(self, value: Plain) -> float | None:
        """A value as a number of a sensible size, or None when it is none."""
        text = self.text(value)
        try:
            number = float(text) if text is not None else None
        except ValueError:
            return None
        return number if number is not None and abs(number) <= _LARGEST else None

    def positive(self, value: Plain) -> float | None:
        """A value as a number above 0, or None."""
        number = self.number(value)
        return number if number is not None and number > 0 else None


class Options:
    """One section of the imported file."""

    def __init__(self, path: str, value: Plain, notes: Notes) -> None:
        self.path = path
        self.notes = notes
        self._values: dict[str, Plain] = value if isinstance(value, dict) else {}
        self._taken: set[str] = set()
        if value is not None and not isinstance(value, dict):
            notes.not_mapped(path, "expected options here")

    def at(self, key: str) -> str:
        """The path of one option."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, *keys: str) -> Plain:
        """The first of these options that is set; all of them count as dealt with."""
        self._taken.update(keys)
        return next((self._values[key] for key in keys if self._values.get(key) is not None), None)

    def section(self, key: str) -> Options:
        """The options below one option."""
        return Options(self.at(key), self.take(key), self.notes)

    def left(self) -> list[str]:
        """Options that nobody took."""
        return [key for key in self._values if key not in self._taken]

    def finish(self, reasons: Mapping[str, str], otherwise: str) -> None:
        """Report what nobody took."""
        for key in self.left():
            if self._values[key] is not None:
                self.notes.not_mapped(self.at(key), reasons.get(key, otherwise))


def variable_of(text: str) -> str | None:
    """The variable that `os.environ/NAME` names, or None when it is not of that form."""
    return text.removeprefix(_ENVIRON).strip() if text.startswith(_ENVIRON) else None


def reference_of(text: str) -> Secret | None:
    """The reference for `os.environ/NAME`, or None when it is not of that form."""
    name = variable_of(text)
    if name is None or secrets.fault(f"env:{name}") is not None:
        return None
    return Secret(f"env:{name}")

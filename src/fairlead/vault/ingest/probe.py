"""Would these bytes do something if a pickle reader were let loose on them?

Asked of every file, whatever it looks like: a text, an image or a weight file
may be a pickle as well, and a reader runs its calls before it meets the first
byte that is no pickle. Only the shape of the instructions is followed here, no
value; what is found to be a pickle goes to `pickles`.
"""

from __future__ import annotations

import enum
import pickletools
import re
import sys
from typing import Final, Literal

from fairlead.vault.ingest.verdict import Stopped
from fairlead.vault.ingest.window import Cursor, Window

Probe = Literal["nothing", "calls", "whole"]
"""No pickle; does something before it breaks off; a pickle that imports something or fills the file."""

OPCODES: Final = {ord(one.code): one for one in pickletools.opcodes}
_MAX_STEPS: Final = 200_000
_MAX_LINE: Final = 1 << 16
_MAX_DEPTH: Final = 1 << 20
_IDENTIFIER: Final = re.compile(rb"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NUMBER: Final = re.compile(rb"\s*[-+]?([0-9_]+L?|[0-9]*\.?[0-9]*([eE][-+]?[0-9]+)?|inf|nan)\s*")
_IMPORTS: Final = frozenset({"GLOBAL", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_PUT: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GET: Final = frozenset({"GET", "BINGET", "LONG_BINGET"})
_BREAKS: Final = frozenset({"PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"})
"""What a reader without further help stops at."""
_TEXTS: Final = frozenset(
    {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)


_IMPORTS_LIBRARY: Final = 1
"""Of GLOBAL: the module is one of Python's own, whose import runs it; not a word that stands there."""


class _Kind(enum.Enum):
    """What a place of the stack holds, as far as it decides whether a call is one."""

    MARK = enum.auto()
    NAME = enum.auto()
    """Something imported, or made by a call."""
    TUPLE = enum.auto()
    TEXT = enum.auto()
    OTHER = enum.auto()


def probe(window: Window) -> Probe:
    """Follow a file as a pickle from its first byte on.

    A file of more instructions than are worth following counts as one that
    calls something when it imported something until then.
    """
    cursor = Cursor(window)
    shape = _Shape()
    try:
        for _ in range(_MAX_STEPS):
            opcode = OPCODES.get(cursor.take(1)[0])
            if opcode is None or opcode.name in _BREAKS:
                return "nothing"
            index = _argument(cursor, opcode)
            if index is None:
                return "nothing"
            if opcode.name == "GLOBAL" and index == _IMPORTS_LIBRARY:
                return "calls"
            if opcode.name == "STOP":
                whole = shape.stack and (shape.imported or not cursor.left)
                return "whole" if whole else "nothing"
            found = shape.follow(opcode, index)
            if found != "nothing":
                return "calls" if found == "calls" else "nothing"
    except Stopped:
        return "nothing"
    return "calls" if shape.imported else "nothing"


class _Shape:
    """The stack by kinds, and the memo."""

    def __init__(self) -> None:
        self.stack: list[_Kind] = []
        self.imported = False
        self._memo: dict[int, _Kind] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, index: int) -> Literal["nothing", "breaks", "calls"]:
        """Do what an instruction does. It may break off, or be a call that a reader would make."""
        name, stack = opcode.name, self.stack
        if name == "MARK":
            stack.append(_Kind.MARK)
            return "nothing" if len(stack) < _MAX_DEPTH else "breaks"
        if name in _PUT:
            if not stack or stack[-1] is _Kind.MARK:
                return "breaks"
            self._memo[len(self._memo) if name == "MEMOIZE" else index] = stack[-1]
            return "nothing"
        if name in _GET:
            if index not in self._memo:
                return "breaks"
            stack.append(self._memo[index])
            return "nothing"
        taken = self._take(opcode)
        if taken is None:
            return "breaks"
        if _is_call(name, taken):
            return "calls"
        if name == "STACK_GLOBAL" and taken != [_Kind.TEXT, _Kind.TEXT]:
            return "breaks"
        if name in {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ"}:
            return "breaks"
        self._give(opcode, taken)
        return "nothing"

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[_Kind] | None:
        """What an instruction takes from the stack; None when it is not there."""
        before, stack = opcode.stack_before, self.stack
        single = len(before)
        taken: list[_Kind] = []
        if pickletools.markobject in before:
            if _Kind.MARK not in stack:
                return None
            at = len(stack) - 1 - stack[::-1].index(_Kind.MARK)
            taken = stack[at + 1 :]
            del stack[at:]
            single = before.index(pickletools.markobject)
        if single > len(stack) or _Kind.MARK in stack[len(stack) - single :]:
            return None
        if single:
            taken = stack[-single:] + taken
            del stack[-single:]
        return taken

    def _give(self, opcode: pickletools.OpcodeInfo, taken: list[_Kind]) -> None:
        name = opcode.name
        if name in _IMPORTS:
            self.imported = True
            self.stack.append(_Kind.NAME)
        elif name == "DUP":
            self.stack += [taken[0], taken[0]]
        elif name in _TEXTS:
            self.stack.append(_Kind.TEXT)
        elif "TUPLE" in name:
            self.stack.append(_Kind.TUPLE)
        elif name in {"BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"}:
            self.stack.append(taken[0])
        else:
            self.stack += [_Kind.OTHER] * len(opcode.stack_after)


def _is_call(name: str, taken: list[_Kind]) -> bool:
    """Whether a reader would call something at this instruction."""
    match name:
        case "INST":
            return True
        case "REDUCE" | "NEWOBJ":
            return taken == [_Kind.NAME, _Kind.TUPLE]
        case "NEWOBJ_EX":
            return taken[:2] == [_Kind.NAME, _Kind.TUPLE]
        case "OBJ" | "BUILD" | "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS" | "ADDITEMS":
            return taken[:1] == [_Kind.NAME]
    return False


def _argument(cursor: Cursor, opcode: pickletools.OpcodeInfo) -> int | None:
    """Pass over an argument. Return it where it is a place in the memo, 0 elsewhere; None: it is not one."""
    name = opcode.name
    if opcode.arg is None:
        return 0
    size = opcode.arg.n
    if name in {"GLOBAL", "INST"}:
        module, attribute = cursor.line(_MAX_LINE), cursor.line(_MAX_LINE)
        if not _IDENTIFIER.fullmatch(module):
            return None
        # The module is imported before the attribute is looked for, whatever that is.
        if module.partition(b".")[0].decode() in sys.stdlib_module_names:
            return _IMPORTS_LIBRARY
        return 0 if _IDENTIFIER.fullmatch(attribute) else None
    if size == pickletools.UP_TO_NEWLINE:
        line = cursor.line(_MAX_LINE)
        if name in {"GET", "PUT"}:
            return int(line) if line.isdigit() and len(line) < 20 else None
        if name in {"INT", "LONG", "FLOAT"}:
            return 0 if line.strip() and _NUMBER.fullmatch(line) else None
        return (
            0
            if name != "STRING" or (len(line) > 1 and line[:1] in b"'\"" and line[-1:] == line[:1])
            else None
        )
    if size >= 0:
        data = cursor.take(size)
        if name == "PROTO" and data[0] > 5:
            return None
        return int.from_bytes(data, "little")
    width = {
        pickletools.TAKEN_FROM_ARGUMENT1: 1,
        pickletools.TAKEN_FROM_ARGUMENT4: 4,
        pickletools.TAKEN_FROM_ARGUMENT4U: 4,
        pickletools.TAKEN_FROM_ARGUMENT8U: 8,
    }[size]
    cursor.skip(cursor.number(width))
    return 0

"""Pickles, walked without being loaded.

A small machine that follows a pickle's instructions and keeps what they would
build as data (`values`). It knows the instructions that Python's own picklers
write for data, protocols 0 to 5, and stops at every other; it knows the names
of `known` and stops at every other, called or not; objects take instructions
(items, state) only where their type is known to do nothing but keep them.

What it leaves to others: where storages lie (`torchfile`) and what the kinds of
file are that hold pickles (`inspection`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from fairlead.vault.ingest import known
from fairlead.vault.ingest.probe import OPCODES
from fairlead.vault.ingest.values import (
    Array,
    Blob,
    Global,
    Group,
    Listing,
    Made,
    Mapping,
    Order,
    Value,
)
from fairlead.vault.ingest.verdict import Report, Stopped, shown
from fairlead.vault.ingest.window import Cursor, Window

MAX_STEPS: Final = 20_000_000
MAX_DEPTH: Final = 1_000_000
MAX_TEXT_BYTES: Final = 16 << 20
_INLINE_BYTES: Final = 256
_MAX_LINE: Final = 1 << 20
_DECIMAL: Final = re.compile(rb"-?[0-9]{1,4300}")
_FLOAT: Final = re.compile(rb"-?([0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,4})?|inf|nan)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_ATTRIBUTE: Final = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")

Persistent = Callable[[Value], Value]
"""Resolves a persistent id, or raises `Stopped`."""


class _Mark:
    """Where a MARK was put; its own type, so that no value can pass for it."""


_MARK: Final = _Mark()


class Pickle:
    """One walk over one pickle. Use it once: `walk`, then `end` says where the pickle ended."""

    def __init__(
        self, window: Window, at: int, report: Report, where: str, persistent: Persistent | None = None
    ) -> None:
        self.cursor = Cursor(window, at)
        self.report = report
        self.where = where
        self.end = at
        self._persistent = persistent
        self._stack: list[Value] = []
        self._memo: dict[int, Value] = {}
        self._protocol = 0
        self._after_build: Callable[[Made], Value] | None = None

    def on_build(self, hook: Callable[[Made], Value]) -> None:
        """Let a format that puts raw bytes between instructions take them after an object got its state."""
        self._after_build = hook

    def walk(self) -> Value:
        """Follow the instructions to STOP. Return the value.

        Raises:
            Stopped: something is not known to be harmless.
        """
        cursor, actions = self.cursor, _ACTIONS
        for _ in range(MAX_STEPS):
            at = cursor.at
            code = cursor.take(1)[0]
            if code == 0x2E:  # STOP
                self.end = cursor.at
                if len(self._stack) != 1:
                    raise self._stop(
                        "pickle-shape", at, "the stack does not hold exactly one value at its end"
                    )
                return self._pop(at)
            action = actions.get(code)
            if action is None:
                name = OPCODES[code].name if code in OPCODES else f"0x{code:02x}"
                raise self._stop(
                    "pickle-opcode", at, f"instruction {name} is not one of those that data needs"
                )
            action(self, at)
            if len(self._stack) > MAX_DEPTH or len(self._memo) > MAX_STEPS:
                raise self._stop("pickle-shape", at, "the stack or the memo grows without bound")
        raise self._stop("pickle-shape", cursor.at, f"more than {MAX_STEPS} instructions")

    # --- the stack --------------------------------------------------------------------------

    def _stop(self, rule: str, at: int, why: str) -> Stopped:
        return Stopped(rule, f"{self.where} byte {at}".strip(), why)

    def _pop(self, at: int) -> Value:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._stop("pickle-shape", at, "an instruction finds nothing on the stack")
        return self._stack.pop()

    def _top(self, at: int) -> Value:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._stop("pickle-shape", at, "an instruction finds nothing on the stack")
        return self._stack[-1]

    def _since_mark(self, at: int) -> list[Value]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise self._stop("pickle-shape", at, "an instruction finds no mark on the stack")

    # --- plain values -----------------------------------------------------------------------

    def _proto(self, at: int) -> None:
        self._protocol = self.cursor.number(1)
        if self._protocol > 5:
            raise self._stop("pickle-opcode", at, f"protocol {self._protocol} is not known")

    def _frame(self, at: int) -> None:
        size = self.cursor.number(8)
        if size > self.cursor.left:
            raise self._stop("truncated", at, "a frame is longer than the file")

    def _mark(self, _: int) -> None:
        self._stack.append(_MARK)

    def _int_line(self, at: int) -> None:
        line = self.cursor.line(_MAX_LINE)
        if line in (b"00", b"01"):
            self._stack.append(line == b"01")
            return
        self._stack.append(self._decimal(line, at))

    def _long_line(self, at: int) -> None:
        line = self.cursor.line(_MAX_LINE)
        self._stack.append(self._decimal(line[:-1] if line.endswith(b"L") else line, at))

    def _decimal(self, line: bytes, at: int) -> int:
        if not _DECIMAL.fullmatch(line):
            raise self._stop("pickle-shape", at, f"{shown(line)} is no number")
        return int(line)

    def _float_line(self, at: int) -> None:
        line = self.cursor.line(100)
        if not _FLOAT.fullmatch(line):
            raise self._stop("pickle-shape", at, f"{shown(line)} is no number")
        self._stack.append(float(line))

    def _float(self, _: int) -> None:
        self.cursor.take(8)
        self._stack.append(0.0)  # no decision asks for its value

    def _sized_long(self, width: int, at: int) -> None:
        size = self.cursor.number(width)
        if size > 1024:
            raise self._stop("pickle-shape", at, "a number of more than 1024 bytes")
        self._stack.append(self.cursor.number(size, signed=True) if size else 0)

    def _text_line(self, at: int) -> None:
        """Protocol 0: as Python writes it, `\\uXXXX` for what Latin-1 has not."""
        self._stack.append(self._decoded(self.cursor.line(_MAX_LINE), "raw-unicode-escape", at))

    def _string_line(self, at: int) -> None:
        """Python 2's byte string as its `repr`. Escapes stay as they are: no name and no key needs one."""
        line = self.cursor.line(_MAX_LINE)
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise self._stop("pickle-shape", at, "a string without quotes")
        self._stack.append(self._decoded(line[1:-1], "latin-1", at))

    def _text(self, width: int, at: int) -> None:
        size = self.cursor.number(width)
        if size > MAX_TEXT_BYTES:
            raise self._stop("pickle-shape", at, f"a text of {size} bytes")
        self._stack.append(self._decoded(self.cursor.take(size), "utf-8", at))

    def _string(self, width: int, at: int) -> None:
        size = self.cursor.number(width)
        if size > MAX_TEXT_BYTES:
            self._stack.append(Blob(self.cursor.skip(size), size))
        else:
            self._stack.append(self._decoded(self.cursor.take(size), "latin-1", at))

    def _decoded(self, data: bytes, encoding: str, at: int) -> str:
        try:
            return data.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            raise self._stop("pickle-shape", at, "a text is not decodable") from None

    def _bytes(self, width: int, _: int) -> None:
        size = self.cursor.number(width)
        if size <= _INLINE_BYTES:
            self._stack.append(self.cursor.take(size))
        else:
            self._stack.append(Blob(self.cursor.skip(size), size))

    # --- containers -------------------------------------------------------------------------

    def _tuple(self, count: int, at: int) -> None:
        items = [self._pop(at) for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def _dict_of(self, at: int) -> None:
        self._stack.append(Mapping(self._pairs(self._since_mark(at), at)))

    def _pairs(self, items: list[Value], at: int) -> list[tuple[Value, Value]]:
        if len(items) % 2:
            raise self._stop("pickle-shape", at, "a key without a value")
        return list(zip(items[::2], items[1::2], strict=True))

    def _append(self, items: list[Value], at: int) -> None:
        target = self._top(at)
        if not isinstance(target, Listing):
            raise self._stop("pickle-build", at, "something is appended to what is no list")
        target.items.extend(items)

    def _set_items(self, pairs: list[tuple[Value, Value]], at: int) -> None:
        target = self._top(at)
        if isinstance(target, Mapping):
            target.pairs.extend(pairs)
        elif isinstance(target, Made) and known.family_of(str(target.maker)):
            target.items.extend(pairs)
        else:
            raise self._stop("pickle-build", at, "items are set in what is no mapping")

    def _set_item(self, at: int) -> None:
        value = self._pop(at)
        self._set_items([(self._pop(at), value)], at)

    def _add_items(self, at: int) -> None:
        items = self._since_mark(at)
        target = self._top(at)
        if not isinstance(target, Group):
            raise self._stop("pickle-build", at, "items are added to what is no set")
        target.items.extend(items)

    # --- memo -------------------------------------------------------------------------------

    def _put(self, index: int, at: int) -> None:
        if index < 0:
            raise self._stop("pickle-shape", at, "a negative place in the memo")
        self._memo[index] = self._top(at)

    def _get(self, index: int, at: int) -> None:
        if index not in self._memo:
            raise self._stop("pickle-shape", at, "a place in the memo that nothing was put in")
        self._stack.append(self._memo[index])

    # --- names, calls, state ----------------------------------------------------------------

    def _global_line(self, at: int) -> None:
        module, name = self.cursor.line(1024), self.cursor.line(1024)
        self._import(self._decoded(module, "utf-8", at), self._decoded(name, "utf-8", at), at)

    def _stack_global(self, at: int) -> None:
        name, module = self._pop(at), self._pop(at)
        if not isinstance(name, str) or not isinstance(module, str):
            raise self._stop("pickle-global", at, "a name to import is made of something other than texts")
        self._import(module, name, at)

    def _import(self, module: str, name: str, at: int) -> None:
        found = Global(module, name)
        full = str(found)
        family = known.family_of(full)
        listed = known.is_value(full) or known.call_of(full) is not None or full in known.RECONSTRUCTORS
        # A dotted name would reach into what was imported; none that is listed has one.
        if not _NAME.fullmatch(full) or "." in name or not (listed or family):
            raise self._stop("pickle-global", at, f"{shown(full)} is not a name that data needs")
        if family:
            self.report.add(family, f"{self.where} {full}".strip(), "a name of this family is used")
        self._stack.append(found)

    def _reduce(self, at: int) -> None:
        args = self._pop(at)
        target = self._pop(at)
        if not isinstance(target, Global) or not isinstance(args, tuple):
            raise self._stop("pickle-call", at, "something is called that is not a listed name")
        self._stack.append(self._call(target, args, at))

    def _new(self, at: int) -> None:
        args = self._pop(at)
        target = self._pop(at)
        if not isinstance(target, Global) or not isinstance(args, tuple) or not known.family_of(str(target)):
            raise self._stop("pickle-call", at, "an object of a class that is not listed is made")
        self._stack.append(Made(target, args))

    def _call(self, target: Global, args: tuple[Value, ...], at: int) -> Value:
        full = str(target)
        if full == "torch._utils._rebuild_tensor_v3":
            return known.rebuild_v3(args)
        call = known.call_of(full)
        if call is not None:
            try:
                return call(args)
            except Stopped as stopped:
                raise self._stop(stopped.finding.rule, at, f"{full}: {stopped.finding.why}") from None
        if full in known.RECONSTRUCTORS:
            match args:
                case (Global() as made, Global() as base, _) if (
                    known.family_of(str(made)) and str(base) in _BASES
                ):
                    return Made(made, args)
        elif known.family_of(full):
            return Made(target, args)
        raise self._stop("pickle-call", at, f"{shown(full)} is not to be called")

    def _build(self, at: int) -> None:
        state = self._pop(at)
        target = self._top(at)
        match target:
            case Mapping() if isinstance(state, Mapping):
                for key, _ in state.pairs:
                    if not isinstance(key, str) or not _ATTRIBUTE.fullmatch(key):
                        raise self._stop("pickle-build", at, f"attribute {shown(key)} is set")
            case Order():
                self._build_dtype(target, state, at)
            case Array(order=None):
                self._build_array(target, state, at)
            case Made() if known.family_of(str(target.maker)):
                target.state = state
                if self._after_build is not None:
                    self._stack[-1] = self._after_build(target)
            case _:
                raise self._stop("pickle-build", at, "state is set on what has none")

    def _build_dtype(self, target: Order, state: Value, at: int) -> None:
        """numpy's own flags are part of the state, and lying about them makes it follow bytes as pointers."""
        match state:
            case (3 | 4, "<" | ">" | "|" | "=" as order, None, None, None, int(size), int(align), int(flags)):
                objects = target.dtype.code.startswith("O")
                text = target.dtype.code[0] in "SU"
                if flags == (63 if objects else 8 if target.dtype.code[0] == "U" else 0) and (
                    (size, align) == (-1, -1)
                    or (text and size == known.item_bytes(target.dtype) and align in (1, 4))
                ):
                    target.order = order
                    return
            case (3, "|", None, tuple() as names, Mapping(pairs=fields), int(size), int(), int(flags)):
                if (
                    target.dtype.code == f"V{size}"
                    and flags in _RECORD_FLAGS
                    and names == tuple(name for name, _ in fields)
                    and all(_is_record_field(field, size) for _, field in fields)
                ):
                    return
        raise self._stop("pickle-build", at, "a numpy type's state is not that of a plain type")

    def _build_array(self, target: Array, state: Value, at: int) -> None:
        match state:
            case (1, tuple() as shape, Order() as order, bool() | 0 | 1 as fortran, data) if (
                known.is_dimensions(shape)
            ):
                if isinstance(data, str):  # Python 2 wrote a byte string
                    data = data.encode("latin-1", "replace")
                target.order, target.shape, target.fortran, target.data = order, shape, bool(fortran), data
                if order.dtype.code.startswith("O"):
                    self.report.add(
                        "pickle-object-array", f"{self.where} byte {at}".strip(), "an array of Python objects"
                    )
                known.check_array(target)
            case _:
                raise self._stop("pickle-build", at, "a numpy array's state is not that of an array")

    def _persistent_id(self, at: int) -> None:
        value = self._pop(at)
        if self._persistent is None:
            raise self._stop("pickle-persistent", at, "data outside the file is asked for")
        self._stack.append(self._persistent(value))


_RECORD_FLAGS: Final = frozenset({0, 16, 128, 144})
"""Fields by name, aligned or not; none that says that there are objects inside."""


def _is_record_field(field: Value, size: int) -> bool:
    """Whether a field of a record is a plain number or text inside of it."""
    match field:
        case (Order(dtype=dtype), int(offset)) if dtype.code[0] not in "OV":
            return 0 <= offset <= size - known.item_bytes(dtype)
    return False


_BASES: Final = frozenset({"builtins.object", "__builtin__.object"})

_ACTIONS: Final[dict[int, Callable[[Pickle, int], None]]] = {
    0x80: Pickle._proto,
    0x95: Pickle._frame,
    ord("("): Pickle._mark,
    ord("N"): lambda p, at: p._stack.append(None),
    0x88: lambda p, at: p._stack.append(True),
    0x89: lambda p, at: p._stack.append(False),
    ord("I"): Pickle._int_line,
    ord("L"): Pickle._long_line,
    ord("F"): Pickle._float_line,
    ord("J"): lambda p, at: p._stack.append(p.cursor.number(4, signed=True)),
    ord("K"): lambda p, at: p._stack.append(p.cursor.number(1)),
    ord("M"): lambda p, at: p._stack.append(p.cursor.number(2)),
    0x8A: lambda p, at: p._sized_long(1, at),
    0x8B: lambda p, at: p._sized_long(4, at),
    ord("G"): Pickle._float,
    ord("S"): Pickle._string_line,
    ord("V"): Pickle._text_line,
    ord("T"): lambda p, at: p._string(4, at),
    ord("U"): lambda p, at: p._string(1, at),
    0x8C: lambda p, at: p._text(1, at),
    ord("X"): lambda p, at: p._text(4, at),
    0x8D: lambda p, at: p._text(8, at),
    ord("C"): lambda p, at: p._bytes(1, at),
    ord("B"): lambda p, at: p._bytes(4, at),
    0x8E: lambda p, at: p._bytes(8, at),
    0x96: lambda p, at: p._bytes(8, at),
    ord(")"): lambda p, at: p._tuple(0, at),
    0x85: lambda p, at: p._tuple(1, at),
    0x86: lambda p, at: p._tuple(2, at),
    0x87: lambda p, at: p._tuple(3, at),
    ord("t"): lambda p, at: p._stack.append(tuple(p._since_mark(at))),
    ord("]"): lambda p, at: p._stack.append(Listing()),
    ord("l"): lambda p, at: p._stack.append(Listing(p._since_mark(at))),
    ord("}"): lambda p, at: p._stack.append(Mapping()),
    ord("d"): Pickle._dict_of,
    0x8F: lambda p, at: p._stack.append(Group()),
    0x91: lambda p, at: p._stack.append(Group(p._since_mark(at))),
    ord("a"): lambda p, at: p._append([p._pop(at)], at),
    ord("e"): lambda p, at: p._append(p._since_mark(at), at),
    ord("s"): Pickle._set_item,
    ord("u"): lambda p, at: p._set_items(p._pairs(p._since_mark(at), at), at),
    0x90: Pickle._add_items,
    ord("p"): lambda p, at: p._put(p._decimal(p.cursor.line(100), at), at),
    ord("q"): lambda p, at: p._put(p.cursor.number(1), at),
    ord("r"): lambda p, at: p._put(p.cursor.number(4), at),
    0x94: lambda p, at: p._put(len(p._memo), at),
    ord("g"): lambda p, at: p._get(p._decimal(p.cursor.line(100), at), at),
    ord("h"): lambda p, at: p._get(p.cursor.number(1), at),
    ord("j"): lambda p, at: p._get(p.cursor.number(4), at),
    ord("c"): Pickle._global_line,
    0x93: Pickle._stack_global,
    ord("R"): Pickle._reduce,
    0x81: Pickle._new,
    ord("b"): Pickle._build,
    ord("Q"): Pickle._persistent_id,
}
"""Any other stops the walk: INST, OBJ, NEWOBJ_EX, EXT*, DUP, POP*, PERSID, buffers out of band."""

"""`fairlead.yaml` to `Config` and back.

The structs in `options` are the only description of what is allowed: this
module walks them beside the YAML tree, so that every problem has its line,
column and path, and all of them are reported at once. What types cannot say
(names that must exist, relations between options) is in `rules` and is
checked when the types are right.

Meaning follows the expected type, not YAML's guess: `api_version: 2024-10-21`
and a model named `on` are text; numbers are numbers only without quotes.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import yaml
from msgspec import inspect

from fairlead.config import rules, secrets, tree
from fairlead.config.fault import Path, nearest
from fairlead.config.options import Config, Secret
from fairlead.config.tree import Problem
from fairlead.errors import ConfigError

_MAX_NODES: Final = 200_000
"""Nodes looked at, aliases expanded: an alias bomb ends here."""
_MAX_LISTED: Final = 50
_INTEGER: Final = re.compile(r"[-+]?[0-9][0-9_]{0,18}\Z")
_NUMBER: Final = re.compile(r"[-+]?([0-9][0-9_]{0,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,3})?\Z")
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_LOOSE_BOOLEANS: Final = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "no": "false",
    "off": "false",
    "n": "false",
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_DURATION: Final = re.compile(r"([0-9.]+) ?(ms|s|sec|seconds?|m|min|minutes?|h|hours?)\Z")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
_EXTENSION: Final = "x-"


def parse(text: str, source: str) -> Config:
    """The configuration in `text`; `source` names it in errors.

    Raises:
        ConfigError: with every problem found, one a line.
    """
    config, problems = check(text)
    if config is None:
        raise failure(problems, source)
    return config


def check(text: str) -> tuple[Config | None, list[Problem]]:
    """The configuration, or None and what is wrong with the text, in the order of its lines."""
    try:
        root, problems = tree.read(text)
    except tree.Unreadable as error:
        return None, [error.problem]
    decoder = _Decoder(problems)
    if root is None:
        root = tree.Mapping(entries={}, line=1, column=1)
    try:
        config = decoder.value(root, _config_type(), ())
    except tree.Unreadable as error:
        return None, [*problems, error.problem]
    if not problems and isinstance(config, Config):
        for fault in rules.faults(config):
            line, column = decoder.place(fault.path)
            problems.append(
                Problem(
                    message=fault.message,
                    hint=fault.hint,
                    path=path_text(fault.path),
                    line=line,
                    column=column,
                )
            )
    if problems:
        return None, sorted(problems, key=lambda problem: (problem.line, problem.column))
    assert isinstance(config, Config)
    return config, []


def failure(problems: Sequence[Problem], source: str) -> ConfigError:
    """The error that reports these problems."""
    first = problems[0]
    if len(problems) == 1:
        return ConfigError(first.text(source), hint=first.hint, param=first.path or None)
    lines = [f"{len(problems)} problems in {source}"]
    for problem in problems[:_MAX_LISTED]:
        hint = f" ({problem.hint})" if problem.hint else ""
        lines += [f"  {problem.text(source)}{hint}"]
    if len(problems) > _MAX_LISTED:
        lines += [f"  and {len(problems) - _MAX_LISTED} more"]
    return ConfigError("\n".join(lines), param=first.path or None)


def path_text(path: Path) -> str:
    """`models.gpt-5.targets[0].weight`; a key with other characters is quoted in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _BARE_KEY.match(step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


def dump(config: Config, *, defaults: bool = False) -> str:
    """The configuration as YAML that `parse` reads back; secrets stay references.

    Args:
        defaults: also write options that have their default value.
    """
    tree = builtins(config, defaults=defaults)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100) if tree else "{}\n"


def builtins(value: object, *, defaults: bool) -> Any:
    """A configuration as dicts, lists and scalars, ready for YAML or JSON."""
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, msgspec.Struct):
        fields = {}
        for field in msgspec.structs.fields(value):
            item = getattr(value, field.name)
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            if item != default if not defaults else item is not None:
                fields[field.encode_name] = builtins(item, defaults=defaults)
        return fields
    if isinstance(value, dict):
        return {key: builtins(item, defaults=defaults) for key, item in value.items()}
    if isinstance(value, list):
        return [builtins(item, defaults=defaults) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)  # `weight: 1`, as one writes it
    return value


@functools.cache
def _config_type() -> inspect.Type:
    return inspect.type_info(Config)


class _Bad:
    """Stands for a value that has been reported as a problem."""


_BAD: Final = _Bad()


class _Decoder:
    """Walks a tree beside the types. Every problem is appended; nothing is raised but Unreadable."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._places: dict[Path, tuple[int, int]] = {}
        self._visited = 0

    def place(self, path: Path) -> tuple[int, int]:
        """Where `path` is written, or the nearest section around it."""
        while path not in self._places:
            path = path[:-1]
        return self._places[path]

    def value(self, node: tree.Node, kind: inspect.Type, path: Path) -> object:
        self._visited += 1
        if self._visited > _MAX_NODES:
            message = f"more than {_MAX_NODES} values; aliases count each time they are used"
            raise tree.Unreadable(Problem(message=message, line=node.line, column=node.column))
        self._places.setdefault(path, (node.line, node.column))
        declared, kind = kind, _bare(kind)
        if isinstance(kind, inspect.UnionType):
            if _is_null(node) and any(isinstance(member, inspect.NoneType) for member in kind.types):
                return None
            kind = _choose(node, kind)
        match kind:
            case inspect.StructType(cls=cls) if cls is Secret:
                return self._secret(node, path)
            case inspect.StructType():
                return self._struct(node, kind, path)
            case inspect.DictType():
                return self._dict(node, kind, path)
            case inspect.ListType():
                return self._list(node, kind, path)
            case _:
                return self._scalar(node, kind, path, declared)

    def _struct(self, node: tree.Node, kind: inspect.StructType, path: Path) -> object:
        mapping = self._mapping(node, path)
        if mapping is None:
            return _BAD
        known = {field.encode_name: field for field in kind.fields}
        values: dict[str, object] = {}
        good = True
        for key, (name, item) in mapping.entries.items():
            field = known.get(key)
            if field is not None:
                self._places[(*path, key)] = (name.line, name.column)
                values[field.name] = self.value(item, field.type, (*path, key))
                good = good and values[field.name] is not _BAD
            elif path or not key.startswith(_EXTENSION):
                # Keys `x-...` of the whole file are free: a place for anchors.
                hint = nearest(key, known) or "known here: " + ", ".join(known)
                self._report(name, (*path, key), "unknown option", hint)
                good = False
        for field in kind.fields:
            if field.required and field.encode_name not in mapping.entries:
                description = _description(field.type)
                self._report(node, path, f"`{field.encode_name}` is missing", description)
                good = False
        return kind.cls(**values) if good else _BAD

    def _dict(self, node: tree.Node, kind: inspect.DictType, path: Path) -> object:
        mapping = self._mapping(node, path)
        if mapping is None:
            return _BAD
        values: dict[str, object] = {}
        for key, (name, item) in mapping.entries.items():
            self._places[(*path, key)] = (name.line, name.column)
            values[key] = self.value(item, kind.value_type, (*path, key))
        return values if all(value is not _BAD for value in values.values()) else _BAD

    def _list(self, node: tree.Node, kind: inspect.ListType, path: Path) -> object:
        if not isinstance(node, tree.Sequence):
            self._report(node, path, f"expected a list, got {_got(node)}", "begin each entry with `- `")
            return _BAD
        if kind.min_length and len(node.items) < kind.min_length:
            self._report(node, path, f"expected at least {kind.min_length} entry, got an empty list", None)
            return _BAD
        values = [self.value(item, kind.item_type, (*path, index)) for index, item in enumerate(node.items)]
        return values if all(value is not _BAD for value in values) else _BAD

    def _mapping(self, node: tree.Node, path: Path) -> tree.Mapping | None:
        if isinstance(node, tree.Mapping):
            return node
        if _is_null(node):
            # `providers:` with everything below it commented out.
            return tree.Mapping(entries={}, line=node.line, column=node.column)
        self._report(node, path, f"expected options (`name: value`), got {_got(node)}", None)
        return None

    def _secret(self, node: tree.Node, path: Path) -> object:
        # Whatever stands here may be a secret: no message repeats it.
        if not isinstance(node, tree.Scalar) or _is_null(node):
            self._report(node, path, "expected a secret reference", "write `env:NAME` or `file:PATH`")
            return _BAD
        wrong = secrets.fault(node.text)
        if wrong is None:
            return Secret(node.text)
        self._report(node, path, *wrong)
        return _BAD

    def _scalar(self, node: tree.Node, kind: inspect.Type, path: Path, declared: inspect.Type) -> object:
        if isinstance(node, tree.Scalar):
            value = _read_scalar(node, kind)
            if value is not None:
                return value
        hint = _scalar_hint(node, kind, str(path[-1]) if path else "") or _declared_hint(declared)
        self._report(node, path, f"expected {_expected(kind)}, got {_got(node)}", hint)
        return _BAD

    def _report(self, node: tree.Node, path: Path, message: str, hint: str | None) -> None:
        self._problems.append(
            Problem(message=message, hint=hint, path=path_text(path), line=node.line, column=node.column)
        )


def _bare(kind: inspect.Type) -> inspect.Type:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def _description(kind: inspect.Type) -> str | None:
    while isinstance(kind, inspect.Metadata):
        description = (kind.extra_json_schema or {}).get("description")
        if description:
            return str(description)
        kind = kind.type
    return None


def _choose(node: tree.Node, kind: inspect.UnionType) -> inspect.Type:
    """The member of a union that a node is meant for."""
    members = [_bare(member) for member in kind.types]
    members = [member for member in members if not isinstance(member, inspect.NoneType)]
    if len(members) == 1:
        return members[0]
    # A real union has two members: text or a secret, a number or options.
    struct = next(member for member in members if isinstance(member, inspect.StructType))
    if struct.cls is Secret:
        meant = isinstance(node, tree.Scalar) and secrets.is_reference(node.text)
    else:
        meant = isinstance(node, tree.Mapping)
    return struct if meant else next(member for member in members if member is not struct)


def _is_null(node: tree.Node) -> bool:
    return isinstance(node, tree.Scalar) and node.plain and node.text in _NULLS


def _read_scalar(node: tree.Scalar, kind: inspect.Type) -> str | int | float | bool | None:
    """The scalar as the expected kind, or None when it is not one."""
    text = node.text
    match kind:
        case inspect.StrType():
            return None if _is_null(node) else text
        case inspect.LiteralType():
            return text if text in kind.values else None
        case inspect.BoolType():
            return _BOOLEANS.get(text) if node.plain else None
        case inspect.IntType():
            if not node.plain or not _INTEGER.match(text):
                return None
            whole = int(text.replace("_", ""))
            return whole if _within(whole, kind) else None
        case inspect.FloatType():
            if not node.plain or not _NUMBER.match(text):
                return None
            number = float(text.replace("_", ""))
            return number if math.isfinite(number) and _within(number, kind) else None
        case _:
            raise AssertionError(f"an option of a kind that parsing does not know: {kind}")


def _within(number: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (kind.ge is None or number >= kind.ge)
        and (kind.gt is None or number > kind.gt)
        and (kind.le is None or number <= kind.le)
        and (kind.lt is None or number < kind.lt)
    )


def _expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType():
            return "text"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return "one of " + ", ".join(f"`{value}`" for value in kind.values)
        case inspect.IntType() | inspect.FloatType():
            return ("a whole number" if isinstance(kind, inspect.IntType) else "a number") + bounds(kind)
        case _:
            raise AssertionError(f"an option of a kind that parsing does not know: {kind}")


def bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    """The limits of a number in words, with a space before them; "" when there are none."""
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    limits = [(">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt)]
    parts = [f"{sign} {limit}" for sign, limit in limits if limit is not None]
    return f" {' and '.join(parts)}" if parts else ""


def _got(node: tree.Node) -> str:
    if isinstance(node, tree.Mapping):
        return "options"
    if isinstance(node, tree.Sequence):
        return "a list"
    if _is_null(node):
        return "nothing"
    text = node.text if len(node.text) <= 40 else node.text[:37] + "..."
    quoted = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return quoted if node.plain else f'the text "{quoted}"'


def _declared_hint(kind: inspect.Type) -> str | None:
    """What an option itself says to whoever gets it wrong; it may stand at a member of a union."""
    while isinstance(kind, inspect.Metadata):
        if kind.extra is not None and "hint" in kind.extra:
            return str(kind.extra["hint"])
        kind = kind.type
    members = kind.types if isinstance(kind, inspect.UnionType) else ()
    return next((hint for member in members if (hint := _declared_hint(member))), None)


def _scalar_hint(node: tree.Node, kind: inspect.Type, name: str) -> str | None:
    if not isinstance(node, tree.Scalar):
        return None
    text = node.text
    if isinstance(kind, inspect.LiteralType):
        return nearest(text, [str(value) for value in kind.values])
    if isinstance(kind, inspect.BoolType) and text.lower() in _LOOSE_BOOLEANS:
        return f"write {_LOOSE_BOOLEANS[text.lower()]}"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        if not node.plain and _NUMBER.match(text):
            return "leave the quotes out"
        match = _DURATION.match(text) if name.endswith("_s") else None
        if match and _NUMBER.match(match[1]):
            unit = "ms" if match[2] == "ms" else match[2][0]
            return f"in seconds, without a unit: {float(match[1]) * _SECONDS[unit]:g}"
    return None

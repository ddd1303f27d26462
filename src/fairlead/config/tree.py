"""YAML text as a tree of nodes that know their place.

PyYAML's parser yields events; this module composes them itself, because
errors need line and column, names must stay text (`on`, `1.0` and
`2024-10-21` are fine model names and API versions) and a hostile file must
cost little: nesting, size and merges are bounded, a key given twice is an
error, an alias is a shared node and never a copy. What a scalar means is left
to who knows the expected type (`parse`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import yaml

MAX_BYTES = 4 * 1024 * 1024
"""Largest file that is read."""
_MAX_DEPTH = 40
_MAX_MERGED = 50_000
_STR_TAG = "tag:yaml.org,2002:str"
_MERGE = "<<"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing wrong with a file, and where. Lines and columns count from 1; 0 means the whole file."""

    message: str
    line: int = 0
    column: int = 0
    path: str = ""
    hint: str | None = None

    def text(self, source: str) -> str:
        """One line for a terminal, the hint left out."""
        place = f"{source}:{self.line}:{self.column}" if self.line else source
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class Scalar(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    plain: bool
    """Written without quotes, so that `8080` may be a number and `null` nothing."""
    line: int
    column: int


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Node]
    line: int
    column: int


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    entries: dict[str, tuple[Scalar, Node]]
    """Key text to the key's own node and its value."""
    line: int
    column: int


Node = Scalar | Sequence | Mapping


class Unreadable(Exception):
    """The text is no tree at all; carries the one problem that ended reading."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def read(text: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a text with one document (None when it is empty), and keys that were given twice.

    Raises:
        Unreadable: the text is not YAML, or not YAML that is accepted here.
    """
    if len(text) > MAX_BYTES:
        raise Unreadable(Problem(message=f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB"))
    composer = _Composer(text.removeprefix("\ufeff"))
    try:
        return composer.document(), composer.problems
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_syntax(error, text)) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise Unreadable(
            Problem(message="not YAML: it has characters that may not stand in a file")
        ) from error


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    message = f"not YAML: {error.problem or error.context or 'it cannot be read'}"
    if error.context and error.problem:
        message += f" ({error.context})"
    if mark is None:
        return Problem(message=message)
    # A tab for indentation is a frequent mistake, and the parser's words do not name it.
    line = (text.split("\n")[mark.line :] or [""])[0]
    indentation = line[: len(line) - len(line.lstrip())]
    hint = "indent with spaces, not tabs" if "\t" in indentation else None
    return Problem(message=message, line=mark.line + 1, column=mark.column + 1, hint=hint)


class _Composer:
    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        # libyaml is ten times as fast and part of PyYAML's wheels; both yield the same events.
        loader = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=loader)
        self._anchors: dict[str, Node] = {}
        self._merged = 0

    def document(self) -> Node | None:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise Unreadable(_at(event, "a second document begins here; a configuration is one document"))
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise Unreadable(_at(event, f"nested more than {_MAX_DEPTH} levels deep"))
        if isinstance(event, yaml.AliasEvent):
            # An anchor is known only once its node is complete, so no node can contain itself.
            if event.anchor not in self._anchors:
                raise Unreadable(_at(event, f"no anchor `&{event.anchor}` before this alias"))
            return self._anchors[event.anchor]
        assert isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent)
        if event.tag not in (None, "!", _STR_TAG):
            raise Unreadable(_at(event, f"the tag `{event.tag}` is not accepted; leave it out"))
        line, column = _place(event)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            plain = not event.style and event.tag is None
            node = Scalar(text=event.value, plain=plain, line=line, column=column)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Sequence(items=self._items(depth), line=line, column=column)
        else:
            node = Mapping(entries=self._entries(depth), line=line, column=column)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _items(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _entries(self, depth: int) -> dict[str, tuple[Scalar, Node]]:
        own: dict[str, tuple[Scalar, Node]] = {}
        merged: dict[str, tuple[Scalar, Node]] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                self.problems.append(_on(key, "a key must be text, not a list or mapping"))
            elif key.plain and key.text == _MERGE:
                self._merge(value, merged)
            elif (first := own.get(key.text)) is not None:
                message = f"`{key.text}` is given twice; first in line {first[0].line}"
                self.problems.append(_on(key, message))
            else:
                own[key.text] = (key, value)
        # What is written here wins over what is merged in, wherever the merge stands.
        return {**merged, **own} if merged else own

    def _merge(self, value: Node, into: dict[str, tuple[Scalar, Node]]) -> None:
        for source in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(source, Mapping):
                self.problems.append(_on(source, "`<<` merges a mapping or a list of mappings"))
                continue
            self._merged += len(source.entries)
            if self._merged > _MAX_MERGED:
                raise Unreadable(_on(value, f"merges add up to more than {_MAX_MERGED} entries"))
            for key, entry in source.entries.items():
                into.setdefault(key, entry)


def _at(event: yaml.Event, message: str) -> Problem:
    line, column = _place(event)
    return Problem(message=message, line=line, column=column)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)


def _on(node: Node, message: str) -> Problem:
    return Problem(message=message, line=node.line, column=node.column)

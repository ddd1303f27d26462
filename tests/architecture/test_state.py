"""No module keeps state: two gateways run in one process.

A heuristic over the syntax. Tables (a dict of names to classes) are constants
and welcome; what nobody may have is a module-level container that the code
changes or that begins empty, a `global`, or a lock, queue, task or cache at
module level.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fairlead

SOURCE = Path(fairlead.__file__).parent

CONTAINERS = {"list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict"}
LIVE = {
    "Lock", "RLock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Queue", "SimpleQueue",
    "PriorityQueue", "ContextVar", "WeakValueDictionary", "WeakKeyDictionary", "WeakSet",
    "ThreadPoolExecutor", "count", "Random", "local", "new_event_loop", "get_event_loop",
}  # fmt: skip
MUTATORS = {
    "append", "appendleft", "add", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft",
    "remove", "setdefault", "sort", "reverse", "update",
}  # fmt: skip
CACHES = {"lru_cache", "cache"}


def test_no_module_keeps_state() -> None:
    found = [
        f"{path.relative_to(SOURCE.parent)}:{line}: {what}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line, what in state_in(path.read_text())
    ]

    assert not found, "state at module level:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("TABLE = {'a': 1}", []),
        ("names: list[str] = []", ["`names` begins empty"]),
        ("seen = set()", ["`seen` begins empty"]),
        ("T = {'a': 1}\ndef f():\n    T['b'] = 2", ["`T` is changed"]),
        ("T = ['a']\ndef f():\n    T.append('b')", ["`T` is changed"]),
        ("T = ['a']\ndef f(T):\n    T.append('b')", []),
        ("T = ['a']\ndef f():\n    T = []\n    T.append('b')", []),
        ("T = {'a': 1}\ndef f():\n    del T['a']", ["`T` is changed"]),
        ("n = 0\ndef f():\n    global n\n    n += 1", ["global n"]),
        ("import asyncio\nlock = asyncio.Lock()", ["`lock` is a Lock"]),
        ("import functools\n@functools.lru_cache(5)\ndef f(x): ...", ["`f` keeps a cache"]),
        ("import functools\n@functools.cache\ndef f(): ...", []),
        ("class A:\n    seen: dict[str, int] = {}", ["`A.seen` begins empty"]),
        ("class A(msgspec.Struct):\n    seen: dict[str, int] = {}", []),
    ],
)
def test_the_heuristic_finds_state_and_leaves_tables_alone(source: str, expected: list[str]) -> None:
    assert [what for _, what in state_in(source)] == expected


def state_in(source: str) -> Iterator[tuple[int, str]]:
    """Lines of a module that hold or change state, and what they do."""
    tree = ast.parse(source)
    tables = set()
    for node in tree.body:
        for name, value in _assigned(node):
            yield from _judged(node, name, value)
            if _is_container(value):
                tables.add(name)
        if isinstance(node, ast.ClassDef) and not _declares_fields(node):
            for member in node.body:
                for name, value in _assigned(member):
                    yield from _judged(member, f"{node.name}.{name}", value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # Without parameters it is a constant that is made late.
            if node.args.args and any(_name_of(one) in CACHES for one in node.decorator_list):
                yield node.lineno, f"`{node.name}` keeps a cache"
            yield from ((line, f"`{name}` is changed") for line, name in _changes(node, tables))


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
        yield node.target.id, node.value


def _judged(node: ast.stmt, name: str, value: ast.expr) -> Iterator[tuple[int, str]]:
    if name.endswith("__all__"):
        return
    if _is_container(value) and _is_empty(value):
        yield node.lineno, f"`{name}` begins empty"
    elif isinstance(value, ast.Call) and _name_of(value) in LIVE:
        yield node.lineno, f"`{name}` is a {_name_of(value)}"


def _is_container(value: ast.expr) -> bool:
    displays = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    return isinstance(value, displays) or (isinstance(value, ast.Call) and _name_of(value) in CONTAINERS)


def _is_empty(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return not value.args and not value.keywords
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.List) and not value.elts


def _declares_fields(node: ast.ClassDef) -> bool:
    """Structs copy their defaults for each instance; a class with a base may be one."""
    return bool(node.bases)


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _changes(function: ast.FunctionDef | ast.AsyncFunctionDef, tables: set[str]) -> Iterator[tuple[int, str]]:
    """Places of a function that change one of the module's tables, and which."""
    local = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)} | {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(function):
        changed: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed = node.value
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS
        ):
            changed = node.func.value
        if isinstance(changed, ast.Name) and changed.id in tables - local:
            yield node.lineno, changed.id

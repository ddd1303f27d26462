"""Every module, and whatever public has behaviour, says what it is for.

Not asked of: structs that only have fields (names and the module's docstring
tell), overloads, methods that implement one documented elsewhere (a port's,
or a protocol's callback), and one-line methods that their name explains.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import fairlead

SOURCE = Path(fairlead.__file__).parent
Function = ast.FunctionDef | ast.AsyncFunctionDef

LIBRARIES = {
    *dir(argparse.ArgumentParser), *dir(asyncio.Protocol), *dir(asyncio.BufferedProtocol),
    *dir(asyncio.Transport),
    # httptools' callbacks
    "on_message_begin", "on_url", "on_status", "on_header", "on_headers_complete",
    "on_body", "on_chunk_header", "on_chunk_complete", "on_message_complete",
}  # fmt: skip
"""Methods that a library's own documentation explains, where we implement or override them."""


def test_every_module_function_and_class_says_what_it_is_for() -> None:
    trees = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
    documented = _documented_methods(trees.values()) | LIBRARIES
    silent = [
        f"{path.relative_to(SOURCE.parent)}: {name}"
        for path, tree in trees.items()
        for name in _silent(tree, documented)
    ]

    assert not silent, "without a docstring:\n" + "\n".join(silent)


def _silent(tree: ast.Module, documented: set[str]) -> Iterator[str]:
    """Names that should have a docstring and have none."""
    if ast.get_docstring(tree) is None:
        yield "the module itself"
    for node in tree.body:
        if isinstance(node, Function) and _asks(node):
            yield node.name
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [method for method in node.body if isinstance(method, Function)]
            if methods and ast.get_docstring(node) is None:
                yield node.name
            for method in methods:
                if _asks(method) and method.name not in documented and not _is_obvious(method):
                    yield f"{node.name}.{method.name}"


def _asks(node: Function) -> bool:
    """Whether a function needs a docstring and has none."""
    return not (
        node.name.startswith("_")
        or ast.get_docstring(node) is not None
        or any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list)
    )


def _is_obvious(method: Function) -> bool:
    return len(method.body) == 1 and isinstance(
        method.body[0], ast.Return | ast.Expr | ast.Assign | ast.AugAssign
    )


def _documented_methods(trees: Iterable[ast.Module]) -> set[str]:
    """Names of methods that some public class documents."""
    return {
        method.name
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, Function) and ast.get_docstring(method) is not None
    }

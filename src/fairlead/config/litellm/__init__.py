"""LiteLLM's proxy configuration to `fairlead.yaml`.

`import_litellm` maps what has a counterpart and says of every option what
became of it: mapped, approximated (and how), or not mapped (and why). Secrets
in clear text are never copied; they become references to variables. The text
it returns is always accepted by `parse`: whatever would break a rule of
`rules` is taken out again, with a note.

Pure: `environ` is looked at only for options that LiteLLM itself reads from
variables and that are no secrets, such as an upstream's address.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.config import parse, tree
from fairlead.config.litellm.build import Draft
from fairlead.config.litellm.notes import Note, Notes, Options, Plain
from fairlead.config.litellm.settings import read_settings

__all__ = ["Note", "import_litellm"]

_MAX_VALUES = 200_000
_TRUE_FALSE = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def import_litellm(
    text: str, source: str, environ: Mapping[str, str] | None = None
) -> tuple[str, list[Note]]:
    """The text of a `fairlead.yaml` for LiteLLM's `config.yaml`, and what became of each option.

    Raises:
        ConfigError: the text is not YAML, or not a mapping.
    """
    notes = Notes(environ or {})
    root = Options("", _plain_root(text, source), notes)
    draft = Draft(notes, read_settings(root))
    draft.add_deployments(root.take("model_list"))
    draft.add_routing()
    root.finish(_SECTIONS, "no counterpart")
    config = draft.settle()
    heading = (
        "# Imported from LiteLLM's configuration. `fairlead config check` says whether it is complete.\n"
    )
    return heading + parse.dump(config), notes.final()


_SECTIONS = {
    "include": "files are not joined: merge the included files first",
    "guardrails": "guardrails are not part of this version",
    "mcp_servers": "MCP servers are not proxied",
    "vector_store_registry": "vector stores are not proxied",
    "assistant_settings": "the Assistants API is not translated",
    "callback_settings": "callbacks are not run; see `/metrics` and the ledger",
    "search_tools": "search tools are not proxied",
}


def _plain_root(text: str, source: str) -> Plain:
    try:
        root, problems = tree.read(text)
        if problems:
            raise parse.failure(problems, source)
        if root is None:
            return {}
        if not isinstance(root, tree.Mapping):
            message = "expected a LiteLLM configuration (`model_list: ...`)"
            raise parse.failure([tree.Problem(message=message, line=root.line, column=root.column)], source)
        return _Plainer().plain(root)
    except tree.Unreadable as error:
        raise parse.failure([error.problem], source) from error


class _Plainer:
    """A tree as plain values, by YAML's own guesses: the file was written for a reader that makes them."""

    def __init__(self) -> None:
        self._values = 0

    def plain(self, node: tree.Node) -> Plain:
        self._values += 1
        if self._values > _MAX_VALUES:
            message = f"more than {_MAX_VALUES} values; aliases count each time they are used"
            raise tree.Unreadable(tree.Problem(message=message, line=node.line, column=node.column))
        if isinstance(node, tree.Mapping):
            return {key: self.plain(value) for key, (_, value) in node.entries.items()}
        if isinstance(node, tree.Sequence):
            return [self.plain(item) for item in node.items]
        return _scalar(node)


def _scalar(node: tree.Scalar) -> Plain:
    text = node.text
    if not node.plain:
        return text
    if text.lower() in ("", "~", "null"):
        return None
    if text.lower() in _TRUE_FALSE:
        return _TRUE_FALSE[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

"""Chat templates: Jinja programs that a server runs on every request.

Not every server runs them in a sandbox, and sandboxes have had holes. Here a
template is read token by token and may use only what turning messages into
text needs: known statements, filters, tests, functions and fields. What
reaches for Python itself is refused; what is merely not known is held for an
approval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from fairlead.vault.ingest.verdict import Report, shown

MAX_CHARS: Final = 1 << 20
_MAX_TOKENS: Final = 200_000
_TAG: Final = re.compile(r"\{\{|\{%|\{#")
_TOKEN: Final = re.compile(
    r"""\s+|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<name>[^\W\d]\w*)|(?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%~<>=.,:|()\[\]{}])""",
    re.DOTALL,
)
_STATEMENTS: Final = frozenset(
    {
        "if", "elif", "else", "endif", "for", "endfor", "set", "endset", "macro", "endmacro", "generation",
        "endgeneration", "break", "continue",
    }
)  # fmt: skip
_REFUSED_STATEMENTS: Final = frozenset(
    {
        "include", "import", "from", "extends", "block", "endblock", "call", "endcall", "do", "debug",
    }
)  # fmt: skip
_WORDS: Final = frozenset(
    {
        "if", "else", "elif", "in", "not", "and", "or", "is", "for", "recursive", "true", "false", "none",
        "True", "False", "None", "as", "with", "without", "context",
    }
)  # fmt: skip
_TESTS: Final = frozenset(
    {
        "defined", "undefined", "none", "string", "mapping", "iterable", "number", "sequence", "true",
        "false", "boolean", "integer", "float", "even", "odd", "sameas", "equalto", "eq", "ne", "lt", "gt",
        "ge", "le", "in", "divisibleby", "lower", "upper", "callable",
    }
)  # fmt: skip
_FILTERS: Final = frozenset(
    {
        "trim", "tojson", "length", "count", "string", "int", "float", "list", "join", "first", "last",
        "map", "select", "reject", "selectattr", "rejectattr", "items", "dictsort", "default", "d", "upper",
        "lower", "title", "capitalize", "replace", "indent", "safe", "e", "escape", "unique", "sort",
        "reverse", "sum", "min", "max", "abs", "round", "batch", "slice", "wordcount", "from_json",
        "tojsonstr", "trim_end", "groupby",
    }
)  # fmt: skip
_FUNCTIONS: Final = frozenset(
    {
        "raise_exception", "strftime_now", "range", "namespace", "dict", "loop",
    }
)  # fmt: skip
_METHODS: Final = frozenset(
    {
        "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "upper",
        "lower", "title", "capitalize", "replace", "items", "keys", "values", "get", "find", "index",
        "count", "append", "join", "pop", "update", "extend", "insert", "copy", "setdefault", "removeprefix",
        "removesuffix", "isdigit", "isalpha", "partition", "rpartition", "strftime", "cycle",
    }
)  # fmt: skip
_FIELDS: Final = frozenset(
    {
        "role", "content", "name", "type", "text", "tool_calls", "tool_call", "function", "functions",
        "arguments", "parameters", "description", "properties", "required", "id", "index", "index0", "first",
        "last", "length", "revindex", "revindex0", "previtem", "nextitem", "depth", "depth0", "changed",
        "image", "image_url", "url", "video", "audio", "reasoning_content", "reasoning", "thinking",
        "tool_call_id", "title", "enum", "items", "default", "return", "returns", "output", "input",
        "result", "message", "messages", "tools", "documents", "doc", "document", "data", "value", "key",
        "system", "user", "assistant", "tool", "response", "query", "format", "anyOf", "oneOf", "allOf",
        "ref", "nullable", "additionalProperties", "minimum", "maximum", "pattern", "example", "examples",
        "const", "source", "citations", "call", "call_id", "tool_responses", "tool_results", "tool_name",
        "parts", "part", "file", "json", "code", "eot", "strict", "recipient", "channel", "weight",
        "controls", "suffix", "prefix", "train", "is_last", "prefix_text", "response_format",
        "json_schema", "schema", "arguments_json",
    }
)  # fmt: skip
_FREE: Final = frozenset(
    {
        "messages", "message", "tools", "tool", "documents", "document", "bos_token", "eos_token",
        "pad_token", "unk_token", "sep_token", "cls_token", "mask_token", "add_generation_prompt",
        "add_vision_id", "enable_thinking", "thinking", "tools_in_user_message", "custom_tools",
        "builtin_tools", "date_string", "system_message", "system_prompt", "chat_template", "content",
        "role", "functions", "user_name", "model_identity", "reasoning_effort", "tool_choice", "controls",
        "add_bos_token", "image_token", "strftime_now", "raise_exception", "namespace", "range", "loop",
        "tool_use", "citation_mode", "safety_mode", "available_tools", "xml_tools", "python_tools",
        "json_tools", "continue_final_message", "kwargs_tools", "response_format", "preserve_thinking",
        "thinking_budget", "clear_thinking", "today", "current_date", "length", "truncate_history_thinking",
        "force_nonempty_content", "keep_past_thinking", "think", "low_effort", "dict", "true", "false",
        "none",
    }
)  # fmt: skip
_PYTHON: Final = re.compile(
    r"mro|(gi|cr|ag|tb|f|func|im|co)_[a-z]+|lipsum|cycler|joiner|self|caller|varargs|kwargs|url_for|get_flashed_messages|config"
    r"|request|session|g|environment|context|os|sys|subprocess|popen|system|eval|exec|open|getattr|builtins|globals|format_map"
    r"|format|attr|xmlattr|import_module|load_module|modules|subclasses|read|write"
)


class _Token(NamedTuple):
    kind: str
    text: str


def check(template: str, where: str, report: Report) -> None:
    """Hold a template against what templates need; findings go to the report."""
    if len(template) > MAX_CHARS:
        report.add("template-unreadable", where, f"more than {MAX_CHARS} characters")
        return
    tags = list(_tags(template))
    tokens = [list(_tokens(body)) for _, body in tags]
    if (
        any(body is None for _, body in tags)
        or any(None in found for found in tokens)
        or sum(map(len, tokens)) > _MAX_TOKENS
    ):
        report.add("template-unreadable", where, "it is not the Jinja that chat templates are written in")
        return
    programs = [[token for token in found if token is not None] for found in tokens]
    statements = [kind for kind, _ in tags]
    own = _own_names(programs, statements)
    computed = _computed_names(programs)
    for kind, program in zip(statements, programs, strict=True):
        _Checker(program, where, report, own, computed).check(is_statement=kind == "{%")


def _tags(template: str) -> Iterator[tuple[str, str | None]]:
    """The expressions and statements of a template; None for one that does not end."""
    at = 0
    while found := _TAG.search(template, at):
        opening = found[0]
        closing = {"{{": "}}", "{%": "%}", "{#": "#}"}[opening]
        end = template.find(closing, found.end())
        # A closing mark inside of a string ends nothing: try on until quotes are in pairs.
        while opening != "{#" and end >= 0 and _is_open(template[found.end() : end]):
            end = template.find(closing, end + 1)
        if end < 0:
            yield opening, None
            return
        if opening != "{#":
            yield opening, template[found.end() : end].strip("-+ \t\r\n")
        at = end + 2


def _is_open(body: str) -> bool:
    """Whether a string begins in an expression and does not end, or brackets of a mapping are still open."""
    at, braces = 0, 0
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:
            return body[at] in "'\""
        braces += (found[0] == "{") - (found[0] == "}")
        at = found.end()
    return braces > 0


def _tokens(body: str | None) -> Iterator[_Token | None]:
    at = 0
    body = body or ""
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:
            yield None
            return
        if found.lastgroup is not None:
            yield _Token(found.lastgroup, found[0])
        at = found.end()


def _own_names(programs: list[list[_Token]], statements: list[str]) -> frozenset[str]:
    """Names that the template itself gives to something."""
    own: set[str] = set()
    for kind, program in zip(statements, programs, strict=True):
        if kind != "{%" or not program:
            continue
        words = [token.text for token in program]
        if words[0] == "for" and "in" in words:
            own.update(token.text for token in program[1 : words.index("in")] if token.kind == "name")
        elif words[0] == "set":
            end = words.index("=") if "=" in words else len(words)
            own.update(token.text for token in program[1:end] if token.kind == "name")
        elif words[0] == "macro" and len(words) > 1:
            own.update(token.text for token in program[1:] if token.kind == "name")
        # Names of arguments: `namespace(found=false)`, `strftime(format=...)`.
        own.update(a.text for a, b in pairwise(program) if a.kind == "name" and b.text == "=")
    return frozenset(own - _WORDS)


def _computed_names(programs: list[list[_Token]]) -> frozenset[str]:
    """Names that were set to a text put together: as a key they could spell anything."""
    computed: set[str] = set()
    for program in programs:
        words = [token.text for token in program]
        if words[:1] == ["set"] and "=" in words:
            value = program[words.index("=") + 1 :]
            if any(
                token.text in {"~", "+", "%", "*", "join", "replace", "format", "list"} for token in value
            ) and any(token.kind == "text" for token in value):
                computed.update(token.text for token in program[1 : words.index("=")] if token.kind == "name")
        elif words[:1] == ["set"] or words[:1] == ["macro"]:
            computed.update(token.text for token in program[1:] if token.kind == "name" and "=" not in words)
    return frozenset(computed)


class _Checker:
    """Looks at one expression or statement."""

    def __init__(
        self, program: list[_Token], where: str, report: Report, own: frozenset[str], computed: frozenset[str]
    ) -> None:
        self._program = program
        self._where = where
        self._report = report
        self._own = own
        self._computed = computed

    def check(self, *, is_statement: bool) -> None:
        program = self._program
        if is_statement:
            word = program[0].text if program else ""
            if word in _REFUSED_STATEMENTS:
                self._refuse(f"statement {word}")
            elif word not in _STATEMENTS:
                self._hold(f"statement {shown(word)}")
        for index, token in enumerate(program[1:] if is_statement else program, start=int(is_statement)):
            if token.kind == "text":
                self._text(token.text)
            elif token.kind == "name":
                self._name(index)
            elif token.text == "[" and self._is_subscript(index):
                self._subscript(index)

    def _refuse(self, what: str) -> None:
        self._report.add(
            "template-python", f"{self._where}: {what}", "it reaches for Python, or for other templates"
        )

    def _hold(self, what: str) -> None:
        self._report.add(
            "template-unknown", f"{self._where}: {what}", "chat templates do not usually need it"
        )

    def _text(self, text: str) -> None:
        if "__" in text or re.search(r"\\(x|u|U|N|[0-7])", text):
            self._refuse(f"text {shown(text, 60)}")

    def _at(self, index: int) -> str:
        return self._program[index].text if 0 <= index < len(self._program) else ""

    def _name(self, index: int) -> None:
        name, before, after = self._program[index].text, self._at(index - 1), self._at(index + 1)
        if name.startswith("_") or name.endswith("__") or not name.isascii():
            self._refuse(f"name {shown(name)}")
        elif before == ".":
            self._attribute(name, called=after == "(")
        elif before == "|":
            if name not in _FILTERS:
                self._unknown(f"filter {name}", name)
        elif before == "is" or (before == "not" and self._at(index - 2) == "is"):
            if name not in _TESTS and name != "not":
                self._unknown(f"test {name}", name)
        elif name not in _WORDS and name not in self._own:
            if name not in _FREE and name not in (_FUNCTIONS if after == "(" else ()):
                self._unknown(f"name {name}", name)
            elif after == "(" and name not in _FUNCTIONS:
                self._unknown(f"function {name}", name)

    def _attribute(self, name: str, *, called: bool) -> None:
        allowed = _METHODS if called else _FIELDS | self._own | _FREE
        if name not in allowed:
            self._unknown(f"{'method' if called else 'field'} {name}", name)

    def _unknown(self, what: str, name: str) -> None:
        if _PYTHON.fullmatch(name):
            self._refuse(what)
        else:
            self._hold(what)

    def _is_subscript(self, index: int) -> bool:
        before = self._program[index - 1] if index else None
        if before is None:
            return False
        return (
            before.kind == "text"
            or before.text in {")", "]", "}"}
            or (before.kind == "name" and before.text not in _WORDS)
        )

    def _subscript(self, index: int) -> None:
        """What stands in brackets after a value: a fixed key, a number, a name that is not put together."""
        depth, inside = 0, []
        for token in self._program[index:]:
            depth += (token.text in {"[", "("}) - (token.text in {"]", ")"})
            if depth == 0:
                break
            inside.append(token)
        inside = inside[1:]
        if len(inside) == 1 and inside[0].kind == "text":
            if inside[0].text[1:2] == "_":
                self._refuse(f"key {shown(inside[0].text)}")
            return
        for token in inside:
            if token.kind == "text" or token.text in {"~", "{"} or token.text in self._computed:
                self._hold(f"key {shown(' '.join(one.text for one in inside), 60)}")
                return

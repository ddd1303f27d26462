"""Configuration that makes a loader run code: JSON by its keys, YAML by its tags.

Known loaders import what a configuration names. What is looked for are those
keys, at any depth, and names of classes that are more than a name. Chat
templates, wherever they stand, go to `templates`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fairlead.vault.ingest import jsons, templates
from fairlead.vault.ingest.verdict import Report, Stopped, shown
from fairlead.vault.ingest.window import Window

_REMOTE_CODE: Final = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "custom_pipeline",
        "trust_remote_code",
        "py_module",
        "code_revision",
        "auto_class",
    }
)
_INSTANTIATE: Final = frozenset(
    {"_target_", "py/object", "py/reduce", "py/function", "py/type", "py/module", "py/repr", "__reduce__",
     "__class__",
     "__import__", "__init__", "__globals__", "__builtins__", "!!python/object", "registered_name"}
)  # fmt: skip
_CLASS_KEYS: Final = re.compile(
    r"(_class_name|.*_class|architectures|.*tokenizer_type|.*processor_type|feature_extractor_type)"
)
_CLASS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LIBRARIES: Final = frozenset({"diffusers", "transformers", "onnxruntime", "flax", "optimum", "peft"})
_PIPELINE_PART: Final = re.compile(r"[A-Z][A-Za-z0-9_]*")
_MODULE_TYPE: Final = re.compile(
    r"sentence_transformers(\.[a-z_]+)*\.[A-Z][A-Za-z0-9]*|torch\.nn\.modules\.[a-z]+\.[A-Z][A-Za-z0-9]*"
)
_YAML_TAG: Final = re.compile(rb"(^|[\s\[{,:&-])!(?=[!<A-Za-z])[^\s,\]}]{1,200}", re.MULTILINE)
_YAML_KEY: Final = re.compile(
    rb"^[\s'\"{,-]*(_target_|auto_map|trust_remote_code|custom_pipelines)['\"]?\s*:", re.MULTILINE
)
MAX_PARSED_BYTES: Final = 64 << 20
"""A document that is parsed is held in memory."""
_MAX_NODES: Final = 20_000_000


def read_json(raw: bytes, name: str, report: Report) -> None:
    """Check a JSON document; `name` is the file's own, without folders.

    Raises:
        Stopped: it is not JSON that every reader reads alike.
    """
    # Vocabularies of a few old models have a token twice; in what loaders act on, twice is a trick.
    value = jsons.parse(raw, "json", unique=name not in {"vocab.json", "added_tokens.json"})
    for count, (path, key, item) in enumerate(_items(value)):
        if count > _MAX_NODES:
            raise Stopped("limits", "", f"more than {_MAX_NODES} values")
        _check_item(path, key, item, report)
    if name == "model_index.json" and isinstance(value, dict):
        _check_pipeline(value, report)
    if name == "modules.json" and isinstance(value, list):
        _check_modules(value, report)
    if name.endswith(".index.json") and isinstance(value, dict):
        _check_shards(value, report)
    if isinstance(value, dict) and isinstance(value.get("class_name"), str) and "config" in value:
        report.add("keras", "class_name", "it describes a Keras model, whose layers may hold code")


def read_lines(window: Window, name: str, report: Report) -> None:
    """Check JSON lines: each is a document of its own.

    Raises:
        Stopped: a line is not JSON.
    """
    left = b""
    number = 0
    for piece in window.pieces():
        lines = (left + piece).split(b"\n")
        left = lines.pop()
        if len(left) > 64 << 20:
            raise Stopped("limits", f"line {number}", "a line of more than 64 MiB")
        for line in lines:
            number += 1
            _read_line(line, number)
    _read_line(left, number + 1)


def _read_line(line: bytes, number: int) -> None:
    """Rows of a dataset are data: no loader acts on their keys."""
    if line.strip():
        try:
            jsons.parse(line, "json", unique=False)
        except Stopped as stopped:
            raise Stopped("json", f"line {number}", stopped.finding.why) from None


def _items(value: object) -> Iterator[tuple[str, str, object]]:
    """Every value below a key or in a list, with where it is; not recursive: depth is the file's choice."""
    stack: list[tuple[str, str, object]] = [("", "", value)]
    while stack:
        path, key, item = stack.pop()
        yield path, key, item
        if isinstance(item, dict):
            stack.extend((f"{path}.{name}"[-120:], name, inner) for name, inner in item.items())
        elif isinstance(item, list):
            stack.extend((path, key, inner) for inner in item)


def _check_item(path: str, key: str, item: object, report: Report) -> None:
    if key in _REMOTE_CODE and item not in (None, False, "", [], {}):
        report.add("remote-code", shown(path), "a loader would fetch and run Python that the model names")
    elif key in _INSTANTIATE:
        report.add("instantiate", shown(path), "a loader would import and call what is named here")
    elif isinstance(item, str):
        if "template" in key and ("{{" in item or "{%" in item):
            templates.check(item, shown(path), report)
        elif _CLASS_KEYS.fullmatch(key) and not _CLASS.fullmatch(item):
            report.add("class-path", shown(path), f"{shown(item)} is more than the name of a class")


def _check_pipeline(value: dict[str, object], report: Report) -> None:
    """A diffusion pipeline names a library and a class for each of its parts."""
    for key, item in value.items():
        match item:
            case [str() | None as library, str() | None as part]:
                if library is not None and library not in _LIBRARIES:
                    report.add("class-path", shown(key), f"library {shown(library)} would be imported")
                elif part is not None and not _PIPELINE_PART.fullmatch(part):
                    report.add("class-path", shown(key), f"{shown(part)} is more than the name of a class")


def _check_modules(value: list[object], report: Report) -> None:
    """sentence-transformers imports the `type` of each module."""
    for item in value:
        named = item.get("type") if isinstance(item, dict) else None
        if not isinstance(named, str) or not _MODULE_TYPE.fullmatch(named):
            report.add("class-path", "type", f"{shown(named)} would be imported")


def _check_shards(value: dict[str, object], report: Report) -> None:
    shards = value.get("weight_map")
    if not isinstance(shards, dict):
        return
    for file in sorted({str(file) for file in shards.values()}):
        if "/" in file or "\\" in file or file.startswith("."):
            report.add("outside", shown(file), "a shard in another folder")
        else:
            report.refers_to.append(file)


def check_yaml(raw: bytes, report: Report) -> None:
    """Check a YAML text, without parsing it: no tag, no key that instantiates."""
    if found := _YAML_TAG.search(raw):
        report.add("yaml-tag", shown(found[0].strip()), "a tag names a type that a reader would make")
    if found := _YAML_KEY.search(raw):
        rule = "instantiate" if found[1] == b"_target_" else "remote-code"
        report.add(rule, shown(found[1]), "a loader would import and run what is named here")

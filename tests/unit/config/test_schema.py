"""The JSON Schema and the reference's rows describe every option."""

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead import config as cfg
from fairlead.config.schema import options, schema


def structs(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    yield kind
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]  # a struct's info
        for module, found in re.findall(r"class '(fairlead\.config\.\w+)\.(\w+)'", str(field.type)):
            if found != "Secret":
                yield from structs(getattr(importlib.import_module(module), found))


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "properties" in node:
            yield node
        for value in node.values():
            yield from objects(value)


def test_it_is_json_schema_of_the_declared_draft() -> None:
    document = schema()
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"].startswith("https://")
    assert json.loads(json.dumps(document)) == document


def test_every_option_has_a_description_and_unknown_ones_are_forbidden() -> None:
    document = schema()
    found = list(objects(document))
    assert len(found) == len(set(structs(cfg.Config)))
    for section in found:
        assert section["additionalProperties"] is False
        for name, option in section["properties"].items():
            assert option.get("description"), name


def test_every_reference_resolves() -> None:
    document = schema()
    for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(document)):
        assert name in document["$defs"]


def test_a_secret_is_text_of_its_form() -> None:
    definition = schema()["$defs"]["Secret"]
    assert definition["type"] == "string"
    assert re.search(definition["pattern"], "env:OPENAI_API_KEY")
    assert re.search(definition["pattern"], "file:/run/key")
    assert not re.search(definition["pattern"], "sk-123")


def test_top_level_extensions_are_allowed_as_in_the_parser() -> None:
    assert list(schema()["patternProperties"]) == ["^x-"]


def test_each_field_of_each_struct_is_a_row() -> None:
    paths = [option.path for option in options()]
    assert len(paths) == len(set(paths))
    leaves = {path.rpartition(".")[2] for path in paths}
    for struct in structs(cfg.Config):
        assert set(struct.__struct_fields__) <= leaves
    for path in ("server.port", "models.NAME.targets[].timeouts.stall_s", "providers.NAME.tls.verify"):
        assert path in paths


def test_rows_say_type_default_and_unit() -> None:
    rows = {option.path: option for option in options()}
    port = rows["server.port"]
    assert (port.type, port.default, port.unit) == ("whole number from 0 to 65535", "8080", "")
    drain = rows["server.drain_s"]
    assert (drain.type, drain.default, drain.unit) == ("number > 0", "30", "seconds")
    assert rows["models.NAME.targets"].default == "required"
    assert rows["models.NAME.fallbacks.context_window"].unit == ""
    assert rows["models.NAME.targets[].context_window"].unit == "tokens"
    assert rows["models.NAME.timeouts.min_tokens_per_s"].unit == "tokens per second"
    assert rows["providers.NAME.headers"].type == "mapping of names to texts or secrets"
    assert all(option.description for option in options())


def test_names_with_a_unit_show_it() -> None:
    for option in options():
        if re.search(r"_(s|bytes|usd|days)$", option.path):
            assert option.unit, option.path

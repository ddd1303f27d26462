"""What is generated from the options: the JSON Schema for editors, and the rows of the reference page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect

from fairlead.config.options import Budget, Config, ModelLimits, NodeLimits, Places, Rate, Secret, TokenRate
from fairlead.config.parse import bounds, builtins

SCHEMA_ID: Final = "https://fairlead.dev/schema/fairlead.yaml.json"
_UNITS: Final = (
    (re.compile(r"_tokens_per_s$"), "tokens per second"),
    (re.compile(r"_s$"), "seconds"),
    (re.compile(r"_bytes$"), "bytes"),
    (re.compile(r"_days$"), "days"),
    (re.compile(r"_usd_per_mtok$"), "US dollars per million tokens"),
    (re.compile(r"_usd$"), "US dollars"),
    (re.compile(r"_tokens$|^context_window$"), "tokens"),
)

_SHOWN_AT: Final[dict[type, str]] = {
    NodeLimits: "tenants.NAME.limits",
    ModelLimits: "tenants.NAME.limits.models.NAME",
    Rate: "tenants.NAME.limits.requests_per_minute",
    TokenRate: "tenants.NAME.limits.tokens_per_minute",
    Places: "tenants.NAME.limits.concurrent_requests",
    Budget: "tenants.NAME.limits.budgets[]",
}
"""Structs that many options share, and the one place where the reference lists what they hold."""


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `fairlead.yaml`, made from the same structs that parse it."""
    generated = msgspec.json.schema(Config, ref_template="#/$defs/{name}")
    definitions: dict[str, Any] = generated["$defs"]
    definitions["Secret"] = {
        "title": "Secret",
        "description": (Secret.__doc__ or "").strip(),
        "type": "string",
        "pattern": r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$",
    }
    # A header is text or a reference, and a reference is text too.
    definitions["Provider"]["properties"]["headers"]["additionalProperties"] = {"type": "string"}
    root: dict[str, Any] = definitions.pop("Config")
    root["patternProperties"] = {"^x-": {"description": "Ignored: a place for YAML anchors."}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **root,
        "title": "fairlead.yaml",
        "$defs": definitions,
    }


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the reference: everything a reader asks about one option."""

    path: str
    """`NAME` stands for a name of the user's own, `[]` for each entry of a list."""
    type: str
    default: str
    """As YAML; "required" or "unset" where there is none."""
    unit: str
    description: str
    section: bool
    """It holds further options, which follow."""


def options() -> list[Option]:
    """Every option, in the order of the structs; a section's own options follow it."""
    return list(_struct_options(inspect.type_info(Config), ""))


def _struct_options(kind: inspect.Type, prefix: str) -> Iterator[Option]:
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        path = f"{prefix}{field.encode_name}"
        description, inner = _unwrap(field.type)
        nested, suffix = _nested(inner)
        shown_at = path + suffix if nested is None else _SHOWN_AT.get(nested.cls, path + suffix)
        here = shown_at == path + suffix
        yield Option(
            path=path,
            type=_type_text(inner) if here else f"{_type_text(inner)}, as `{shown_at}`",
            default=_default_text(field),
            unit=_unit(field.encode_name, inner),
            description=description,
            section=nested is not None,
        )
        if nested is not None and here:
            yield from _struct_options(nested, f"{path}{suffix}.")


def _unwrap(kind: inspect.Type) -> tuple[str, inspect.Type]:
    description = ""
    while isinstance(kind, inspect.Metadata):
        description = description or str((kind.extra_json_schema or {}).get("description", ""))
        kind = kind.type
    return description, kind


def _members(kind: inspect.Type) -> list[inspect.Type]:
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    bare = [_unwrap(member)[1] for member in kinds]
    return [member for member in bare if not isinstance(member, inspect.NoneType)]


def _nested(kind: inspect.Type) -> tuple[inspect.StructType | None, str]:
    """The struct below an option, and how its path goes on."""
    (first, *more) = _members(kind)
    if more:
        # A number or options: the options are what follows.
        structs = [one for one in more if isinstance(one, inspect.StructType) and one.cls is not Secret]
        return (structs[0], "") if structs else (None, "")
    if isinstance(first, inspect.StructType):
        return (first, "") if first.cls is not Secret else (None, "")
    if isinstance(first, inspect.DictType):
        below, suffix = _nested(first.value_type)
        return below, f".NAME{suffix}"
    if isinstance(first, inspect.ListType):
        below, suffix = _nested(first.item_type)
        return below, f"[]{suffix}"
    return None, ""


def _type_text(kind: inspect.Type) -> str:
    return " or ".join(_one_type_text(member) for member in _members(kind))


def _one_type_text(kind: inspect.Type) -> str:
    match kind:
        case inspect.StructType(cls=cls):
            return "secret" if cls is Secret else "section"
        case inspect.DictType():
            return f"mapping of names to {_plural(_type_text(kind.value_type))}"
        case inspect.ListType():
            return f"list of {_plural(_type_text(kind.item_type))}"
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
        case inspect.IntType():
            return "whole number" + bounds(kind)
        case inspect.FloatType():
            return "number" + bounds(kind)
        case inspect.BoolType():
            return "`true` or `false`"
        case inspect.StrType():
            return "text"
        case _:
            raise AssertionError(f"an option of a kind that the reference does not know: {kind}")


def _plural(text: str) -> str:
    if "number" in text:
        return text.replace("number", "numbers", 1)
    return {"section": "sections", "text": "texts", "text or secret": "texts or secrets"}.get(text, text)


def _default_text(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    plain = builtins(value, defaults=False)
    if plain is None:
        return "unset"
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if plain in ({}, []):
        return "empty" if not isinstance(value, msgspec.Struct) else "see below"
    return f"{plain:g}" if isinstance(plain, float) else str(plain)


def _unit(name: str, kind: inspect.Type) -> str:
    if not isinstance(_members(kind)[0], inspect.IntType | inspect.FloatType):
        return ""
    return next((unit for pattern, unit in _UNITS if pattern.search(name)), "")

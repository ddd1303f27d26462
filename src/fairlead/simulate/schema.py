"""Makes values that fit a JSON Schema.

A generator, not a validator: it follows `$ref`, `enum`, `const`, `anyOf`,
`oneOf`, `allOf`, `type`, `properties`, `required`, `items`, `prefixItems` and
the usual bounds and formats. What it does not know it ignores; a schema that
is no object gives null. Depth and size are bounded, so no schema can make it
run long: at the bound optional properties and array items are left out.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    JsonValue = bool | int | float | str | None | list["JsonValue"] | dict[str, "JsonValue"]
else:
    # msgspec knows no recursive alias; to it, this is whatever JSON holds.
    JsonValue = Any

_MAX_DEPTH = 24
_MAX_VALUES = 2000
_OPTIONAL_DEPTH = 5
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "inlet", "juniper")
_FORMATS = {
    "date-time": "2024-05-17T09:30:00Z",
    "date": "2024-05-17",
    "time": "09:30:00Z",
    "duration": "PT15M",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.10",
    "ipv6": "2001:db8::10",
    "uri": "https://example.com/item",
    "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
}


def generate(schema: JsonValue, rng: random.Random) -> JsonValue:
    """A value that fits `schema`, the same for the same state of `rng`."""
    return _Generator(schema, rng).value(schema, 0)


def _number(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _size(value: JsonValue, default: int) -> int:
    number = _number(value)
    return default if number is None else max(0, int(min(number, 1_000_000)))


class _Generator:
    def __init__(self, root: JsonValue, rng: random.Random) -> None:
        self._root = root
        self._rng = rng
        self._left = _MAX_VALUES

    def value(self, schema: JsonValue, depth: int) -> JsonValue:
        self._left -= 1
        if not isinstance(schema, dict) or depth > _MAX_DEPTH or self._left <= 0:
            return None
        schema = self._resolve(schema, depth)
        if "const" in schema:
            return schema["const"]
        options = schema.get("enum")
        if isinstance(options, list) and options:
            return self._rng.choice(options)
        for key in ("anyOf", "oneOf"):
            branches = schema.get(key)
            if isinstance(branches, list) and branches:
                # A recursive type ends in its last branch at the latest (`null`, usually).
                branch = branches[0] if depth < _OPTIONAL_DEPTH else branches[-1]
                rest = {name: part for name, part in schema.items() if name != key}
                return self.value(_merge(rest, branch), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, JsonValue], depth: int) -> JsonValue:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((name for name in kind if name != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "string":
            return self._string(schema)
        if kind == "integer":
            return self._integer(schema)
        if kind == "number":
            return self._float(schema)
        if kind == "boolean":
            return self._rng.random() < 0.5
        return None

    def _resolve(self, schema: dict[str, JsonValue], depth: int) -> dict[str, JsonValue]:
        for _ in range(16):
            self._left -= 1
            reference = schema.get("$ref")
            if isinstance(reference, str):
                rest = {name: part for name, part in schema.items() if name != "$ref"}
                schema = _merge(rest, self._lookup(reference))
                continue
            parts = schema.get("allOf")
            if not isinstance(parts, list) or depth > _MAX_DEPTH or self._left <= 0:
                break
            schema = {name: part for name, part in schema.items() if name != "allOf"}
            for part in parts:
                if isinstance(part, dict):
                    schema = _merge(schema, self._resolve(part, depth + 1))
        return {name: part for name, part in schema.items() if name not in ("$ref", "allOf")}

    def _lookup(self, reference: str) -> JsonValue:
        node = self._root
        if not reference.startswith("#"):
            return {}
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict):
                return {}
            node = node.get(name)
        return node

    def _object(self, schema: dict[str, JsonValue], depth: int) -> JsonValue:
        properties = schema.get("properties")
        wanted = schema.get("required")
        required = [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) else []
        names = dict.fromkeys(required)
        known = properties if isinstance(properties, dict) else {}
        if depth < _OPTIONAL_DEPTH and self._left > 0:
            # Every property, in the schema's order: that is what strict output modes give.
            names = dict.fromkeys([*known, *required])
        return {name: self.value(known.get(name, {"type": "string"}), depth + 1) for name in names}

    def _array(self, schema: dict[str, JsonValue], depth: int) -> JsonValue:
        result: list[JsonValue] = []
        prefix = schema.get("prefixItems")
        if isinstance(prefix, list):
            result = [self.value(part, depth + 1) for part in prefix]
        least = _size(schema.get("minItems"), 0)
        most = _size(schema.get("maxItems"), max(least, 2))
        wanted = min(max(least, self._rng.randint(1, 2)), most)
        if depth >= _OPTIONAL_DEPTH or self._left <= 0:
            wanted = least
        items = schema.get("items", {"type": "string"})
        while len(result) < wanted and self._left > 0 and items is not False:
            result.append(self.value(items, depth + 1))
        return result

    def _string(self, schema: dict[str, JsonValue]) -> str:
        named = schema.get("format")
        if isinstance(named, str) and named in _FORMATS:
            return _FORMATS[named]
        text = " ".join(self._rng.choice(_WORDS) for _ in range(self._rng.randint(1, 2)))
        least = min(_size(schema.get("minLength"), 0), 1000)
        while len(text) < least:
            text += " " + self._rng.choice(_WORDS)
        return text[: max(least, _size(schema.get("maxLength"), len(text)))]

    def _bounds(self, schema: dict[str, JsonValue], step: float) -> tuple[float, float]:
        low = _number(schema.get("minimum"))
        above = _number(schema.get("exclusiveMinimum"))
        high = _number(schema.get("maximum"))
        below = _number(schema.get("exclusiveMaximum"))
        if above is not None:
            low = above + step if low is None else max(low, above + step)
        if below is not None:
            high = below - step if high is None else min(high, below - step)
        if low is None:
            low = 0.0 if high is None or high >= 0 else high - 100
        if high is None:
            high = low + 100
        return low, max(low, high)

    def _integer(self, schema: dict[str, JsonValue]) -> int:
        low, high = self._bounds(schema, 1)
        first, last = math.ceil(low), math.floor(high)
        multiple = _size(schema.get("multipleOf"), 1) or 1
        steps = max(0, last // multiple - -(-first // multiple))
        return -(-first // multiple) * multiple + multiple * self._rng.randint(0, steps)

    def _float(self, schema: dict[str, JsonValue]) -> float:
        low, high = self._bounds(schema, 0.001)
        return min(max(round(self._rng.uniform(low, high), 3), low), high)


def _merge(schema: dict[str, JsonValue], other: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(other, dict):
        return schema
    merged = {**other, **schema}
    properties, more = schema.get("properties"), other.get("properties")
    if isinstance(properties, dict) and isinstance(more, dict):
        merged["properties"] = {**properties, **more}
    required, needed = schema.get("required"), other.get("required")
    if isinstance(required, list) and isinstance(needed, list):
        merged["required"] = [*required, *needed]
    return merged

"""Values from JSON Schemas."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.simulate.schema import JsonValue, generate


def made(schema: JsonValue, seed: int = 1) -> JsonValue:
    return generate(schema, random.Random(seed))


def test_an_object_has_its_properties_in_order_and_of_their_types() -> None:
    schema: JsonValue = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 3},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "exact": {"type": "boolean"},
            "at": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
            "where": {"type": "object", "properties": {"lat": {"type": "number", "maximum": 90}}},
        },
        "required": ["city", "unit"],
    }
    value = made(schema)
    assert isinstance(value, dict)
    assert list(value) == ["city", "unit", "days", "exact", "at", "where"]
    assert isinstance(value["city"], str)
    assert len(value["city"]) >= 3
    assert value["unit"] in ("celsius", "fahrenheit")
    assert isinstance(value["days"], int)
    assert 1 <= value["days"] <= 7
    assert isinstance(value["exact"], bool)
    assert isinstance(value["at"], list)
    assert len(value["at"]) == 3
    assert isinstance(value["where"], dict)
    assert isinstance(value["where"]["lat"], float)


@given(st.integers(-1000, 1000), st.integers(0, 500), st.integers(0, 99))
def test_integers_stay_in_their_bounds(low: int, width: int, seed: int) -> None:
    value = made({"type": "integer", "minimum": low, "maximum": low + width}, seed)
    assert isinstance(value, int)
    assert low <= value <= low + width


def test_exclusive_bounds_and_multiples_hold() -> None:
    for seed in range(20):
        assert made({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, seed) == 4
        multiple = made({"type": "integer", "minimum": 1, "maximum": 30, "multipleOf": 10}, seed)
        assert multiple in (10, 20, 30)


def test_references_unions_and_nullable_types_are_followed() -> None:
    schema: JsonValue = {
        "$defs": {"name": {"type": "string", "const": "ada"}},
        "type": "object",
        "properties": {
            "who": {"$ref": "#/$defs/name"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "old": {"type": ["null", "integer"]},
            "all": {
                "allOf": [
                    {"type": "object", "properties": {"a": {"const": 1}}},
                    {"properties": {"b": {"const": 2}}},
                ]
            },
        },
    }
    value = made(schema)
    assert isinstance(value, dict)
    assert value["who"] == "ada"
    assert isinstance(value["maybe"], int)
    assert isinstance(value["old"], int)
    assert value["all"] == {"a": 1, "b": 2}


def test_a_schema_that_contains_itself_ends() -> None:
    tree: JsonValue = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "name": {"type": "string"}},
        "required": ["left", "right"],
    }
    assert len(msgspec.json.encode(made(tree))) < 1_000_000
    endless: JsonValue = {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}
    assert len(msgspec.json.encode(made(endless))) < 1000


def test_the_same_seed_gives_the_same_value() -> None:
    schema: JsonValue = {"type": "array", "items": {"type": "string"}, "minItems": 2}
    assert made(schema, 5) == made(schema, 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "enum",
                    "anyOf",
                    "allOf",
                    "required",
                    "minItems",
                    "maximum",
                    "minimum",
                ]
            ),
            inner | st.sampled_from(["object", "array", "string", "integer", "number"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_schema_however_odd_breaks_it(schema: JsonValue) -> None:
    assert msgspec.json.decode(msgspec.json.encode(made(schema))) is not NotImplemented

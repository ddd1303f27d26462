"""JSON against schemas, hostile ones included."""

from __future__ import annotations

import json

import pytest

from fairlead.signals.validity import INVALID, UNCHECKED, UNPARSABLE, VALID, Validity, too_deep

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
        "additionalProperties": False,
    }
).encode()


@pytest.fixture(scope="module")
def validity() -> Validity:
    return Validity()


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"city": "Lyon", "days": 2}', VALID),
        ('{"days": 2}', INVALID),
        ('{"city": "Lyon", "days": 0}', INVALID),
        ('{"city": "Lyon", "more": 1}', INVALID),
        ('{"city": "Lyon"', UNPARSABLE),
        ('Here it is: {"city": "Lyon"}', UNPARSABLE),
        ("\ud800", UNPARSABLE),
    ],
)
def test_verdicts(validity: Validity, text: str, verdict: str) -> None:
    assert validity.check(text, SCHEMA) == verdict


def test_without_a_schema_any_json_is_valid(validity: Validity) -> None:
    assert validity.check("[1, 2]", None) == VALID
    assert validity.check("one", None) == UNPARSABLE


@pytest.mark.parametrize(
    "schema",
    [
        b"no JSON",
        b"[]",
        b'{"type": "nothing that exists"}',
        b'{"$ref": "http://127.0.0.1:9/schema.json"}',
        b'{"$ref": "file:///etc/passwd"}',
        b'{"properties": {"a": {"pattern": "(?=lookahead)"}}}',
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b'{"description": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_a_schema_that_cannot_be_used_says_nothing_of_the_answer(validity: Validity, schema: bytes) -> None:
    assert validity.check('{"a": "b"}', schema) == UNCHECKED


def test_patterns_that_explode_elsewhere_are_linear_here(validity: Validity) -> None:
    schema = b'{"pattern": "^(a+)+$"}'

    assert validity.check(json.dumps("a" * 50_000 + "!"), schema) == INVALID
    assert validity.check(json.dumps("a" * 50_000), schema) == VALID


def test_a_schema_that_refers_to_itself_ends(validity: Validity) -> None:
    schema = b'{"$ref": "#"}'

    assert validity.check("1", schema) in (VALID, UNCHECKED)


def test_more_schemas_than_are_remembered() -> None:
    validity = Validity()

    for number in range(100):
        assert validity.check(str(number), json.dumps({"const": number}).encode()) == VALID


def test_depth() -> None:
    deep: object = 1
    for _ in range(70):
        deep = [deep]
    assert too_deep(deep)
    assert not too_deep({"a": [1, {"b": 2}]})

"""The control API's document follows from its table, and says what is true of the wire."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from fairlead.gateway.admin_openapi import Operation, document


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which ones."""

    since: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    tenant: str | None = None
    limit: Annotated[int | None, msgspec.Meta(description="At most.")] = None


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A thing to be made."""

    name: str


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """A thing."""

    id: str


async def list_things(_: Any) -> Thing:
    """Every thing."""
    return Thing(id="1")


async def make_thing(_: Any) -> Thing:
    """Make one."""
    return Thing(id="1")


async def end_thing(_: Any) -> Thing:
    """End one."""
    return Thing(id="1")


@pytest.fixture
def made() -> dict[str, Any]:
    return document(
        (
            Operation("GET", "/things", list_things, query=Query, answer=Thing),
            Operation("POST", "/things", make_thing, body=Body, answer=Thing, status=201),
            Operation("DELETE", "/things/{id}", end_thing, answer=Thing),
        ),
        "1.2.3",
    )


def test_every_operation_is_there_under_its_path_and_method(made: dict[str, Any]) -> None:
    found = {
        (path, method): entry["operationId"]
        for path, methods in made["paths"].items()
        for method, entry in methods.items()
    }

    assert found == {
        ("/admin/v1/things", "get"): "list_things",
        ("/admin/v1/things", "post"): "make_thing",
        ("/admin/v1/things/{id}", "delete"): "end_thing",
    }
    assert made["info"]["version"] == "1.2.3"
    assert made["paths"]["/admin/v1/things"]["get"]["summary"] == "Every thing."


def test_every_operation_needs_the_key_and_tells_its_refusals(made: dict[str, Any]) -> None:
    assert made["security"] == [{"key": []}]
    assert made["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    for methods in made["paths"].values():
        for entry in methods.values():
            assert {"400", "401", "403", "503"} <= set(entry["responses"])
            assert "security" not in entry


def test_the_status_of_success_is_the_tables(made: dict[str, Any]) -> None:
    responses = made["paths"]["/admin/v1/things"]["post"]["responses"]

    assert "200" not in responses
    assert responses["201"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}


def test_query_parameters_are_optional_and_never_null(made: dict[str, Any]) -> None:
    parameters = {entry["name"]: entry for entry in made["paths"]["/admin/v1/things"]["get"]["parameters"]}

    assert {name: entry["in"] for name, entry in parameters.items()} == {
        "since": "query",
        "tenant": "query",
        "limit": "query",
    }
    assert not any(entry["required"] for entry in parameters.values())
    assert parameters["since"]["schema"] == {"type": "number", "minimum": 0, "default": 0.0}
    assert parameters["tenant"]["schema"] == {"type": "string"}
    assert parameters["limit"]["schema"] == {"type": "integer", "description": "At most."}


def test_the_variable_part_of_a_path_is_a_parameter(made: dict[str, Any]) -> None:
    entry = made["paths"]["/admin/v1/things/{id}"]["delete"]

    assert [(p["name"], p["in"], p["required"]) for p in entry["parameters"]] == [("id", "path", True)]
    assert "404" in entry["responses"]


def test_bodies_forbid_what_they_do_not_name(made: dict[str, Any]) -> None:
    entry = made["paths"]["/admin/v1/things"]["post"]["requestBody"]
    schema = made["components"]["schemas"]["Body"]

    assert entry == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}},
    }
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name"]


def test_every_reference_leads_somewhere(made: dict[str, Any]) -> None:
    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [ref for inner in value.values() for ref in references(inner)]
        if isinstance(value, list):
            return [ref for inner in value for ref in references(inner)]
        return []

    found = {ref.removeprefix("#/components/schemas/") for ref in references(made)}

    assert found
    assert found <= set(made["components"]["schemas"])
    # A query is spelled out as parameters; nothing refers to it.
    assert "Query" not in made["components"]["schemas"]

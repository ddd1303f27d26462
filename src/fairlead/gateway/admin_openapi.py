"""The OpenAPI 3.1 document of the control API, made from its table of operations."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from fairlead.gateway.admin_data import ErrorBody, NoQuery

_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_REF: Final = "#/components/schemas/{name}"
_SWITCHED: Final = ("/alerts", "/silences", "/signals", "/gpu-cost")
"""Parts that the configuration may leave out: then there is nothing here."""
_ERRORS: Final = {
    "400": "The request is not valid.",
    "401": "No valid API key was given.",
    "403": "The key has no `admin` scope, or may not be used from here.",
    "503": "The state store failed.",
}


class Operation:
    """One operation: how it is asked for and what it gives."""

    __slots__ = ("answer", "audits", "body", "method", "path", "query", "run", "status", "variable")

    def __init__(
        self,
        method: str,
        path: str,
        run: Callable[[Any], Awaitable[Any]],
        *,
        answer: type[msgspec.Struct],
        query: type[msgspec.Struct] = NoQuery,
        body: type[msgspec.Struct] | None = None,
        status: int = 200,
        audits: bool = False,
    ) -> None:
        """Describe an operation.

        Args:
            method: of HTTP.
            path: under `/admin/v1`; one name in braces, such as `{id}`, stands for a segment.
            run: what answers; its docstring is the summary.
            answer: the JSON it gives.
            query: its parameters.
            body: the JSON it takes.
            status: of its answer.
            audits: it tells the audit log itself.
        """
        self.method = method
        self.path = path
        self.run = run
        self.answer = answer
        self.query = query
        self.body = body
        self.status = status
        self.audits = audits
        found = _VARIABLE.search(path)
        self.variable = found[1] if found else None
        """The name of the path's variable part."""


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole document."""
    types = [operation.answer for operation in operations]
    types += [operation.body for operation in operations if operation.body is not None]
    queries = {operation.query for operation in operations}
    schemas, components = msgspec.json.schema_components([*types, ErrorBody, *queries], ref_template=_REF)
    by_type = dict(zip([*types, ErrorBody, *queries], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        entry = paths.setdefault("/admin/v1" + operation.path, {})
        entry[operation.method.lower()] = _operation(operation, by_type, components)
    for query in queries:
        components.pop(query.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fairlead control API",
            "version": version,
            "description": "Keys, tenants, limits, cache, targets, requests, usage and configuration.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(operation: Operation, schemas: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    name = operation.run.__name__
    responses: dict[str, Any] = {
        str(operation.status): {
            "description": "Done.",
            "content": {"application/json": {"schema": schemas[operation.answer]}},
        }
    }
    failures = dict(_ERRORS)
    named = operation.variable or operation.body is not None or "request" in name
    named = named or name in ("usage", "latency")
    if named or operation.path.startswith(_SWITCHED):
        failures["404"] = "There is nothing under this name."
    if operation.path.startswith("/keys"):
        failures["409"] = "The key has been revoked already."
    for status, description in failures.items():
        responses[status] = {
            "description": description,
            "content": {"application/json": {"schema": schemas[ErrorBody]}},
        }
    described: dict[str, Any] = {
        "operationId": name,
        "summary": (operation.run.__doc__ or "").strip(),
        "parameters": _parameters(operation, components),
        "responses": responses,
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[operation.body]}},
        }
    return described


def _parameters(operation: Operation, components: dict[str, Any]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    if operation.variable:
        schema = {"type": "string", "minLength": 1}
        parameters.append({"name": operation.variable, "in": "path", "required": True, "schema": schema})
    for name, schema in components[operation.query.__name__].get("properties", {}).items():
        parameters.append({"name": name, "in": "query", "required": False, "schema": _stated(schema)})
    return parameters


def _stated(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter's schema: what is left out is not sent, so `null` is no value of it."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if not options:
        return {key: value for key, value in schema.items() if key != "default" or value is not None}
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**(options[0] if len(options) == 1 else {"anyOf": options}), **rest}

"""The control API by paths, queries and bodies, on stand-ins for the parts it asks."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fairlead import config as cfg
from fairlead.cache.lookup import Cache
from fairlead.errors import Conflict, FairleadError, InvalidRequest, MethodNotAllowed, NotFound
from fairlead.gateway.admin import Admin, Facts
from fairlead.gateway.auth import Grant
from fairlead.limits.clock import ForwardClock
from fairlead.limits.limiter import Limiter
from fairlead.limits.memory import MemoryStore
from fairlead.limits.tree import Tree
from fairlead.net.head import HeadParser
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database
from fairlead.telemetry.ledger.db import Ledger

NO_TENANTS = cfg.Config()
TENANTS = cfg.Config(
    tenants={
        "search": cfg.Tenant(
            parent="acme",
            priority="batch",
            limits=cfg.NodeLimits(requests_per_minute=60),
            each_key=cfg.NodeLimits(concurrent_requests=2),
        ),
        "acme": cfg.Tenant(
            weight=3,
            limits=cfg.NodeLimits(
                requests_per_minute=cfg.Rate(limit=600, shadow=True),
                budgets=[cfg.Budget(usd=100, per="month", timezone="Europe/Berlin")],
            ),
        ),
    }
)


class Answered:
    """A call that keeps what it was answered."""

    def __init__(self, method: str, target: str, body: bytes) -> None:
        raw = f"{method} /admin/v1{target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        self.head = HeadParser().parse(raw, "127.0.0.1")
        self.body = body
        self.status = 0
        self.answer: Any = None

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        assert b"cache-control: no-store" in headers
        self.status = status
        self.answer = msgspec.json.decode(body)


class Open:
    """The part of a pipeline that the control API uses, where no key is required."""

    in_flight = 3
    routes = SimpleNamespace(routes=())

    def check_key(self, _: object) -> Grant | None:
        return None

    def now(self) -> float:
        return time.time()


async def _nothing() -> None:
    return None


def ask(
    *calls: tuple[str, str, object], config: cfg.Config = NO_TENANTS, cache: Cache | None = None
) -> list[Any]:
    """The answers, or the errors, of calls made one after the other. `{id}` is the last key made."""
    limiter = Limiter(MemoryStore(ForwardClock()), Tree(config.tenants), now=time.time, warn=lambda _: None)

    async def scenario() -> list[Any]:
        database: Database = await open_database(":memory:")
        admin = Admin(
            Facts(
                pipeline=Open,  # type: ignore[arg-type]  # a stand-in
                config=lambda: config,
                targets=tuple,
                limiter=lambda: limiter,
                shared_limiter=lambda: None,
                database=database,
                ledger=Ledger(database) if config.tenants else None,
                started_at=1.0,
                pending=lambda: 7,
                refresh_keys=_nothing,
                reload=_nothing,
                cache=lambda: cache,
                gpus=lambda: pytest.fail("nobody asked for them"),
            )
        )
        answers: list[Any] = []
        made = ""
        for method, target, body in calls:
            raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
            call = Answered(method, target.replace("{id}", made), raw)
            try:
                await admin.handle(call)  # type: ignore[arg-type]  # a stand-in
                answers.append(call.answer)
                made = call.answer.get("id", made)
            except FairleadError as error:
                answers.append(error)
        await database.close()
        return answers

    return asyncio.run(scenario())


def test_the_status_is_the_workers_own() -> None:
    (status,) = ask(("GET", "/status", None))

    assert (status["in_flight"], status["recorder_pending"], status["started_at"]) == (3, 7, 1.0)


def test_a_path_that_is_not_there_and_a_method_that_is_not_answered() -> None:
    nowhere, put, document = ask(
        ("GET", "/nothing", None), ("PUT", "/keys", None), ("POST", "/openapi.json", None)
    )

    assert isinstance(nowhere, NotFound)
    assert isinstance(put, MethodNotAllowed)
    assert put.allow == ("GET", "POST")
    assert isinstance(document, MethodNotAllowed)
    assert document.allow == ("GET", "HEAD")


@pytest.mark.parametrize(
    "query",
    [
        "since=x",
        "since=-1",
        "since=nan",
        "until=null",
        "by=colour",
        "by=model&by=key",
        "colour=red",
        "&".join(f"since={n}" for n in range(60)),
        "since=%ff",
    ],
)
def test_a_query_that_means_nothing_is_refused(query: str) -> None:
    (answer,) = ask(("GET", f"/usage?{query}", None))

    assert isinstance(answer, InvalidRequest)


def test_a_valid_query_gets_past_its_check() -> None:
    (answer,) = ask(("GET", "/usage?by=day&since=0&until=1e9", None))

    assert isinstance(answer, NotFound), "the ledger is turned off"
    assert answer.hint is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"null",
        {},
        {"name": ""},
        {"name": " "},
        {"name": "a\x00"},
        {"name": "a", "colour": "red"},
        {"name": "a", "tenant": "-"},
        {"name": "a", "models": []},
        {"name": "a", "models": ["two words"]},
        {"name": "a", "endpoints": ["chats"]},
        {"name": "a", "ip_ranges": ["10.0.0.1/8"]},
        {"name": "a", "expires_at": 1},
        {"name": "a", "expires_at": 1e300},
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_key_that_cannot_be_is_refused(body: object) -> None:
    answer, listed = ask(("POST", "/keys", body), ("GET", "/keys", None))

    assert isinstance(answer, InvalidRequest)
    assert listed == {"data": []}


def test_a_key_is_made_shown_without_its_secret_rotated_and_revoked() -> None:
    made, listed, rotated, again, revoked, twice, unknown = ask(
        ("POST", "/keys", {"name": "app", "endpoints": ["chat"]}),
        ("GET", "/keys", None),
        ("POST", "/keys/{id}/rotate", {"grace_s": 60}),
        ("GET", "/keys", None),
        ("DELETE", "/keys/{id}", None),
        ("DELETE", "/keys/{id}", None),
        ("DELETE", "/keys/00000000", None),
    )

    assert made["secret"].startswith(f"fl-{made['id']}")
    assert listed["data"] == [{**made, "secret": None}]
    assert (rotated["rotated_from"], rotated["endpoints"]) == (made["id"], ["chat"])
    assert {key["id"]: key["state"] for key in again["data"]} == {
        made["id"]: "retiring",
        rotated["id"]: "active",
    }
    assert revoked == {"done": True}
    assert twice == {"done": False}
    assert isinstance(unknown, NotFound)


def test_a_key_that_has_ended_is_not_rotated() -> None:
    _, _, answer = ask(
        ("POST", "/keys", {"name": "app"}), ("DELETE", "/keys/{id}", None), ("POST", "/keys/{id}/rotate", {})
    )

    assert isinstance(answer, Conflict)


def test_a_target_that_is_not_there_is_not_reset() -> None:
    (answer,) = ask(("POST", "/targets/reset", {"target": "nobody/nothing"}))

    assert isinstance(answer, NotFound)
    assert answer.param == "target"


# --- tenants and their limits -------------------------------------------------------------------


def test_tenants_are_listed_below_those_above_them() -> None:
    _, answer = ask(
        ("POST", "/keys", {"name": "app", "tenant": "search"}), ("GET", "/tenants", None), config=TENANTS
    )

    named = {tenant["name"]: tenant for tenant in answer["data"]}
    assert list(named) == ["acme", "search", "default"]
    assert named["search"] == {
        "name": "search",
        "parent": "acme",
        "path": ["acme", "search"],
        "weight": 1.0,
        "priority": "batch",
        "limits": 1,
        "keys": 1,
    }
    assert (named["acme"]["parent"], named["acme"]["limits"], named["acme"]["keys"]) == (None, 2, 0)


def test_the_limits_of_a_tenant_are_those_above_it_too_and_of_a_key_when_asked() -> None:
    _, of_tenant, of_key = ask(
        ("POST", "/keys", {"name": "app", "tenant": "search"}),
        ("GET", "/limits/search", None),
        ("GET", "/limits/search?key={id}", None),
        config=TENANTS,
    )

    assert (of_tenant["path"], of_tenant["key_id"], of_tenant["store"]) == (
        ["acme", "search"],
        None,
        "memory",
    )
    assert [(limit["id"], limit["node"], limit["shadow"]) for limit in of_tenant["data"]] == [
        ("acme/requests", "acme", True),
        ("acme/usd:month", "acme", False),
        ("search/requests", "search", False),
    ]
    budget = of_tenant["data"][1]
    assert (budget["amount"], budget["remaining"], budget["window"], budget["timezone"]) == (
        *(100_000_000, 100_000_000),
        *("month", "Europe/Berlin"),
    )
    assert [limit["id"] for limit in of_key["data"][:-1]] == [limit["id"] for limit in of_tenant["data"]]
    assert of_key["data"][-1]["id"] == f"key:{of_key['key_id']}/concurrent"
    assert of_key["data"][-1]["window"] == ""


def test_a_key_of_another_tenant_has_no_limits_here() -> None:
    _, answer = ask(
        ("POST", "/keys", {"name": "app", "tenant": "search"}),
        ("GET", "/limits/acme?key={id}", None),
        config=TENANTS,
    )

    assert isinstance(answer, NotFound)
    assert "belongs to the tenant `search`" in answer.message


def test_a_tenant_that_is_mistyped_is_told_its_name() -> None:
    shown, made, unlike = ask(
        ("GET", "/limits/serch", None),
        ("POST", "/keys", {"name": "app", "tenant": "serch"}),
        ("POST", "/keys", {"name": "app", "tenant": "zzz"}),
        config=TENANTS,
    )

    assert isinstance(shown, NotFound)
    assert isinstance(made, InvalidRequest)
    assert shown.hint == made.hint == "did you mean `search`?"
    assert made.param == "tenant"
    assert "under `tenants`" in unlike.hint


def test_without_tenants_a_key_may_be_anybodys() -> None:
    (made,) = ask(("POST", "/keys", {"name": "app", "tenant": "anybody"}))

    assert made["tenant"] == "anybody"


def test_usage_and_explanations_come_from_the_ledger() -> None:
    usage, unknown = ask(
        ("GET", "/usage?tenant=acme", None), ("GET", "/explain/req_unknown", None), config=TENANTS
    )

    assert usage == {"data": []}
    assert isinstance(unknown, NotFound)

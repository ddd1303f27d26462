"""The control API under `/admin/v1/`: keys, tenants, limits, targets, cache, requests, usage, configuration.

Every operation but the document itself needs a key with the `admin` scope.
One table lists the operations; the OpenAPI document is made from it.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

from fairlead import __version__
from fairlead import config as cfg
from fairlead.cache.lookup import Cache
from fairlead.config.parse import builtins
from fairlead.errors import InvalidRequest, MethodNotAllowed, NotFound
from fairlead.gateway import admin_alerts as alerting
from fairlead.gateway import admin_cache as caching
from fairlead.gateway import admin_data as data
from fairlead.gateway import admin_gpus as gpus
from fairlead.gateway import admin_latency as latencies
from fairlead.gateway import admin_limits as limits
from fairlead.gateway import admin_signals as signalling
from fairlead.gateway import auth, db
from fairlead.gateway.admin_openapi import Operation, document
from fairlead.gateway.explain import explain
from fairlead.gateway.keys import Scope, id_in
from fairlead.gateway.pipeline import Pipeline
from fairlead.gateway.router import Target
from fairlead.gateway.signals_opened import Signals
from fairlead.limits.limiter import Limiter
from fairlead.limits.shared import SharedLimiter
from fairlead.limits.tree import require_tenant
from fairlead.net.server import Call
from fairlead.storage.ports import Database
from fairlead.telemetry.alerts.engine import Engine
from fairlead.telemetry.anatomy import anatomy
from fairlead.telemetry.billing.report import report
from fairlead.telemetry.gpu.opened import Gpus
from fairlead.telemetry.ledger.db import Filter, Ledger

_audit: Final = logging.getLogger("fairlead.audit")
_PREFIX: Final = "/admin/v1"
_QUERY_FIELDS: Final = 50
_JSON: Final = b"content-type: application/json\r\ncache-control: no-store\r\n"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the control API may see and do, handed in by the application."""

    pipeline: Callable[[], Pipeline]
    config: Callable[[], cfg.Config]
    targets: Callable[[], Sequence[Target]]
    limiter: Callable[[], Limiter]
    shared_limiter: Callable[[], SharedLimiter | None]
    """The same limits where several processes share their state."""
    database: Database
    ledger: Ledger | None
    started_at: float
    pending: Callable[[], int]
    """Records not yet written."""
    refresh_keys: Callable[[], Awaitable[object]]
    reload: Callable[[], Awaitable[None]]
    cache: Callable[[], Cache | None]
    gpus: Callable[[], Gpus]
    alerts: Callable[[], Engine | None] = lambda: None
    signals: Callable[[], Signals | None] = lambda: None


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """One operation asked for, decoded."""

    query: Any
    body: Any
    id: str
    """The path's variable part."""
    caller: auth.Caller


class Admin:
    """Answers the control API."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._operations = _operations(self)
        self._document = msgspec.json.encode(document(self._operations, __version__))
        self._patterns = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(operation.path))), operation)
            for operation in self._operations
        ]

    async def handle(self, call: Call) -> None:
        """Answer one call.

        Raises:
            FairleadError: it was refused or failed; `gateway.routes` tells the client.
        """
        path = call.head.path.removeprefix(_PREFIX)
        if path == "/openapi.json":
            if call.head.method not in ("GET", "HEAD"):
                raise MethodNotAllowed(f"`{call.head.path}` answers GET", allow=("GET", "HEAD"))
            call.reply(200, _JSON, self._document)
            return
        pipeline = self._facts.pipeline()
        caller = auth.ANONYMOUS
        grant = pipeline.check_key(call.head)
        if grant is not None:
            caller = auth.authorise(grant, "admin", None, call.head.peer, pipeline.now())
        operation, variable = self._find(call.head.method, path)
        request = _Request(
            query=_query(operation, call.head.query),
            body=_body(operation, call.body),
            id=variable,
            caller=caller,
        )
        answer = await operation.run(request)
        if operation.method != "GET" and not operation.audits:
            # Who changed what. Bodies hold no secrets; answers may, and are not logged.
            _audit.info(
                "%s %s", operation.method, operation.path, extra={"key_id": caller.key_id, "id": variable}
            )
        call.reply(operation.status, _JSON, msgspec.json.encode(answer))

    def _find(self, method: str, path: str) -> tuple[Operation, str]:
        allowed = []
        for pattern, operation in self._patterns:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if operation.method == method:
                return operation, unquote(match[1]) if match.groups() else ""
            allowed.append(operation.method)
        if allowed:
            raise MethodNotAllowed(f"`{_PREFIX}{path}` answers {', '.join(allowed)}", allow=allowed)
        raise NotFound(
            f"there is no `{_PREFIX}{path[:200]}`", hint=f"`{_PREFIX}/openapi.json` lists what there is"
        )

    # --- operations -----------------------------------------------------------------------------

    async def status(self, _: _Request) -> data.Status:
        """How this worker does."""
        facts = self._facts
        pipeline = facts.pipeline()
        return data.Status(
            version=__version__,
            started_at=facts.started_at,
            in_flight=pipeline.in_flight,
            recorder_pending=facts.pending(),
            models=tuple(facts.config().models),
        )

    async def list_targets(self, _: _Request) -> data.TargetList:
        """Every target with its breaker and load, as this worker sees them."""
        models: dict[str, list[str]] = {}
        by_name: dict[str, Target] = {}
        for route in self._facts.pipeline().routes.routes:
            for target in route.targets:
                by_name.setdefault(target.name, target)
                models.setdefault(target.name, []).append(route.name)
        now = time.monotonic()
        views = (data.target_view(target, tuple(models[name]), now) for name, target in by_name.items())
        return data.TargetList(data=tuple(views))

    async def reset_target(self, request: _Request) -> data.Done:
        """Close a target's breaker by hand."""
        body: data.TargetBody = request.body
        for target in self._facts.targets():
            if target.name == body.target:
                target.breaker.reset()
                return data.Done()
        raise NotFound(f"no target `{body.target[:200]}`", param="target")

    async def list_keys(self, _: _Request) -> data.KeyList:
        """All keys, without their secrets."""
        keys = await db.list_keys(self._facts.database)
        now = time.time()
        return data.KeyList(data=tuple(data.key_view(key, now) for key in keys))

    async def create_key(self, request: _Request) -> data.KeyView:
        """Make a key. The answer holds its secret, this once."""
        body: data.KeyBody = request.body
        require_tenant(self._facts.limiter().tree, body.tenant)
        now = time.time()
        scope = Scope(
            name=body.name,
            tenant=body.tenant,
            models=body.models,
            endpoints=body.endpoints,
            ip_ranges=body.ip_ranges,
            expires_at=body.expires_at,
        )
        issued = await db.create(self._facts.database, scope, now=now)
        await self._facts.refresh_keys()
        return data.key_view(issued.key, now, issued.secret)

    async def revoke_key(self, request: _Request) -> data.Done:
        """End a key now, on every worker within a second."""
        changed = await db.revoke(self._facts.database, request.id, now=time.time())
        await self._facts.refresh_keys()
        return data.Done(done=changed)

    async def rotate_key(self, request: _Request) -> data.KeyView:
        """Replace a key by one with the same scope and a new secret."""
        body: data.RotateBody = request.body
        now = time.time()
        issued = await db.rotate(self._facts.database, request.id, now=now, grace_s=body.grace_s)
        await self._facts.refresh_keys()
        return data.key_view(issued.key, now, issued.secret)

    async def list_requests(self, request: _Request) -> data.RequestList:
        """Requests of the ledger, newest first."""
        query: data.RequestQuery = request.query
        where = Filter(
            since=query.since,
            until=query.until,
            tenant=query.tenant,
            key_id=query.key_id,
            model=query.model,
            target=query.target,
            endpoint=query.endpoint,
            outcome=query.outcome,
            status=query.status,
        )
        page = await self._ledger().page(where, after=query.after, limit=query.limit)
        return data.RequestList(
            data=tuple(
                msgspec.convert(entry, data.RequestEntry, from_attributes=True) for entry in page.entries
            ),
            next=page.next,
        )

    async def show_request(self, request: _Request) -> data.RequestDetail:
        """Everything the ledger holds of one request."""
        record = await self._ledger().get(request.id)
        used = await self._facts.gpus().ledger.used_by(record.id)
        return data.RequestDetail(data=record, anatomy=anatomy(record), gpu=used)

    async def explain(self, request: _Request) -> data.ExplanationView:
        """Why a request was admitted, queued, limited, routed and answered as it was."""
        return data.ExplanationView(data=explain(await self._ledger().get(request.id)))

    async def list_tenants(self, _: _Request) -> limits.TenantList:
        """Every tenant, each after the one above it."""
        now = time.time()
        keys = await db.list_keys(self._facts.database)
        count = Counter(key.tenant for key in keys if now < key.ends_at)
        return limits.TenantList(data=limits.tenant_views(self._facts.limiter().tree, count))

    async def show_limits(self, request: _Request) -> limits.LimitsView:
        """How the limits of a tenant, of those above it and perhaps of one of its keys stand."""
        facts, tenant = self._facts, request.id
        path = limits.known_tenant(facts.limiter().tree, tenant)
        key_id = None
        shared = facts.shared_limiter()
        states = facts.limiter().show(tenant) if shared is None else await shared.show(tenant)
        query: limits.LimitsQuery = request.query
        if query.key is not None:
            key = await db.find(facts.database, id_in(query.key) or query.key)
            if key.tenant != tenant:
                raise NotFound(f"the API key {key.id} belongs to the tenant `{key.tenant}`", param="key")
            key_id, whose = key.id, (tenant, key.id, key.name)
            states += facts.limiter().show_key(*whose) if shared is None else await shared.show_key(*whose)
        return limits.LimitsView(
            tenant=tenant,
            path=path,
            key_id=key_id,
            store="memory" if shared is None else "redis",
            data=limits.limit_views(states),
        )

    async def show_cache(self, _: _Request) -> caching.CacheView:
        """What the cache holds, what it has saved and what it could not keep, as this worker sees it."""
        facts = self._facts
        return await caching.cache_view(facts.cache(), facts.config().cache, facts.started_at)

    async def purge_cache(self, request: _Request) -> caching.PurgeView:
        """Throw kept answers away, on every worker and replica that shares them."""
        body: caching.PurgeBody = request.body
        return await caching.purge(self._facts.cache(), body, key_id=request.caller.key_id, now=time.time())

    async def latency(self, request: _Request) -> latencies.LatencyView:
        """Percentiles of latencies and tokens over any window."""
        query: latencies.LatencyQuery = request.query
        tenants = None if query.tenant is None else self._facts.limiter().tree.below(query.tenant)
        return await latencies.latency_view(self._ledger().database, query, tenants, time.time())

    async def usage(self, request: _Request) -> data.UsageList:
        """Requests, tokens and cost by group."""
        query: data.UsageQuery = request.query
        tenants = None if query.tenant is None else self._facts.limiter().tree.below(query.tenant)
        sums = await report(
            self._ledger(),
            query.by,
            since=query.since,
            until=query.until,
            tenants=tenants,
            most=query.limit,
            revision=None if query.by == "request" else query.revision,
        )
        return data.UsageList(
            data=tuple(msgspec.convert(entry, data.UsageEntry, from_attributes=True) for entry in sums)
        )

    async def list_gpus(self, _: _Request) -> gpus.GpuList:
        """Every GPU that DCGM, Triton or this host's driver shows, as this worker has read it last."""
        return gpus.gpu_list(self._facts.gpus(), self._facts.config(), time.monotonic())

    async def list_engines(self, _: _Request) -> gpus.EngineList:
        """What the targets' engines say of themselves, as this worker has read it last."""
        names = tuple(dict.fromkeys(target.name for target in self._facts.targets()))
        return gpus.engine_list(self._facts.gpus(), names, time.monotonic())

    async def gpu_cost(self, request: _Request) -> gpus.GpuCost:
        """What GPUs cost: reserved, used and idle, who used them, and the break-even with an API."""
        facts = self._facts
        return await gpus.gpu_cost(facts.gpus(), facts.config(), request.query, time.time())

    async def show_signals(self, _: _Request) -> signalling.SignalsView:
        """What sampled answers are like, and whether prompts or answers have changed."""
        return await signalling.signals_view(self._facts.signals())

    async def list_windows(self, request: _Request) -> signalling.WindowList:
        """Windows of requests that were compared with earlier ones, and what was behind a difference."""
        return await signalling.windows(self._facts.signals(), request.query)

    async def list_alerts(self, request: _Request) -> alerting.AlertList:
        """Alerts that are not inactive, and notifications that nobody took."""
        return await alerting.alert_list(self._alerts(), request.query, time.time())

    async def try_alerts(self, _: _Request) -> alerting.TrialView:
        """Send a test notification through every receiver, and tell what each rule says."""
        return await alerting.try_alerts(self._alerts())

    async def list_silences(self, _: _Request) -> alerting.SilenceList:
        """Silences, those that have ended lately included."""
        return await alerting.silence_list(self._alerts(), time.time())

    async def create_silence(self, request: _Request) -> alerting.SilenceView:
        """Silence alerts from now on, for a time."""
        return await alerting.make_silence(self._alerts(), request.body, time.time())

    async def end_silence(self, request: _Request) -> data.Done:
        """End a silence."""
        await self._alerts().store.unsilence(request.id)
        return data.Done()

    def _alerts(self) -> Engine:
        return alerting.required(self._facts.alerts())

    async def show_config(self, _: _Request) -> data.ConfigView:
        """The configuration in force; secrets are shown as references."""
        return data.ConfigView(data=builtins(self._facts.config(), defaults=True))

    async def reload(self, _: _Request) -> data.Done:
        """Read the configuration again on every worker; the log tells how it went."""
        await self._facts.reload()
        return data.Done()

    def _ledger(self) -> Ledger:
        if self._facts.ledger is None:
            raise NotFound("the ledger is turned off", hint="set `ledger.enabled: true`")
        return self._facts.ledger


def _operations(admin: Admin) -> tuple[Operation, ...]:
    """Every operation, by hand."""
    return (
        Operation("GET", "/status", admin.status, answer=data.Status),
        Operation("GET", "/targets", admin.list_targets, answer=data.TargetList),
        Operation("POST", "/targets/reset", admin.reset_target, body=data.TargetBody, answer=data.Done),
        Operation("GET", "/keys", admin.list_keys, answer=data.KeyList),
        Operation("POST", "/keys", admin.create_key, body=data.KeyBody, answer=data.KeyView, status=201),
        Operation("DELETE", "/keys/{id}", admin.revoke_key, answer=data.Done),
        Operation(
            "POST",
            "/keys/{id}/rotate",
            admin.rotate_key,
            body=data.RotateBody,
            answer=data.KeyView,
            status=201,
        ),
        Operation("GET", "/tenants", admin.list_tenants, answer=limits.TenantList),
        Operation(
            "GET",
            "/limits/{tenant}",
            admin.show_limits,
            query=limits.LimitsQuery,
            answer=limits.LimitsView,
        ),
        Operation("GET", "/cache", admin.show_cache, answer=caching.CacheView),
        Operation(
            "POST",
            "/cache/purge",
            admin.purge_cache,
            body=caching.PurgeBody,
            answer=caching.PurgeView,
            audits=True,
        ),
        Operation("GET", "/requests", admin.list_requests, query=data.RequestQuery, answer=data.RequestList),
        Operation("GET", "/requests/{id}", admin.show_request, answer=data.RequestDetail),
        Operation("GET", "/explain/{request_id}", admin.explain, answer=data.ExplanationView),
        Operation(
            "GET",
            "/latency",
            admin.latency,
            query=latencies.LatencyQuery,
            answer=latencies.LatencyView,
        ),
        Operation("GET", "/usage", admin.usage, query=data.UsageQuery, answer=data.UsageList),
        Operation("GET", "/gpus", admin.list_gpus, answer=gpus.GpuList),
        Operation("GET", "/engines", admin.list_engines, answer=gpus.EngineList),
        Operation("GET", "/gpu-cost", admin.gpu_cost, query=gpus.CostQuery, answer=gpus.GpuCost),
        Operation("GET", "/signals", admin.show_signals, answer=signalling.SignalsView),
        Operation(
            "GET",
            "/signals/windows",
            admin.list_windows,
            query=signalling.WindowsQuery,
            answer=signalling.WindowList,
        ),
        Operation("GET", "/alerts", admin.list_alerts, query=alerting.AlertsQuery, answer=alerting.AlertList),
        Operation("POST", "/alerts/test", admin.try_alerts, answer=alerting.TrialView),
        Operation("GET", "/silences", admin.list_silences, answer=alerting.SilenceList),
        Operation(
            "POST",
            "/silences",
            admin.create_silence,
            body=alerting.SilenceBody,
            answer=alerting.SilenceView,
            status=201,
        ),
        Operation("DELETE", "/silences/{id}", admin.end_silence, answer=data.Done),
        Operation("GET", "/config", admin.show_config, answer=data.ConfigView),
        Operation("POST", "/reload", admin.reload, answer=data.Done),
    )


def _query(operation: Operation, query: str) -> Any:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_QUERY_FIELDS)
    except ValueError as error:
        raise InvalidRequest(f"more than {_QUERY_FIELDS} query parameters") from error
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidRequest("a query parameter is given twice")
    try:
        found = msgspec.convert(values, operation.query, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"query: {error}") from error
    for name in values:
        # msgspec reads the word `null` as None; a parameter that is not meant is left out.
        if getattr(found, name) is None:
            raise InvalidRequest(f"query: `{name}` has no value `null`", param=name)
    return found


def _body(operation: Operation, body: bytes) -> Any:
    if operation.body is None:
        return None
    try:
        return msgspec.json.decode(body, type=operation.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"body: {error}") from error

"""The whole path of a request on transports in memory: no socket, no second process, no time.

A `Stage` is a gateway built from a configuration as `app` builds one, between
clients (`tests.unit.net.harness`) and a `Network` of upstreams that answer by
plan. `staged` turns a coroutine that takes a stage into a test, and looks for
leaks when it has ended: places, connections and calls that nobody gave back,
and requests without exactly one record.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import httptools
import msgspec
from tests.unit.net import harness

from fairlead import config as cfg
from fairlead.cache.lookup import Cache
from fairlead.cache.memory import MemoryTier
from fairlead.cache.semantic.store import Store
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.cache.stats import Stats
from fairlead.cache.trouble import Trouble
from fairlead.config.parse import parse
from fairlead.errors import UpstreamUnreachable
from fairlead.gateway.admission import Admission
from fairlead.gateway.auth import KeySnapshot
from fairlead.gateway.caching import Caching
from fairlead.gateway.capacity import queue_of
from fairlead.gateway.dispatch import Dispatch
from fairlead.gateway.health import Breaker
from fairlead.gateway.internal import Internal
from fairlead.gateway.keys import Issued, Scope, issue
from fairlead.gateway.passthrough import Passthrough
from fairlead.gateway.pipeline import Pipeline
from fairlead.gateway.queue import TargetQueue
from fairlead.gateway.retry import RetryBudget
from fairlead.gateway.router import Load, Route, RouteTable, Target, target_name
from fairlead.gateway.routes import Routes, Side
from fairlead.gateway.sampling import Sampling
from fairlead.gateway.semantic import Semantic
from fairlead.gateway.upstream import Upstream
from fairlead.limits.clock import ForwardClock
from fairlead.limits.limiter import Limiter
from fairlead.limits.memory import MemoryStore
from fairlead.limits.tree import Tree
from fairlead.net.client import Client, Origin
from fairlead.net.client_tls import TlsContexts
from fairlead.net.http1 import LAST_CHUNK
from fairlead.net.resolve import Resolver
from fairlead.net.server import Call, Server
from fairlead.providers.openai_chat import OpenAIChatClient
from fairlead.signals.questions import Sampled
from fairlead.telemetry.billing.pricebook import pricing_of
from fairlead.telemetry.recorder import Recorder
from fairlead.testing import answer, sse_answer, sse_event, sse_head
from fairlead.types import Failure, FailureKind, RequestRecord

ONE: Final = """\
auth: {required: false}
providers: {a: {type: openai-compatible, base_url: "http://a.test/v1"}}
models: {m: {targets: [{provider: a}]}}
"""
TWO: Final = """\
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  b: {type: openai-compatible, base_url: "http://b.test/v1"}
models: {m: {targets: [{provider: a}, {provider: b, priority: 1}]}}
outages: {retry: {backoff_s: 0.001, max_backoff_s: 0.001}}
"""
CHAT: Final = "/v1/chat/completions"


class Drop:
    """In a plan: the upstream closes the connection."""


CUT: Final = Failure(kind=FailureKind.CUT, message="cut")
"""A failure that is its target's fault."""
DROP: Final = Drop()
Plan = Sequence[bytes | Drop]
HANG: Final[Plan] = ()


class Request:
    """One request as an upstream received it."""

    def __init__(self) -> None:
        self.host = ""
        self.method = ""
        self.target = ""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer(asyncio.Transport):
    """The upstream's end of one connection."""

    def __init__(self, network: Network, host: str, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.host = host
        self.closed = False
        """By the gateway or by us."""
        self.received = b""
        self._network = network
        self._protocol = protocol
        self._incoming = Request()
        self._parser = httptools.HttpRequestParser(self)
        protocol.connection_made(self)

    # --- the upstream's side

    def send(self, *pieces: bytes | Drop) -> None:
        """Send, each piece as one packet, as far as the gateway still listens."""
        for piece in pieces:
            if self.closed:
                return
            if isinstance(piece, Drop):
                self.drop()
            else:
                self._protocol.data_received(piece)

    def drop(self) -> None:
        """Close properly."""
        if not self.closed:
            self._protocol.eof_received()
            self.close()

    # --- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "a protocol wrote to a closed transport"
        self.received += data
        self._parser.feed_data(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        """Nothing is sent unasked."""

    def resume_reading(self) -> None:
        """Nothing was held back."""

    # --- httptools

    def on_url(self, target: bytes) -> None:
        self._incoming.target += target.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name not in self._incoming.headers, f"{name!r} was sent twice"
        self._incoming.headers[name] = value

    def on_body(self, piece: bytes) -> None:
        self._incoming.body += piece

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, Request()
        request.host, request.method = self.host, self._parser.get_method().decode()
        self._network.requests.append(request)
        plan = self._network.next_plan(request)
        soon = asyncio.get_running_loop().call_soon
        for piece in plan:
            soon(self.send, piece)


class Network:
    """Upstreams by host name. Each answers its next request by its next plan, and hangs without one."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self.refusing: set[str] = set()
        """Hosts that accept no connection."""
        self.gates: dict[str, asyncio.Event] = {}
        """Hosts whose connections come about only once the event is set."""
        self.scripts: dict[str, Callable[[Request], bytes]] = {}
        """Hosts whose answer depends on the request."""
        self._plans: dict[str, deque[Plan]] = {}

    def plan(self, host: str, *plans: Plan | bytes) -> None:
        """What `host` does next; bytes stand for an answer in one packet."""
        queue = self._plans.setdefault(host, deque())
        queue.extend((plan,) if isinstance(plan, bytes) else plan for plan in plans)

    def next_plan(self, request: Request) -> Plan:
        if request.host in self.scripts:
            return (self.scripts[request.host](request),)
        queue = self._plans.get(request.host)
        return queue.popleft() if queue else HANG

    def asked(self) -> list[str]:
        """Hosts in the order in which they were asked."""
        return [request.host for request in self.requests]

    async def dial(
        self, origin: Origin, protocol: asyncio.Protocol, _resolver: Resolver, _contexts: TlsContexts
    ) -> None:
        if origin.host in self.gates:
            await self.gates[origin.host].wait()
        if origin.host in self.refusing:
            raise UpstreamUnreachable(f"{origin.label}: connection refused")
        self.peers.append(Peer(self, origin.host, protocol))


class Person(harness.Client):
    """A client of the gateway."""

    def post(
        self, body: object, path: str = CHAT, *, headers: Mapping[str, str] | None = None, key: str = ""
    ) -> None:
        """Send a POST; bytes go as they are, everything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"host": "gateway", "content-length": str(len(raw)), **(headers or {})}
        if key:
            fields["authorization"] = f"Bearer {key}"
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode() + raw)

    def get(self, path: str, method: str = "GET", **headers: str) -> None:
        """Send a request without a body; `_` in a header's name stands for `-`."""
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.send(f"{method} {path} HTTP/1.1\r\nhost: gateway\r\n{fields}\r\n".encode())

    @property
    def last(self) -> harness.Answer:
        return self.answers[-1]

    @property
    def error(self) -> Any:
        """The error object of the last answer."""
        return json.loads(self.last.body)["error"]

    @property
    def events(self) -> list[Any]:
        """The data of the last answer's events, `[DONE]` included."""
        lines = self.last.body.decode().split("\n")
        texts = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]


class _Kept:
    """A sink that keeps the records."""

    backlog = 0

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def take(self, records: Iterator[RequestRecord]) -> None:
        self.records.extend(records)

    async def commit(self) -> None:
        """All is kept already."""


class Stage:
    """A gateway, its clients and its upstreams. Belongs to a running loop."""

    def __init__(self, config: str = ONE, *, max_pending: int = 1000) -> None:
        self.clock = harness.ManualClock()
        self.network = Network()
        self.client = Client(dial=self.network.dial)
        self.snapshot = KeySnapshot((), 0)
        self.page_of: dict[str, tuple[bytes, bytes]] = {}
        self.not_ready: str | None = None
        self.admin_calls = 0
        self._kept = _Kept()
        self.recorder = Recorder([self._kept], max_pending=max_pending)
        self.people: list[Person] = []
        self._issued = 0
        self.config = parse(config, "test")
        self.budget = RetryBudget(self.config.outages.retry)
        self._breakers: dict[str, Breaker] = {}
        self._loads: dict[str, Load] = {}
        self._queues: dict[str, TargetQueue | None] = {}
        self.limiter = Limiter(
            MemoryStore(ForwardClock()), Tree(self.config.tenants), now=time.time, warn=lambda crossing: None
        )
        keeps = any(model.cache is not None for model in self.config.models.values())
        self.cache = memory_cache() if keeps else None
        self.tier: SemanticTier | None = None
        self.audit_roll = 0.99
        """Decides whether a hit of the semantic cache is audited: below the configured share it is."""
        if any(model.cache is not None and model.cache.semantic for model in self.config.models.values()):
            assert self.cache is not None
            self.tier = SemanticTier(Store(8_000_000), self.cache.trouble)
            self.cache.beside = self.tier
        self.sampled: list[Sampled] = []
        """What semantic metrics would look at."""
        self.sample_roll = 0.0
        """Decides whether they look at a request: below the configured share they do."""
        self.pipeline, self.passthrough, self.table = self._build(self.config)
        side = Side(
            admin=self._admin, metrics=self._metrics, ready=lambda: self.not_ready, page=self.page_of.get
        )
        self.routes = Routes(self.pipeline, self.passthrough, self.config.server, side)
        self.server = Server(self.routes, self.config.server, clock=self.clock)

    # --- building, as `app` does it

    def _sampling(self, config: cfg.Config) -> Sampling | None:
        if config.signals is None:
            return None
        return Sampling(config.signals, roll=lambda: self.sample_roll, offer=self.sampled.append)

    def _build(self, config: cfg.Config) -> tuple[Pipeline, Passthrough, RouteTable]:
        self.upstreams = {
            name: Upstream(name, entry, resolve=lambda secret: "secret", proxy_for=lambda *_: None)
            for name, entry in config.providers.items()
        }
        before, self._queues = self._queues, {}
        prices = pricing_of(config)
        routes = []
        for name, model in config.models.items():
            targets = []
            for entry, pricing in zip(model.targets, prices[name], strict=True):
                key = target_name(entry)
                breaker = self._breakers.setdefault(key, Breaker(config.outages.breaker))
                load = self._loads.setdefault(key, Load())
                upstream = self.upstreams[entry.provider]
                if key not in self._queues:
                    self._queues[key] = queue_of(key, entry, upstream, before.get(key))
                targets.append(Target(entry, breaker, load, upstream, self._queues[key], pricing))
            routes.append(Route(name, model, targets))
        table = RouteTable(routes)
        dispatch = Dispatch(
            routes=table,
            client=self.client,
            budget=self.budget,
            retry=config.outages.retry,
            roll=lambda: 0.0,
        )
        pipeline = Pipeline(
            config=config,
            routes=table,
            dispatch=dispatch,
            keys=lambda: self.snapshot,
            caching=self._caching(config, table, dispatch),
            admission=Admission(self.limiter, None),
            recorder=self.recorder,
            roll=lambda: 0.0,
            now=time.time,
            openai=OpenAIChatClient(),
            sampling=self._sampling(config),
        )
        passthrough = Passthrough(
            pipeline,
            list(self.upstreams.values()),
            self.client,
            max_prefix_bytes=config.server.max_body_bytes,
        )
        return pipeline, passthrough, table

    def _caching(self, config: cfg.Config, table: RouteTable, dispatch: Dispatch) -> Caching | None:
        if self.cache is None:
            return None
        if self.tier is None:
            return Caching(self.cache, config)
        internal = Internal(table, dispatch, self.recorder.emit)
        semantic = Semantic(
            config, self.tier, self.cache, internal,
            minilm=None, roll=lambda: self.audit_roll, pauses_s=(0.001,),
        )  # fmt: skip
        return Caching(self.cache, config, semantic)

    def reload(self, config: str) -> None:
        """Take a new configuration, as a reload does."""
        self.config = parse(config, "test")
        self.budget.configure(self.config.outages.retry)
        self.limiter.configure(Tree(self.config.tenants), self.config.limits.assumed_output_tokens)
        self.pipeline, self.passthrough, self.table = self._build(self.config)
        self.routes.pipeline, self.routes.passthrough = self.pipeline, self.passthrough

    async def _admin(self, call: Call) -> None:
        self.admin_calls += 1
        call.reply(200, b"", b"admin")

    async def _metrics(self, accept: bytes) -> tuple[bytes, bytes]:
        return b"text/plain", b"metrics for " + accept

    # --- what a test does

    def connect(self, peer: str = "192.0.2.7") -> Person:
        """A new client."""
        person = Person(cast(harness.Stage, self), peer)
        self.people.append(person)
        return person

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(40):
            self.clock.run()
            await asyncio.sleep(0)

    async def ask(self, body: object, path: str = CHAT, **options: Any) -> Person:
        """A client of its own sends a request, and all that follows without time happens."""
        person = self.connect()
        person.post(body, path, **options)
        await self.settle()
        return person

    async def wait(self, seconds: float) -> None:
        """Let time pass for the server: heartbeats and the clients' deadlines."""
        for _ in range(round(seconds * 10)):
            self.clock.now += 0.1
            self.server.tick()
            await self.settle()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what a timer of a millisecond or so brings about."""
        while not condition():
            await asyncio.sleep(0.001)
            await self.settle()

    async def overdue(self) -> None:
        """Let every deadline of a call to an upstream have passed."""
        self.client.sweep(time.monotonic() + 10_000)
        await self.settle()

    async def records(self) -> list[RequestRecord]:
        """The records so far."""
        await self.recorder.flush()
        return self._kept.records

    async def record(self) -> RequestRecord:
        """The only record."""
        (record,) = await self.records()
        return record

    def key(self, **scope: Any) -> Issued:
        """Issue a key; it is valid at once."""
        self._issued += 1
        scope.setdefault("name", f"key {self._issued}")
        issued = issue(Scope(**scope), now=time.time(), entropy=bytes([self._issued]) * 40)
        self.change(issued)
        return issued

    def change(self, issued: Issued, **fields: Any) -> None:
        """Change a key, as `fairlead keys` does."""
        key = msgspec.structs.replace(issued.key, **fields)
        self.snapshot = self.snapshot.changed([key], self.snapshot.revision + 1)

    def target(self, name: str) -> Target:
        """A target by its name."""
        return next(t for route in self.table.routes for t in route.targets if t.name == name)

    async def leave(self) -> None:
        """Every client leaves."""
        for person in self.people:
            person.leave()
        await self.settle()
        await self.records()

    def check(self) -> None:
        """Look for what was not given back when every client had left."""
        held = {name: load.in_flight for name, load in self._loads.items() if load.in_flight}
        assert not held, f"places that were not given back: {held}"
        taken = {name: queue.window.in_flight for name, queue in self._queues.items() if queue is not None}
        assert not any(taken.values()), f"places in queues that were not given back: {taken}"
        assert not self.pipeline.in_flight, "requests that were not counted out"
        assert not self.server.active, "calls that have not ended"
        caching = self.pipeline.caching
        assert caching is None or not len(caching.flights), "shared answers that have not ended"
        for upstream in self.upstreams.values():
            counts = self.client.counts(upstream.origin)
            assert counts.active == counts.opening == 0, f"connections to {upstream.name}: {counts}"
        ids = [record.id for record in self._kept.records]
        assert len(ids) == len(set(ids)), "a request with two records"


def memory_cache(*, max_entry_bytes: int = 100_000) -> Cache:
    """A cache with nothing behind its memory."""
    return Cache(
        MemoryTier(1_000_000),
        None,
        stats=Stats(),
        trouble=Trouble(),
        max_entry_bytes=max_entry_bytes,
        timeout_s=0.1,
    )


def staged(config: str = ONE, **options: Any) -> Callable[[Callable[..., Awaitable[None]]], Any]:
    """Make a test of a coroutine whose first parameter is a `Stage`."""

    def decorate(scenario: Callable[..., Awaitable[None]]) -> Any:
        def test(*args: Any, **kwargs: Any) -> None:
            async def main() -> None:
                stage = Stage(config, **options)
                try:
                    await asyncio.wait_for(scenario(stage, *args, **kwargs), 10)
                finally:
                    await stage.leave()
                stage.check()
                await stage.client.close()

            asyncio.run(main())

        functools.update_wrapper(test, scenario)
        signature = inspect.signature(scenario)
        test.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]  # read by pytest
        del test.__wrapped__
        return test

    return decorate


# --- what chat models say -----------------------------------------------------------------------


def hello(**more: Any) -> dict[str, Any]:
    """A request for a chat completion."""
    return {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **more}


def asking(path: str, **more: Any) -> dict[str, Any]:
    """A request for a text, in the words of the API at `path`."""
    if path == "/v1/completions":
        return {"model": "m", "prompt": "Hello", **more}
    if path == "/v1/responses":
        return {"model": "m", "input": "Hello", **more}
    return hello(max_tokens=9, **more) if path == "/v1/messages" else hello(**more)


TEXT_APIS: Final = (CHAT, "/v1/completions", "/v1/messages", "/v1/responses")


def completion(text: str = "Hi", **more: Any) -> bytes:
    """A whole answer."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "upstream",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        **more,
    }
    return answer(json.dumps(body).encode())


def delta(text: str = "", *, finish: str | None = None) -> bytes:
    """The data of one event of a stream."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream"}
    return json.dumps({**body, "choices": [choice]}).encode()


def usage(prompt: int = 5, completed: int = 2) -> bytes:
    """The data of the event that tells the usage."""
    numbers = {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream"}
    return json.dumps({**body, "choices": [], "usage": numbers}).encode()


def stream(*texts: str) -> bytes:
    """A whole stream in one packet."""
    return sse_answer(*map(delta, texts), delta(finish="stop"), usage(5, len(texts)), b"[DONE]")


def begun(*texts: str) -> bytes:
    """The beginning of a stream."""
    return sse_head() + b"".join(sse_event(delta(text)) for text in texts)


def ended(completed: int = 2) -> bytes:
    """The end of a stream."""
    events = (delta(finish="stop"), usage(5, completed), b"[DONE]")
    return b"".join(map(sse_event, events)) + LAST_CHUNK


def refusal(status: int, *, headers: Sequence[str] = (), **error: Any) -> bytes:
    """An error answer."""
    body = {"error": {"message": "no", "type": "x", "param": None, "code": None, **error}}
    return answer(json.dumps(body).encode(), status=status, headers=headers)

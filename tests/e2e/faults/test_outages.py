"""Outages that take more than one request to see."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from tests.e2e.faults import stories
from tests.e2e.faults.gateway import FAST, running
from tests.e2e.faults.page import Page
from tests.e2e.faults.play import attempts_of, deaf_port, words
from tests.e2e.faults.scenarios import sends
from tests.e2e.faults.shapes import CHAT, CHAT_STREAM, EVERY, MESSAGES_STREAM, SPARE, STREAMS, Shape
from tests.e2e.faults.stories import config, name_of, per_shape, provider, target
from tests.e2e.faults.wire import Wire, ask, until

from fairlead.simulate.engine import Latency
from fairlead.simulate.faults import parse
from fairlead.simulate.server import EngineConfig, start_engine
from fairlead.testing import Close, ReadRequest, Repeat, Script, ScriptedUpstream, Send, Stall, Wait, answer

AT_ONCE_S: Final = 1.0
"""A generous bound for what takes milliseconds."""


def broken(shape: Shape) -> Script:
    return sends(shape.refusal(500, "api_error"), Close())


def outages(breaker: dict[str, Any] | None = None, **retry: Any) -> dict[str, Any]:
    """The `outages` section, with changes to what tests use."""
    changed = {"breaker": {**FAST["breaker"], **(breaker or {})}, "retry": {**FAST["retry"], **retry}}
    return {"outages": changed}


def test_flapping(page: Page) -> None:
    shapes = (CHAT, CHAT_STREAM)

    async def main() -> None:
        engines = [
            await start_engine(EngineConfig(models=("*",), latency=Latency(instant=True))) for _ in "ab"
        ]
        loop = asyncio.get_running_loop()
        engines[0].faults.install(parse("flap;as=refuse;on=0.4;off=0.4"), loop.time())
        try:
            providers = {
                name: provider(CHAT, engine.port) for name, engine in zip("pq", engines, strict=True)
            }
            # By weight: the least loaded might be the other one every time that this one is down.
            targets = [target("p"), target("q")]
            settings = config(providers, targets, strategy="weighted", top=outages({"open_s": 0.2}))
            with running(settings) as gateway:
                seen = set()
                for turn in range(150):
                    wire = await ask(gateway.port, shapes[turn % 2], "m")
                    seen.add((wire.status, wire.complete, wire.reading().error))
                    await asyncio.sleep(0.02)
                assert seen == {(200, True, "")}
                # It was left alone while it was down, and came back.
                state = await gateway.target("p")
                assert state["times_opened"] >= 1
                assert engines[0].engine.counters.prompt_tokens > 0
                assert (await gateway.target("q"))["times_opened"] == 0
        finally:
            for engine in engines:
                await engine.stop()

    asyncio.run(main())
    page.show(stories.FLAPPING.row(shapes, "150 times 200, whole answer", breaker="opens and closes"))


def test_all_targets_down(page: Page) -> None:
    async def main() -> float:
        slowest = 0.0
        with deaf_port() as first, deaf_port() as second:
            names = {shape: (f"{name_of(shape)}-1", f"{name_of(shape)}-2") for shape in EVERY}
            settings = {
                "providers": {
                    name: provider(shape, port)
                    for shape in EVERY
                    for name, port in zip(names[shape], (first, second), strict=True)
                },
                "models": {
                    name_of(shape): {"targets": [target(name) for name in names[shape]]} for shape in EVERY
                },
            }
            with running(settings) as gateway:
                for shape in EVERY:
                    for _ in range(4):
                        await ask(gateway.port, shape, name_of(shape))
                    for name in names[shape]:
                        assert (await gateway.target(name))["state"] == "open"
                    wire = await ask(gateway.port, shape, name_of(shape))
                    assert words(wire).startswith("503 `overloaded`, retry after ")
                    assert 1 <= int(wire.headers["retry-after"]) <= 30
                    assert wire.ended_s < AT_ONCE_S
                    record = await gateway.record(wire.headers["x-request-id"])
                    assert (record["outcome"], attempts_of(record)) == ("failed", ())
                    slowest = max(slowest, wire.ended_s)
        return slowest

    waited_s = asyncio.run(main())
    saw = "503 `overloaded`, retry after the time until the next probe"
    page.show(stories.ALL_DOWN.row(EVERY, saw, waited_s=waited_s, attempts="none", breaker="open"))


def test_a_breakers_cycle(page: Page) -> None:
    """Closed, open, probed, half open with one trial at a time, closed."""

    async def main() -> None:
        for shape in (CHAT, CHAT_STREAM):
            probe = sends(answer(b"{}"))
            trial = sends(Wait(0.6), shape.whole(), *sends(shape.whole()))
            async with ScriptedUpstream(
                broken(shape), broken(shape), broken(shape), probe, trial
            ) as upstream:
                # Ollama has a cheap GET to probe with, and no metrics; of others the connection is probed.
                engine = {**provider(shape, upstream), "type": "ollama"}
                with running(config({"p": engine}, [target("p")], top=outages({"open_s": 0.4}))) as gateway:
                    assert words(await ask(gateway.port, shape, "m")) == "502 `upstream_error`, do not retry"
                    assert (await gateway.target("p"))["state"] == "open"
                    refused = await ask(gateway.port, shape, "m")
                    assert words(refused) == "503 `overloaded`, retry after 1 s"
                    assert refused.ended_s < AT_ONCE_S

                    await gateway.state("p", "half_open")
                    assert upstream.requests[-1].method == "GET"
                    async with await Wire.open(gateway.port) as wire:
                        wire.ask(shape, "m")
                        await until(lambda: len(upstream.requests) == 5)  # awaited here
                        # One trial at a time: everybody else is told at once, and nobody waits for it.
                        meanwhile = await ask(gateway.port, shape, "m")
                        assert words(meanwhile) == "503 `overloaded`, retry after 1 s"
                        assert meanwhile.ended_s < AT_ONCE_S
                        assert words(await wire.end()) == "200, whole answer"
                    assert (await gateway.target("p"))["state"] == "closed"
                    assert words(await ask(gateway.port, shape, "m")) == "200, whole answer"

    asyncio.run(main())
    saw = (
        "502 `upstream_error`; while it is open, and for all but the trial while it is half open, "
        "503 `overloaded`, retry after 1 s; then 200, whole answer"
    )
    page.show(stories.CYCLE.row((CHAT, CHAT_STREAM), saw, breaker="closed, open, half open, closed"))


def test_a_trial_that_fails(page: Page) -> None:
    """A target that looks well and is not costs one request two seconds, and nobody an error."""

    async def main() -> float:
        shape = CHAT_STREAM
        probe = sends(answer(b"{}"))
        async with (
            ScriptedUpstream(broken(shape), broken(shape), broken(shape), probe, sends(Stall())) as upstream,
            ScriptedUpstream((Repeat(sends(shape.whole(SPARE))),)) as spare,
        ):
            providers = {"p": {**provider(shape, upstream), "type": "ollama"}, "q": provider(shape, spare)}
            settings = config(
                providers,
                [target("p"), target("q", priority=1)],
                top=outages({"open_s": 0.4, "max_open_s": 60}),
            )
            with running(settings) as gateway:
                for _ in range(3):
                    assert words(await ask(gateway.port, shape, "m")) == "200, whole answer of the spare"
                await gateway.state("p", "half_open")
                wire = await ask(gateway.port, shape, "m")
                assert words(wire) == "200, whole answer of the spare"
                record = await gateway.record(wire.headers["x-request-id"])
                assert attempts_of(record) == ("timeout", "ok")
                assert (await gateway.target("p"))["state"] == "open"
                return wire.ended_s

    waited_s = asyncio.run(main())
    assert 1.5 < waited_s < 6
    saw = "200, whole answer of the spare"
    row = stories.TRIAL_FAILS.row(
        (CHAT_STREAM,), saw, waited_s=waited_s, attempts="timeout, ok", breaker="half open, open"
    )
    page.show(row)


def test_the_retry_budget(page: Page) -> None:
    """An outage is not multiplied by its victims: once the budget is spent, each asks once."""

    async def main() -> list[int]:
        shape = CHAT
        async with ScriptedUpstream(broken(shape)) as upstream:
            top = outages({"enabled": False}, budget=0, min_budget=2)
            with running(config({"p": provider(shape, upstream)}, [target("p")], top=top)) as gateway:
                counts = []
                for _ in range(5):
                    before = len(upstream.requests)
                    wire = await ask(gateway.port, shape, "m")
                    assert words(wire) == "502 `upstream_error`, do not retry"
                    counts.append(len(upstream.requests) - before)
                return counts

    counts = asyncio.run(main())
    # Two retries at once, and two more in the ten seconds that this does not take.
    assert counts[0] in (3, 4)
    assert sum(counts) <= 5 + 4
    assert counts[-1] == 1
    saw = "502 `upstream_error`, do not retry"
    page.show(stories.BUDGET.row((CHAT,), saw, attempts="3, then 1 for each request", breaker="off"))


def test_malformed_requests_use_up_nobodys_retries(page: Page) -> None:
    async def main() -> None:
        shape = CHAT
        refusals = [sends(shape.refusal(400, "invalid_request_error"), Close())] * 10
        async with ScriptedUpstream(*refusals, broken(shape), (Repeat(sends(shape.whole())),)) as upstream:
            top = outages(budget=0, min_budget=2)
            with running(config({"p": provider(shape, upstream)}, [target("p")], top=top)) as gateway:
                for _ in range(10):
                    assert words(await ask(gateway.port, shape, "m")).startswith("400 ")
                assert words(await ask(gateway.port, shape, "m")) == "200, whole answer"

    asyncio.run(main())
    saw = "10 times 400 `invalid_request_error`, then 200, whole answer"
    page.show(stories.BUDGET_KEPT.row((CHAT,), saw, attempts="server_error, ok", breaker="closed"))


def test_stale_connections(page: Page) -> None:
    """An upstream that closes idle connections costs nobody a failed attempt."""

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            upstreams = {
                shape: await stack.enter_async_context(ScriptedUpstream(sends(shape.whole(), Close())))
                for shape in EVERY
            }
            with running(per_shape(upstreams)) as gateway:
                for _ in range(20):
                    for shape in EVERY:
                        assert words(await ask(gateway.port, shape, name_of(shape))) == "200, whole answer"
                for shape in EVERY:
                    records = await gateway.records(name_of(shape), 20)
                    assert {attempts_of(record) for record in records} == {("ok",)}

    asyncio.run(main())
    page.show(stories.STALE.row(EVERY, "20 times 200, whole answer", attempts="ok", breaker="closed"))


# --- hedging, continuing, waiting ---------------------------------------------------------------


def test_hedging(page: Page) -> None:
    async def main() -> float:
        slowest = 0.0
        for shape in STREAMS:
            async with (
                ScriptedUpstream(sends(Stall())) as first,
                ScriptedUpstream((Repeat(sends(shape.whole(SPARE))),)) as second,
            ):
                providers = {"p": provider(shape, first), "q": provider(shape, second)}
                settings = config(
                    providers,
                    [target("p"), target("q", priority=1)],
                    hedge={"after_s": 0.2, "max_fraction": 1},
                )
                with running(settings) as gateway:
                    wire = await ask(gateway.port, shape, "m")
                    assert words(wire) == "200, whole answer of the spare"
                    assert 0.2 <= wire.ended_s < 2
                    await first.connections[0].gone(2)  # the loser is not left running
                    record = await gateway.record(wire.headers["x-request-id"])
                    hedges = {entry["target"]: entry.get("hedge", False) for entry in record["attempts"]}
                    assert hedges == {"p/m": False, "q/m": True}
                    assert record["target"] == "q/m"
                    for name in "pq":
                        seen = await gateway.target(name)
                        assert (seen["state"], seen["in_flight"]) == ("closed", 0)
                    slowest = max(slowest, wire.ended_s)
        return slowest

    waited_s = asyncio.run(main())
    saw = "200, whole answer of the second; the first is cancelled"
    page.show(stories.HEDGE.row(STREAMS, saw, waited_s=waited_s, attempts="given up, ok", breaker="closed"))


def test_a_cut_stream_is_continued(page: Page) -> None:
    async def main() -> None:
        for shape in STREAMS:
            rest = shape.head() + shape.begin() + shape.tokens(" reach", " the", " sea")
            rest += shape.finish() + shape.end()
            begun = shape.head() + shape.begin() + shape.tokens("All", " rivers")
            async with (
                ScriptedUpstream(sends(begun, Wait(0.1), Close())) as first,
                ScriptedUpstream(sends(rest)) as second,
            ):
                providers = {"p": provider(shape, first), "q": provider(shape, second)}
                settings = config(
                    providers, [target("p"), target("q", priority=1)], continue_cut_streams=True,
                    top=outages({"failures": 1}),
                )  # fmt: skip
                with running(settings) as gateway:
                    wire = await ask(gateway.port, shape, "m")
                    assert words(wire) == "200, whole answer"
                    assert b'"All rivers"' in second.requests[0].body
                    assert b'"assistant"' in second.requests[0].body
                    record = await gateway.record(wire.headers["x-request-id"])
                    assert (record["outcome"], attempts_of(record)) == ("ok", ("cut", "ok"))
                    assert record["chunks"] == 5

    asyncio.run(main())
    row = stories.CONTINUED.row(STREAMS, "200, whole answer", attempts="cut, ok", breaker="open")
    page.show(row)


def test_a_cut_stream_that_nobody_continues(page: Page) -> None:
    async def main() -> None:
        for shape in STREAMS:
            begun = shape.head() + shape.begin() + shape.tokens("All", " rivers")
            async with (
                ScriptedUpstream(sends(begun, Wait(0.1), Close())) as first,
                ScriptedUpstream(sends(shape.refusal(400, "invalid_request_error"))) as second,
            ):
                providers = {"p": provider(shape, first), "q": provider(shape, second)}
                settings = config(
                    providers, [target("p"), target("q", priority=1)], continue_cut_streams=True,
                    top=outages({"failures": 1}),
                )  # fmt: skip
                with running(settings) as gateway:
                    wire = await ask(gateway.port, shape, "m")
                    assert words(wire) == "200, 2 tokens, error `upstream_cut`, proper end"
                    record = await gateway.record(wire.headers["x-request-id"])
                    assert (record["outcome"], attempts_of(record)) == ("cut", ("cut", "invalid_request"))

    asyncio.run(main())
    saw = "200, 2 tokens, error `upstream_cut`, proper end"
    row = stories.NOT_CONTINUED.row(STREAMS, saw, attempts="cut, invalid_request", breaker="open")
    page.show(row)


def test_waiting_for_concurrency(page: Page) -> None:
    async def main() -> float:
        longest = 0.0
        for shape in (CHAT, MESSAGES_STREAM):
            async with ScriptedUpstream(
                (Repeat((ReadRequest(), Wait(0.3), Send(shape.whole()))),)
            ) as upstream:
                settings = config({"p": provider(shape, upstream)}, [target("p", max_concurrency=1)])
                with running(settings) as gateway:
                    wires = await asyncio.gather(*(ask(gateway.port, shape, "m") for _ in range(3)))
                    assert {words(wire) for wire in wires} == {"200, whole answer"}
                    assert len(upstream.connections) == 1  # never two at a time
                    waits = sorted(record["queue_s"] for record in await gateway.records("m", 3))
                    assert waits[0] < 0.2
                    assert 0.2 < waits[1] < waits[2]
                    longest = max(longest, *(wire.ended_s for wire in wires))
        return longest

    waited_s = asyncio.run(main())
    page.show(
        stories.CONCURRENCY.row(
            (CHAT, MESSAGES_STREAM),
            "200, whole answer, one after the other",
            waited_s=waited_s,
            attempts="ok",
            breaker="closed",
        )
    )

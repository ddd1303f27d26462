"""Cost truth: what providers answer, written down for every dialect, is billed to the micro-dollar.

Each case goes the whole way of a request, from the upstream's bytes to the
record: usage is read, or counted where a stream was cut; a price table gives
the prices; attempts that failed are billed for what they used. The fixtures
show the arithmetic, which is evaluated too.
"""

from __future__ import annotations

import asyncio
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.unit.gateway.stage import CHAT, DROP, Stage

from fairlead.net.framing import LAST_CHUNK, chunk
from fairlead.providers.eventstream import HeaderValue, encode_message
from fairlead.testing import answer, sse_event, sse_head
from fairlead.types import Usage

HERE = Path(__file__).parent
FILES = ("openai", "anthropic", "gemini", "bedrock")


def _cases() -> list[Any]:
    found = []
    for name in FILES:
        file = yaml.safe_load((HERE / f"{name}.yaml").read_text())
        found += [pytest.param(file, case, id=f"{name}: {case['name']}") for case in file["cases"]]
    return found


def _config(case: dict[str, Any], listed: str, table: Path) -> str:
    kind = case.get("type", "openai")
    key = "api_key: env:KEY, " if kind == "bedrock" else ""
    region = "region: xx-test-1, " if kind == "bedrock" else ""
    providers = "".join(
        f"  {name}: {{type: {kind}, {key}{region}base_url: 'http://{name}.test/v1'}}\n" for name in "ab"
    )
    targets = ", ".join(
        f"{{provider: {name}, model: '{case['model']}', priority: {rank}}}" for rank, name in enumerate("ab")
    )
    return (
        "auth: {required: false}\n"
        f"providers:\n{providers}"
        f"models: {{m: {{targets: [{targets}]}}}}\n"
        f"prices: {{file: {table}, providers: {{a: {listed}, b: {listed}}}}}\n"
        "outages: {retry: {max_attempts: 2, backoff_s: 0.001, max_backoff_s: 0.001}}\n"
    )


def _table(file: dict[str, Any], path: Path) -> Path:
    lists = {file["list"]: file["models"]}
    path.write_text(json.dumps({"format": 1, "version": "golden", "lists": lists}))
    return path


def _wire(plan: dict[str, Any], *, typed: bool) -> list[bytes | Any]:
    """What an upstream sends: packets, and at the end whether it goes on, ends or breaks off."""
    if "answer" in plan:
        return [answer(plan["answer"].encode(), status=plan.get("status", 200))]
    if "frames" in plan:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
        pieces = [head + b"transfer-encoding: chunked\r\n\r\n", *map(_frame, plan["frames"])]
    else:
        pieces = [sse_head()]
        for data in plan["events"]:
            name = json.loads(data)["type"] if typed else ""
            pieces.append(sse_event(data.encode(), name))
    end = {"cut": [DROP], "leave": []}.get(plan.get("end", ""), [LAST_CHUNK])
    return [*pieces, *end]


def _frame(frame: dict[str, Any]) -> bytes:
    headers: dict[str, HeaderValue] = {
        ":message-type": "event",
        ":event-type": frame["event"],
        ":content-type": "application/json",
    }
    return chunk(encode_message(headers, json.dumps(frame["payload"]).encode()))


def _request(case: dict[str, Any]) -> bytes:
    if "request" in case:
        return str(case["request"]).encode()
    stream = ',"stream":true' if case.get("stream") else ""
    return f'{{"model":"m"{stream},"messages":[{{"role":"user","content":"Hi!"}}]}}'.encode()


def _evaluated(arithmetic: str) -> Fraction:
    assert re.fullmatch(r"[\d.*+ ]+", arithmetic)
    total = Fraction(0)
    for term in arithmetic.split("+"):
        product = Fraction(1)
        for factor in term.split("*"):
            product *= Fraction(factor.strip())
        total += product
    return total


def _rounded(cost: Fraction) -> int:
    return int(cost + Fraction(1, 2))


@pytest.mark.parametrize(("file", "case"), _cases())
def test_a_recorded_answer_costs_what_the_arithmetic_says(
    file: dict[str, Any], case: dict[str, Any], tmp_path: Path
) -> None:
    async def scenario() -> None:
        stage = Stage(_config(case, file["list"], _table(file, tmp_path / "prices.json")))
        typed = case.get("typed", False)
        plans = [case["first"], case] if "first" in case else [case]
        for host, plan in zip(("a.test", "b.test"), plans, strict=False):
            stage.network.plan(host, _wire(plan, typed=typed))
        person = stage.connect()
        person.send(_post(case.get("api", CHAT), _request(case)))
        await stage.settle()
        if "first" in case:
            await stage.until(lambda: person.answers)
        if case.get("end") == "leave":
            await stage.leave()
        await stage.settle()
        record = await stage.record()
        expected = msgspec.convert(case["usage"], Usage)
        assert record.outcome.value == case.get("outcome", "ok")
        assert record.usage == expected
        assert record.usage_estimated is case.get("estimated", False)
        assert [one.cost_microusd for one in record.attempts] == [
            _rounded(_evaluated(text)) for text in case["arithmetic"]
        ]
        assert record.cost_microusd == case["microusd"]
        assert record.attempts[-1].priced_by.startswith("golden#")
        await stage.leave()
        await stage.client.close()

    asyncio.run(scenario())


def _post(path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def test_every_dialect_is_there_whole_streamed_and_cut() -> None:
    for name in FILES:
        cases = yaml.safe_load((HERE / f"{name}.yaml").read_text())["cases"]
        assert any("answer" in case for case in cases)
        assert any(("events" in case or "frames" in case) and "end" not in case for case in cases)
        assert any(case.get("end") == "cut" for case in cases)
        assert any("first" in case for case in cases)

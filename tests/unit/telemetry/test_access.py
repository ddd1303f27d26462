"""One line per request."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from tests.unit.telemetry.records import full_record, record
from tests.unit.telemetry.turns import until

from fairlead.telemetry import access
from fairlead.telemetry.access import AccessLog
from fairlead.types import Outcome


def read(fd: int) -> bytes:
    data = b""
    while piece := os.read(fd, 65536):
        data += piece
    return data


def lines(*records: object, human: bool = False) -> list[bytes]:
    async def main(fd: int) -> None:
        log = AccessLog(fd, human=human)
        log.take(records)  # type: ignore[arg-type]  # records
        await log.commit()
        assert log.dropped == 0

    reader, writer = os.pipe()
    asyncio.run(main(writer))
    os.close(writer)
    data = read(reader)
    os.close(reader)
    return data.splitlines()


def test_a_request_is_one_json_object() -> None:
    (line,) = lines(full_record())

    assert json.loads(line) == {
        "ts": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "logger": "fairlead.access",
        "message": "request",
        "id": "018bcfe5687b0001",
        "endpoint": "messages",
        "tenant": "acme",
        "key_id": "key1",
        "model": "large",
        "target": "lab/large-2",
        "status": 200,
        "outcome": "cut",
        "error": "upstream_cut",
        "input_tokens": 100,
        "output_tokens": 50,
        "ttft_s": 0.4,
        "duration_s": 2.5,
        "attempts": 2,
        "cache": "stale",
    }


def test_lines_keep_their_order() -> None:
    found = lines(*(record(number) for number in range(150)))

    assert [json.loads(line)["id"] for line in found] == [record(number).id for number in range(150)]


def test_a_model_name_can_neither_forge_a_line_nor_carry_a_key() -> None:
    one, other = lines(record(model='x"}\n{"forged": true'), record(model="sk-abcdefghijklmnop"))

    assert json.loads(one)["model"] == 'x"}?{"forged": true'
    assert json.loads(other)["model"] == "[redacted]"


def test_people_get_a_short_line() -> None:
    (line,) = lines(full_record(), human=True)

    assert line[8:].decode() == (
        " request 200 cut      messages large -> lab/large-2 2500 ms ttft 400 ms "
        "100+50 tokens acme 018bcfe5687b0001 upstream_cut"
    )


def test_a_refused_request_has_no_target_for_people() -> None:
    (line,) = lines(record(model="", target="", tenant="", outcome=Outcome.REFUSED, status=401), human=True)

    assert b"401 refused  chat - -> - 500 ms 10+5 tokens - " in line


def test_a_file_that_nobody_reads_costs_lines_and_not_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_MOST_WAITING_BYTES", 10_000)
    monkeypatch.setattr(access, "_PATIENCE_S", 0.01)

    async def main(reader: int, writer: int) -> None:
        log = AccessLog(writer)
        log.take(record(number) for number in range(1000))  # some are kept; a pipe takes 64 KiB
        kept = 1000 - log.dropped
        assert 20 < kept < 60
        for _ in range(30):
            log.take(record(number) for number in range(100))
            await log.commit()
        assert log.dropped > 1000
        assert log.backlog == 0

        # Somebody reads again: what was kept arrives, whole.
        written = 1000 + 3000 - log.dropped
        loop = asyncio.get_running_loop()
        data = loop.run_in_executor(None, read, reader)
        await until(lambda: log._writing is None)
        await log.commit()
        await until(lambda: log._writing is None)
        os.close(writer)
        found = (await data).splitlines()
        assert len(found) == written
        assert all(json.loads(line)["message"] == "request" for line in found)

    reader, writer = os.pipe()
    asyncio.run(main(reader, writer))
    os.close(reader)


def test_a_file_that_fails_is_counted() -> None:
    async def main(fd: int) -> None:
        log = AccessLog(fd)
        log.take([record(), record()])
        await log.commit()
        assert log.dropped == 2

    fd = os.open("/dev/null", os.O_RDONLY)
    asyncio.run(main(fd))
    os.close(fd)


def test_lines_are_written_in_pieces_that_a_pipe_takes_whole() -> None:
    pieces = access._pieces([b"x" * 1999 + b"\n"] * 5 + [b"y" * 9999 + b"\n", b"z\n"])

    assert [len(piece) for piece in pieces] == [4000, 4000, 2000, 10_000, 2]

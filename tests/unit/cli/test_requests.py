"""What `fairlead requests` prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.unit.cli.test_usage import fill
from tests.unit.telemetry.records import full_record, record

from fairlead.cli.ledger import usd
from fairlead.cli.main import main
from fairlead.cli.requests import as_text
from fairlead.telemetry.ledger import db
from fairlead.types import Attempt, Failure, FailureKind, Outcome, RequestRecord

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a small ledger."""
    fill(
        tmp_path,
        full_record(),
        record(1, tenant="", model="", target="", outcome=Outcome.REFUSED, status=401),
        record(2, first_token_s=0.25),
        *(record(number) for number in range(10, 40)),
    )

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["requests", *words, "--state", str(tmp_path)])
        return (status, *capsys.readouterr())

    return run


def test_the_newest_come_first(run: Run) -> None:
    status, out, _ = run("list", "--limit", "3")

    assert status == 0
    head, *lines = out.splitlines()
    assert head.split() == [
        *("TIME", "ID", "TENANT", "MODEL", "TARGET", "STATUS"),
        *("OUTCOME", "CACHE", "INPUT", "OUTPUT", "USD", "TTFT", "DURATION"),
    ]
    assert [int(line.split()[1], 16) for line in lines] == [39, 38, 37]
    assert lines[0].split() == [
        *("2023-11-14T22:13:59Z", f"{39:024x}", "acme", "small", "lab/small-1"),
        *("200", "ok", "-", "10", "5", "-", "-", "500", "ms"),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "large"], 1),
        (["--outcome", "refused"], 1),
        (["--status", "401"], 1),
        (["--tenant", "acme", "--key", "key1", "--endpoint", "chat", "--target", "lab/small-1"], 31),
        (["--since", "2023-11-14T22:13:40Z", "--until", "2023-11-14T22:13:45Z"], 5),
        (["--tenant", "nobody"], 0),
    ],
)
def test_the_list_is_filtered(run: Run, options: list[str], expected: int) -> None:
    _, out, _ = run("list", "--limit", "100", "--json", *options)

    assert len(json.loads(out)) == expected


def test_a_long_search_goes_on_until_it_has_found_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "_SCAN_ROWS", 4)
    monkeypatch.setattr(db, "_SCANS", 1)

    _, out, _ = run("list", "--model", "large", "--json")

    assert [entry["id"] for entry in json.loads(out)] == [full_record().id]


def test_nothing_found_is_said_apart_from_the_output(run: Run) -> None:
    assert run("list", "--tenant", "nobody") == (0, "", "no such requests in the ledger\n")


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "x"])
def test_a_limit_out_of_range_is_refused(run: Run, limit: str) -> None:
    status, _, err = run("list", f"--limit={limit}")

    assert status == 2
    assert "--limit" in err


def test_one_request_is_shown_whole_as_json(run: Run) -> None:
    _, out, _ = run("show", full_record().id, "--json")

    assert msgspec.json.decode(out, type=RequestRecord) == full_record()


def test_one_request_is_shown_for_people(run: Run) -> None:
    _, out, _ = run("show", full_record().id)

    assert out == (
        "request         018bcfe5687b0001\n"
        "started         2023-11-14T22:13:20Z\n"
        "asked for       large by messages (anthropic)\n"
        "answered by     lab/large-2\n"
        "outcome         cut, status 200, error upstream_cut\n"
        "finish          length\n"
        "tenant          acme\n"
        "key             key1\n"
        "tokens          100 in, 50 out (30 cached, 20 written to cache, 7 reasoning), estimated\n"
        f"cost            {usd(full_record().cost_microusd)} USD\n"
        "cache           stale, saved 30 tokens that cost 0.000012 USD and 0.250 s of GPU time\n"
        "bytes           1000 in, 2000 out\n"
        "duration        2500 ms\n"
        "queue           10 ms\n"
        "overhead        0.040 ms\n"
        "first token     400 ms\n"
        "stream          41 events, gaps p50 160 ms, p95 700 ms, max 700 ms, 1 stall of 1500 ms together, "
        "23.3 tokens/s\n"
        "trace           00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01\n"
        "client's retry  2\n"
        "\n"
        "PART                      TIME   SHARE  (by the engine's answer)\n"
        "gateway queue        10.000 ms    0.4%  |#                                       |\n"
        "other attempts       89.960 ms    3.6%  |##                                      |\n"
        "connect              20.000 ms    0.8%  |  #                                     |\n"
        "engine queue         50.000 ms    2.0%  |  #                                     |\n"
        "prefill             150.000 ms    6.0%  |   ##                                   |\n"
        "decode             2000.000 ms   80.0%  |     ################################   |\n"
        "network and rest    100.000 ms    4.0%  |                                     ## |\n"
        "gateway              80.040 ms    3.2%  |                                       #|\n"
        "\n"
        "ATTEMPT                    AT  CONNECT  HEADERS  FIRST TOKEN      END  STATUS  RESULT\n"
        "lab/large-1            0.1 ms     1 ms        -            -   100 ms     503  overloaded: busy\n"
        "lab/large-2 (hedge)  100.0 ms        -   200 ms       400 ms  2500 ms     200  cut: ended early\n"
    )


def test_what_an_upstream_wrote_cannot_move_the_cursor() -> None:
    failure = Failure(kind=FailureKind.BAD_ANSWER, message="\x1b[2Joops\nfake line")
    text = as_text(record(attempts=(Attempt(target="lab/a", started_s=0.0, failure=failure),)))

    assert "bad_answer: ?[2Joops?fake line\n" in text
    assert text.replace("\n", "").isprintable()


def test_a_request_that_is_not_there_is_an_error(run: Run) -> None:
    status, out, err = run("show", "req_nobody")

    assert (status, out) == (1, "")
    assert "no request `req_nobody`" in err

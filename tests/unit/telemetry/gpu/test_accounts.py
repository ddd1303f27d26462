"""From records to closed windows, on SQLite in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.unit.telemetry.records import record

from fairlead.config.scrape_options import GpuMatch, GpuPool
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database
from fairlead.telemetry.gpu.accounts import GpuAccounts, pools_by_target
from fairlead.telemetry.gpu.db import GpuLedger
from fairlead.telemetry.gpu.work import GpuSink, pieces_of
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.scrapers.board import Board
from fairlead.telemetry.scrapers.gpu import GpuReading
from fairlead.types import Attempt, Failure, FailureKind, RequestRecord, Usage

MINUTE = 60.0
START = 1_700_000_040.0  # on a minute
POOLS = {"h100": GpuPool(targets=["lab/big", "lab/small"], usd_per_hour=3.6, count=1)}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(runner: asyncio.Runner) -> Iterator[Database]:
    database = runner.run(open_database(":memory:"))
    yield database
    runner.run(database.close())


def request(
    number: int, at: float, seconds: float, target: str = "lab/big", **fields: object
) -> RequestRecord:
    """A stream that begins `at` seconds after START; its first token comes after a quarter of its time."""
    attempt = Attempt(target=target, started_s=0.0, first_token_s=seconds / 4, ended_s=seconds, status=200,
                      usage=Usage(input_tokens=100, output_tokens=100))  # fmt: skip
    return record(number, started_at=START + at, target=target, attempts=(attempt,), duration_s=seconds,
                  usage=Usage(input_tokens=100, output_tokens=100), **fields)  # fmt: skip


class Bench:
    """A sink and accounts over one database."""

    def __init__(self, database: Database, runner: asyncio.Runner, pools: dict[str, GpuPool] = POOLS) -> None:
        self.ledger = GpuLedger(database)
        self.runner = runner
        self.board = Board()
        self.pools = pools
        self.sink = GpuSink(self.ledger, pools_by_target(pools))
        self.accounts = self.fresh()

    def fresh(self, **options: object) -> GpuAccounts:
        return GpuAccounts(self.ledger, self.pools, self.board, settle_s=120.0, retention_days=30, **options)  # type: ignore[arg-type]  # of the test

    def emit(self, *records: RequestRecord) -> None:
        self.sink.take(iter(records))
        self.runner.run(self.sink.commit())

    def tick(self, at: float, accounts: GpuAccounts | None = None) -> None:
        self.runner.run((accounts or self.accounts).tick(START + at, at))

    def totals(self) -> tuple[int, int, int, int]:
        """Windows, reserved, used, shared."""
        totals = self.runner.run(self.ledger.totals(0, 2**62))
        used = self.runner.run(self.ledger.used("target", 0, 2**62))
        return (
            sum(total.windows for total in totals),
            sum(total.reserved_microusd for total in totals),
            sum(total.used_microusd for total in totals),
            sum(one.microusd for one in used),
        )


@pytest.fixture
def bench(database: Database, runner: asyncio.Runner) -> Bench:
    bench = Bench(database, runner)
    bench.tick(0.0)
    return bench


def test_an_hour_of_requests_adds_up_to_the_price(bench: Bench, runner: asyncio.Runner) -> None:
    bench.emit(
        *(request(number, number * 37.0, 45.0, ("lab/big", "lab/small")[number % 2]) for number in range(90))
    )
    for minute in range(1, 63):
        bench.tick(minute * MINUTE)

    windows, reserved, used, shared = bench.totals()
    assert (windows, reserved) == (60, 3_600_000)
    assert 0 < used < reserved
    assert used == shared
    assert {one.name for one in runner.run(bench.ledger.used("target", 0, 2**62))} == {"lab/big", "lab/small"}
    readings = {one.labels: one.value for one in bench.accounts.readings()}
    assert readings["h100", "used"] + readings["h100", "idle"] == pytest.approx(3.6)


def test_a_window_waits_for_late_records(bench: Bench) -> None:
    bench.tick(MINUTE + 119)
    assert bench.totals()[0] == 0
    bench.emit(request(1, 10.0, 30.0))

    bench.tick(MINUTE + 120)

    assert bench.totals() == (1, 60_000, 30_000, 30_000)


def test_a_request_is_charged_in_every_window_it_ran_in(bench: Bench, runner: asyncio.Runner) -> None:
    bench.emit(request(1, 30.0, 120.0))
    bench.tick(10 * MINUTE)

    assert bench.totals()[2:] == (120_000, 120_000)
    used = runner.run(bench.ledger.used_by(f"{1:024x}"))
    assert used is not None
    assert (used.gpu_s, used.microusd) == (120.0, 120_000)
    assert runner.run(bench.ledger.pending("h100", 2**62, 10)) == []


def test_a_record_that_comes_after_its_window_is_charged_once_in_a_later_one(bench: Bench) -> None:
    bench.tick(5 * MINUTE)
    before = bench.totals()
    assert before[2] == 0
    bench.emit(request(1, 10.0, 30.0), request(2, 4 * MINUTE, 10.0))

    bench.tick(8 * MINUTE)

    assert bench.totals()[2:] == (10_000, 10_000)


def test_who_comes_second_does_not_close_again(bench: Bench) -> None:
    bench.emit(request(1, 10.0, 30.0))
    other = bench.fresh()
    bench.tick(0.0, other)
    bench.tick(4 * MINUTE)
    bench.tick(4 * MINUTE, other)

    assert bench.totals() == (2, 120_000, 30_000, 30_000)
    assert list(other.readings()) == []


def test_a_stop_is_made_up_for_and_a_long_one_left_out(bench: Bench) -> None:
    bench.tick(3 * MINUTE)
    after = bench.fresh()
    for _ in range(3):
        bench.tick(63 * MINUTE, after)
    assert bench.totals()[:2] == (61, 3_660_000)

    later = bench.fresh()
    bench.tick(3 * 86_400.0, later)
    bench.tick(3 * 86_400.0 + 3 * MINUTE, later)

    assert bench.totals()[0] == 62


def test_a_clock_that_jumps_charges_nothing_twice(bench: Bench) -> None:
    bench.emit(request(1, 10.0, 30.0))
    bench.tick(3 * MINUTE)
    bench.tick(400 * 86_400.0)  # a year ahead
    bench.tick(4 * MINUTE)  # and back
    bench.tick(0.0)  # before it all began
    for minute in range(1, 10):
        bench.tick(minute * MINUTE)

    windows, reserved, used, shared = bench.totals()
    assert (used, shared) == (30_000, 30_000)
    assert reserved == windows * 60_000


def test_gpus_are_counted_where_they_are_not_configured(database: Database, runner: asyncio.Runner) -> None:
    pools = {"chat": GpuPool(targets=["lab/big"], usd_per_hour=3.6, match=GpuMatch(pod="chat-*"))}
    bench = Bench(database, runner, pools)
    slices = tuple(
        GpuReading(uuid="GPU-a", mig_id=mig_id, pod=pod, source="dcgm")
        for mig_id, pod in (("", ""), ("1", "chat-a"), ("2", "chat-b"), ("3", "other"))
    )
    bench.tick(0.0)
    bench.tick(3 * MINUTE)
    assert bench.totals()[0] == 0  # nobody knows how many: nothing is charged

    bench.board.gpus("dcgm", slices, 3 * MINUTE + 1)
    for minute in range(8):
        bench.tick(3 * MINUTE + 2 + minute * MINUTE)

    windows, reserved, *_ = bench.totals()
    assert windows > 2
    assert reserved == windows * 120_000  # the last number holds when DCGM falls silent
    assert bench.accounts.gpus("chat") == 2


def test_work_has_a_price_once_some_was_done(bench: Bench, runner: asyncio.Runner) -> None:
    usage = Usage(input_tokens=100, output_tokens=100)
    assert bench.accounts.gpu_seconds("lab/big", usage) == 0.0
    bench.emit(*(request(number, number * 60.0, 30.0) for number in range(10)))
    bench.tick(15 * MINUTE)
    runner.run(bench.accounts.refresh(START + 15 * MINUTE))

    assert bench.accounts.gpu_seconds("lab/big", usage) == pytest.approx(30.0)
    assert bench.accounts.gpu_seconds("lab/small", Usage(input_tokens=100)) == pytest.approx(6.0)
    assert bench.accounts.gpu_seconds("cloud/other", usage) == 0.0
    assert bench.accounts.gpu_seconds("lab/big", Usage(input_tokens=100, cache_read_tokens=100)) == 0.0


def test_use_is_grouped_by_what_the_ledger_knows(
    bench: Bench, database: Database, runner: asyncio.Runner
) -> None:
    ledger = Ledger(database)
    records = [request(1, 0.0, 30.0, tenant="acme"), request(2, 30.0, 10.0, tenant="beta")]
    ledger.take(records)
    runner.run(ledger.commit())
    bench.emit(*records, request(3, 40.0, 5.0, tenant="forgotten"))
    bench.tick(5 * MINUTE)

    found = runner.run(bench.ledger.used("tenant", 0, 2**62))

    assert sum(one.microusd for one in found) == bench.totals()[2] == 45_000
    assert {one.name for one in found} == {"acme", "beta", ""}
    with pytest.raises(ValueError, match="not grouped"):
        runner.run(bench.ledger.used("id; DROP TABLE", 0, 1))


def test_old_shares_go(bench: Bench, runner: asyncio.Runner) -> None:
    bench.emit(request(1, 0.0, 30.0))
    bench.tick(5 * MINUTE)

    assert runner.run(bench.ledger.expire(2**62, 0)) == 1

    assert bench.totals() == (3, 180_000, 30_000, 0)


# --- from records to work ----------------------------------------------------------------------


def attempt(failure: FailureKind | None = None, **fields: object) -> Attempt:
    wrong = Failure(kind=failure, message="") if failure is not None else None
    return Attempt(target="lab/big", started_s=1.0, ended_s=3.0, failure=wrong, **fields)  # type: ignore[arg-type]  # of the test


def test_what_never_reached_the_engine_is_no_work_and_what_broke_off_is() -> None:
    kinds = {
        kind
        for kind in FailureKind
        if list(pieces_of(record(attempts=(attempt(kind),)), {"lab/big": "h100"}))
    }

    assert kinds == {
        FailureKind.TIMEOUT, FailureKind.TOO_SLOW, FailureKind.DISCONNECTED, FailureKind.CUT,
        FailureKind.EMPTY, FailureKind.BAD_ANSWER, FailureKind.SERVER_ERROR,
    }  # fmt: skip


def test_a_failed_attempt_and_the_one_after_it_are_two_pieces() -> None:
    both = record(
        usage=Usage(input_tokens=70, output_tokens=9),
        attempts=(attempt(FailureKind.CUT), attempt(first_token_s=1.5, connect_s=0.25)),
    )

    (_, first), (_, second) = pieces_of(both, {"lab/big": "h100"})

    assert (first.attempt, first.input_tokens, first.output_tokens) == (0, 70, 0)
    assert first.first_us == first.ended_us
    assert (second.attempt, second.output_tokens) == (1, 9)
    assert second.started_us - first.started_us == 250_000
    assert second.first_us - first.started_us == 500_000


def test_odd_times_and_counts_stay_within_bounds() -> None:
    odd = record(
        started_at=-5.0,
        usage=Usage(input_tokens=-4, output_tokens=10**30, cache_read_tokens=10**30),
        attempts=(Attempt(target="lab/big", started_s=9.0, ended_s=0.0, first_token_s=1e12),),
    )

    ((_, one),) = pieces_of(odd, {"lab/big": "h100"})

    assert 0 <= one.started_us <= one.first_us <= one.ended_us
    assert 0 <= one.cached_tokens <= one.input_tokens <= 10**7
    assert one.output_tokens == 10**7
    assert list(pieces_of(odd, {})) == []

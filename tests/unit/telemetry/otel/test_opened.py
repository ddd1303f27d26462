"""Opening OpenTelemetry: what the configuration asks for is there, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest
from tests.unit.telemetry.records import record

from fairlead.config.kinds import Secret
from fairlead.config.otel_options import Otel as Options
from fairlead.config.otel_options import OtelMetrics, OtelTraces
from fairlead.errors import ConfigError
from fairlead.net.client import Client
from fairlead.telemetry.otel import otlp
from fairlead.telemetry.otel.collector import Collector, Reply
from fairlead.telemetry.otel.opened import Otel, open_otel

OWN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000aa-01"


class FakeCollector:
    """Takes everything."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def send(self, signal: str, body: bytes) -> Reply:
        self.got.append(signal)
        return Reply(status=200)


class HungCollector:
    """Never answers."""

    async def send(self, signal: str, body: bytes) -> Reply:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("cancelled before")


def opened(options: Options, collector: Collector) -> Otel:
    return Otel(options, collector, otlp, worker=0, version="1", peers=dict, families=tuple)


def no_secret(secret: Secret) -> str:
    raise ConfigError(f"{secret} is not set")


def opening(options: Options, resolve: Callable[[Secret], str] = no_secret) -> Otel:
    return open_otel(
        options,
        Client(),
        worker=0,
        version="1",
        resolve=resolve,
        proxy_for=lambda scheme, host, port: None,
        peers=dict,
        families=tuple,
    )


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fairlead.telemetry.otel.otlp", None)
    monkeypatch.delattr("fairlead.telemetry.otel.otlp")

    with pytest.raises(ConfigError) as caught:
        opening(Options())

    assert caught.value.hint == "pip install 'fairlead[otel]'"


def test_a_header_whose_secret_is_missing_or_unfit_is_an_error() -> None:
    options = Options(headers={"authorization": Secret("env:NOPE")})

    with pytest.raises(ConfigError, match="NOPE"):
        opening(options)
    with pytest.raises(ConfigError, match="cannot be sent") as caught:
        opening(options, lambda secret: "caf\u00e9-secret")
    assert "secret" not in caught.value.message.replace("telemetry", "")


def test_only_what_is_enabled_is_there() -> None:
    plain = opened(Options(), FakeCollector())
    off = opened(
        Options(traces=OtelTraces(enabled=False), metrics=OtelMetrics(enabled=False)), FakeCollector()
    )

    assert plain.sampler is not None
    assert plain.tracing is not None
    assert plain.contents is None
    assert opened(Options(content="redacted"), FakeCollector()).contents is not None
    assert (off.sampler, off.tracing, off.contents) == (None, None, None)
    assert {reading.labels for reading in off.readings()} == {("logs",)}


def test_what_is_left_is_sent_at_the_end() -> None:
    async def life() -> None:
        collector = FakeCollector()
        otel = opened(Options(), collector)
        otel.start()
        assert otel.tracing is not None
        otel.tracing.take(iter([record(trace=OWN)]))
        await otel.stop()
        assert sorted(collector.got) == ["metrics", "traces"]
        exported = {r.labels[0]: r.value for r in otel.readings() if r.name == "fairlead_otel_exported_total"}
        assert exported == {"traces": 1, "logs": 0, "metrics": 1}

    asyncio.run(life())


def test_a_collector_that_hangs_delays_the_end_only_so_long(caplog: pytest.LogCaptureFixture) -> None:
    async def life() -> None:
        otel = opened(Options(flush_s=0.01), HungCollector())
        assert otel.tracing is not None
        otel.tracing.take(iter([record(trace=OWN)]))
        await otel.stop()
        dropped = {r.labels[0]: r.value for r in otel.readings() if r.name == "fairlead_otel_dropped_total"}
        assert dropped == {"traces": 1, "logs": 0}

    asyncio.run(life())
    assert "were not exported" in caplog.text


@pytest.mark.parametrize(
    ("status", "fine", "repeatable"),
    [(200, True, False), (202, True, False), (0, False, True), (429, False, True), (503, False, True),
     (400, False, False), (401, False, False), (500, False, False)],
)  # fmt: skip
def test_which_answers_mean_what(status: int, fine: bool, repeatable: bool) -> None:
    reply = Reply(status=status)

    assert (reply.fine, reply.repeatable) == (fine, repeatable)

"""The last readings by target and by device."""

from __future__ import annotations

import pytest

from fairlead.config.scrape_options import Endpoint, GpuMatch
from fairlead.errors import ConfigError
from fairlead.telemetry.metrics.readings import COUNTERS, GAUGES
from fairlead.telemetry.scrapers.board import FRESH_S, MAX_GPUS, Board, billable
from fairlead.telemetry.scrapers.engine import EngineReading, Total
from fairlead.telemetry.scrapers.fetch import place_of
from fairlead.telemetry.scrapers.gpu import GpuReading, matches


def gpu(uuid: str = "GPU-a", **fields: object) -> GpuReading:
    return GpuReading(uuid=uuid, **{"source": "dcgm", **fields})  # type: ignore[arg-type]  # of the test


def engine(requests: float = 0.0) -> EngineReading:
    return EngineReading(
        engine="vllm", running=1.0, waiting=2.0, kv_usage=0.5, queue=Total(requests, requests)
    )


def test_what_is_too_old_is_not_shown() -> None:
    board = Board()
    board.engine(["lab/big"], engine(), 0.0)
    board.gpus("dcgm", (gpu(utilisation=0.5),), 0.0)
    assert board.reading("lab/big", FRESH_S) is not None
    assert len(board.devices(FRESH_S)) == 1

    assert board.reading("lab/big", FRESH_S + 1) is None
    assert board.devices(FRESH_S + 1) == ()
    assert list(board.readings(FRESH_S + 1)) == []


def test_an_endpoint_of_its_own_decides_over_the_engines_page() -> None:
    board = Board(claimed=["lab/big"])
    board.engine(["lab/big", "lab/small"], engine(), 0.0)
    assert board.reading("lab/big", 0.0) is None
    assert board.reading("lab/small", 0.0) is not None

    board.engine(["lab/big"], engine(), 0.0, configured=True)

    assert board.reading("lab/big", 0.0) is not None


def test_what_several_say_of_one_device_is_put_together_dcgm_first() -> None:
    board = Board()
    board.gpus("nvml", (gpu(source="nvml", utilisation=0.1, temperature_c=50.0, node="a"),), 0.0)
    board.gpus("dcgm", (gpu(utilisation=0.9, pod="chat-0"), gpu(mig_id="1")), 0.0)

    whole, part = board.devices(0.0)

    assert (whole.utilisation, whole.temperature_c, whole.pod, whole.source) == (0.9, 50.0, "chat-0", "dcgm")
    assert part.mig_id == "1"


def test_an_endpoint_that_no_longer_names_a_device_has_none() -> None:
    board = Board()
    board.gpus("dcgm", (gpu("a"), gpu("b")), 0.0)
    board.gpus("dcgm", (gpu("b"),), 1.0)

    assert [one.uuid for one in board.devices(1.0)] == ["b"]


def test_devices_are_bounded() -> None:
    board = Board()
    for page in range(5):
        board.gpus(str(page), tuple(gpu(f"{page}-{number}") for number in range(1024)), 0.0)

    assert len(board.devices(0.0)) == MAX_GPUS


def test_means_reach_whoever_asks_and_the_metrics() -> None:
    board = Board()
    board.engine(["lab/big"], engine(0), 0.0)
    board.engine(["lab/big"], engine(4), 10.0)

    means = board.means("lab/big", 10.0)

    assert means is not None
    assert means.queue_s == 1.0
    assert board.means("other", 10.0) is None
    found = {(one.name, one.labels): one.value for one in board.readings(10.0)}
    assert found["fairlead_engine_mean_seconds", ("lab/big", "queue")] == 1.0
    assert found["fairlead_engine_kv_usage_ratio", ("lab/big",)] == 0.5


def test_every_reading_is_of_a_known_metric_with_its_labels() -> None:
    board = Board()
    board.engine(["lab/big"], engine(0), 0.0)
    board.engine(["lab/big"], engine(4), 10.0)
    full = {name: 1 for name in GpuReading.__struct_fields__[8:] if name != "source"}
    board.gpus("dcgm", (gpu(**full),), 10.0)
    board.count("dcgm", "ok", 3)

    readings = list(board.readings(10.0))

    assert len({one.name for one in readings}) > 16
    for one in readings:
        labels = COUNTERS[one.name][1] if one.name in COUNTERS else GAUGES[one.name][1]
        assert len(one.labels) == len(labels)


def test_a_gpu_that_is_divided_is_not_paid_beside_its_slices() -> None:
    devices = (gpu("a"), gpu("a", mig_id="1"), gpu("b"))

    assert [(one.uuid, one.mig_id) for one in billable(devices)] == [("a", "1"), ("b", "")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (GpuMatch(), True),
        (GpuMatch(pod="chat-*"), True),
        (GpuMatch(pod="chat"), False),
        (GpuMatch(pod="batch-1", namespace="jobs"), True),
        (GpuMatch(pod="chat-1", namespace="jobs"), False),
        (GpuMatch(model="NVIDIA H100*", node="node-b"), True),
        (GpuMatch(node="node-c"), False),
        (GpuMatch(uuid="GPU-[a]"), True),
        (GpuMatch(uuid="GPU-?a?"), False),
    ],
)
def test_a_pool_finds_its_gpus(wanted: GpuMatch, expected: bool) -> None:
    shared = gpu(
        "GPU-[a]", model="NVIDIA H100 80GB HBM3", node="node-b", pod="chat-1,batch-1", namespace="web,jobs"
    )

    assert matches(shared, wanted) is expected


def test_a_place_keeps_its_credential_to_itself() -> None:
    place = place_of(Endpoint(url="http://[::1]:9400/m"), "sesame", lambda *_: None)

    assert b"GET /m HTTP/1.1\r\nhost: [::1]:9400\r\n" in place.request
    assert b"authorization: Bearer sesame\r\n" in place.request
    assert "sesame" not in repr(place)
    for token in ("two\r\nlines", "nöt ascii"):
        with pytest.raises(ConfigError) as caught:
            place_of(Endpoint(url="http://dcgm/m"), token, lambda *_: None)
        assert token not in str(caught.value)

"""The figures that tune the window, as each engine writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.engine_metrics import facts
from fairlead.limits.inflight import EngineFacts
from fairlead.simulate.engine import Engine, Latency, Limits, Request
from fairlead.simulate.metrics import Metrics
from fairlead.telemetry.scrapers.watch import contents

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a} 7 {\\"b"} 12.0
vllm:num_requests_running{engine="1",model_name="x"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0
vllm:num_requests_waiting{engine="0",model_name="x"} 2.0
vllm:num_requests_waiting{engine="1",model_name="x"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="x"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="x"} 0.75
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="1000"} 1.0
vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="1000"} 1.0
"""
TWO_ENGINES = EngineFacts(running=15, waiting=2, kv_usage=0.75, capacity_tokens=32_000)
SGLANG = b"""\
sglang:num_running_reqs{model_name="x",tp_rank="0"} 4
sglang:num_queue_reqs{model_name="x",tp_rank="0"} 1
sglang:token_usage{model_name="x",tp_rank="0"} 0.5 1700000000000
sglang:max_total_num_tokens{model_name="x",tp_rank="0"} 65536
"""
TGI = b"tgi_queue_size 3\ntgi_batch_current_size 8\ntgi_batch_current_max_tokens 4096\n"
LLAMACPP = b"""\
llamacpp:requests_processing 2
llamacpp:requests_deferred 5
llamacpp:kv_cache_usage_ratio 0.125
"""


def parse(page: bytes) -> EngineFacts | None:
    return facts(contents(page).engine)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (VLLM, TWO_ENGINES),
        (VLLM.replace(b"kv_cache", b"gpu_cache"), TWO_ENGINES),
        (SGLANG, EngineFacts(running=4, waiting=1, kv_usage=0.5, capacity_tokens=65_536)),
        (TGI, EngineFacts(running=8, waiting=3)),
        (LLAMACPP, EngineFacts(running=2, waiting=5, kv_usage=0.125)),
        (LLAMACPP.replace(b"\n", b"\r\n"), EngineFacts(running=2, waiting=5, kv_usage=0.125)),
    ],
)  # fmt: skip
def test_each_engines_page(page: bytes, expected: EngineFacts) -> None:
    assert parse(page) == expected


def test_the_simulated_engine_is_read_too() -> None:
    engine = Engine(Latency(), Limits(kv_tokens=1600, max_batch=2))
    for number in range(5):
        engine.submit(Request(id=number, prompt_tokens=160, output_tokens=10), 0.0)
    found = parse(Metrics("model", engine).render())
    assert found is not None
    assert (found.running, found.waiting, found.capacity_tokens) == (engine.running, engine.waiting, 1600)
    assert found.kv_usage == engine.kv_usage


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>404</html>",
        b"vllm:num_requests_running 1",
        b"vllm:num_requests_running 1\nvllm:num_requests_waiting NaN\n",
        b"vllm:num_requests_running -1\nvllm:num_requests_waiting 1e99\n",
        b'vllm:num_requests_running{a="b" 1\nvllm:num_requests_waiting 1\n',
        b"vllm:num_requests_running \nvllm:num_requests_waiting 1\n",
    ],
)
def test_what_is_no_engines_page_is_none(page: bytes) -> None:
    assert parse(page) is None


def test_a_bad_line_is_skipped() -> None:
    page = b"tgi_queue_size what\ntgi_queue_size 2\ntgi_batch_current_size 1\n"
    assert parse(page) == EngineFacts(running=1, waiting=2)


NAMES = ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
         "vllm:cache_config_info", "sglang:max_total_num_tokens"]  # fmt: skip


@given(
    st.binary(max_size=300)
    | st.lists(
        st.tuples(st.sampled_from(NAMES), st.text(max_size=12), st.text(max_size=12)), max_size=12
    ).map(lambda lines: "\n".join(f"{name}{labels} {value}" for name, labels, value in lines).encode())
)
def test_garbage_never_raises_and_never_gives_nonsense(page: bytes) -> None:
    found = parse(page)
    if found is not None:
        assert found.running >= 0
        assert found.waiting >= 0
        assert found.kv_usage is None or 0 <= found.kv_usage <= 1
        assert found.capacity_tokens is None or found.capacity_tokens > 0

"""Each engine's names for the same figures.

One table, by hand. Where a figure changed its name, the newer one is asked
for first. Series of several engines behind one address (data parallel), of
several models, and of labels such as `is_streaming` are added up; of their
caches the fullest counts.

A page is taken for the dialect whose two counts of requests it has; vLLM
comes before Triton, because Triton's vLLM backend shows both.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from fairlead.telemetry.scrapers.engine import EngineReading, Total
from fairlead.telemetry.scrapers.page import Page

_MOST: Final = 1e15
"""Counts and seconds above it are nonsense."""


class Metric(msgspec.Struct, frozen=True):
    """Where a figure stands: names in order of preference, perhaps with one label's value, and its unit."""

    names: tuple[str, ...]
    where: tuple[str, str] | None = None
    scale: float = 1.0
    """What the page's unit is in ours."""


class Histogram(msgspec.Struct, frozen=True):
    """A duration's sum and count: of a histogram, or two counters that together are one."""

    sums: Metric
    counts: Metric


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One engine's names."""

    running: Metric | None = None
    waiting: Metric | None = None
    kv_usage: Metric | None = None
    capacity: Metric | None = None
    prompt_tokens: Metric | None = None
    cached_tokens: Metric | None = None
    generation_tokens: Metric | None = None
    preemptions: Metric | None = None
    queue: Histogram | None = None
    prefill: Histogram | None = None
    decode: Histogram | None = None
    first_token: Histogram | None = None
    inter_token: Histogram | None = None
    whole: Histogram | None = None
    prefill_work: Metric | None = None
    decode_work: Metric | None = None


def _of(*names: str, where: tuple[str, str] | None = None, scale: float = 1.0) -> Metric:
    return Metric(names, where, scale)


def _histogram(*names: str, where: tuple[str, str] | None = None, scale: float = 1.0) -> Histogram:
    return Histogram(
        Metric(tuple(f"{name}_sum" for name in names), where, scale),
        Metric(tuple(f"{name}_count" for name in names), where),
    )


DIALECTS: Final[dict[str, Dialect]] = {
    "vllm": Dialect(
        running=_of("vllm:num_requests_running"),
        waiting=_of("vllm:num_requests_waiting"),
        kv_usage=_of("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        prompt_tokens=_of("vllm:prompt_tokens_total", "vllm:prompt_tokens"),
        cached_tokens=_of("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
        generation_tokens=_of("vllm:generation_tokens_total", "vllm:generation_tokens"),
        preemptions=_of("vllm:num_preemptions_total", "vllm:num_preemptions"),
        queue=_histogram("vllm:request_queue_time_seconds", "vllm:time_in_queue_requests"),
        prefill=_histogram("vllm:request_prefill_time_seconds"),
        decode=_histogram("vllm:request_decode_time_seconds"),
        first_token=_histogram("vllm:time_to_first_token_seconds"),
        inter_token=_histogram("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
        whole=_histogram("vllm:e2e_request_latency_seconds"),
    ),
    "sglang": Dialect(
        running=_of("sglang:num_running_reqs"),
        waiting=_of("sglang:num_queue_reqs"),
        kv_usage=_of("sglang:token_usage"),
        capacity=_of("sglang:max_total_num_tokens"),
        prompt_tokens=_of("sglang:prompt_tokens_total"),
        cached_tokens=_of("sglang:cached_tokens_total"),
        generation_tokens=_of("sglang:generation_tokens_total"),
        preemptions=_of("sglang:num_retracted_requests_total"),
        queue=_histogram("sglang:queue_time_seconds", "sglang:request_queue_time_seconds"),
        prefill=_histogram("sglang:per_stage_req_latency_seconds", where=("stage", "prefill_forward")),
        first_token=_histogram("sglang:time_to_first_token_seconds"),
        inter_token=_histogram("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
        whole=_histogram("sglang:e2e_request_latency_seconds"),
    ),
    "tgi": Dialect(
        running=_of("tgi_batch_current_size"),
        waiting=_of("tgi_queue_size"),
        prompt_tokens=_of("tgi_request_input_length_sum"),
        generation_tokens=_of("tgi_request_generated_tokens_sum"),
        queue=_histogram("tgi_request_queue_duration"),
        # Of whole batches: what each of a batch's requests waits for.
        prefill=_histogram("tgi_batch_inference_duration", where=("method", "prefill")),
        inter_token=_histogram("tgi_request_mean_time_per_token_duration"),
        whole=_histogram("tgi_request_duration"),
        prefill_work=_of("tgi_batch_inference_duration_sum", where=("method", "prefill")),
        decode_work=_of("tgi_batch_inference_duration_sum", where=("method", "decode")),
    ),
    "llamacpp": Dialect(
        running=_of("llamacpp:requests_processing"),
        waiting=_of("llamacpp:requests_deferred"),
        kv_usage=_of("llamacpp:kv_cache_usage_ratio"),
        prompt_tokens=_of("llamacpp:prompt_tokens_total"),
        generation_tokens=_of("llamacpp:tokens_predicted_total"),
        inter_token=Histogram(
            _of("llamacpp:tokens_predicted_seconds_total"), _of("llamacpp:tokens_predicted_total")
        ),
        prefill_work=_of("llamacpp:prompt_seconds_total"),
        decode_work=_of("llamacpp:tokens_predicted_seconds_total"),
    ),
    "trtllm": Dialect(
        running=_of("trtllm_num_requests_running"),
        waiting=_of("trtllm_num_requests_waiting"),
        kv_usage=_of("trtllm_kv_cache_utilization"),
        queue=_histogram("trtllm_request_queue_time_seconds"),
        first_token=_histogram("trtllm_time_to_first_token_seconds"),
        inter_token=_histogram("trtllm_time_per_output_token_seconds"),
        whole=_histogram("trtllm_e2e_request_latency_seconds"),
    ),
    "triton": Dialect(
        running=_of("nv_trt_llm_request_metrics", where=("request_type", "scheduled")),
        waiting=_of("nv_trt_llm_request_metrics", where=("request_type", "waiting")),
        kv_usage=_of("nv_trt_llm_kv_cache_block_metrics", where=("kv_cache_block_type", "fraction")),
        queue=Histogram(
            _of("nv_inference_queue_duration_us", scale=1e-6), _of("nv_inference_request_success")
        ),
        first_token=_histogram("nv_inference_first_response_histogram_ms", scale=1e-3),
        whole=Histogram(
            _of("nv_inference_request_duration_us", scale=1e-6), _of("nv_inference_request_success")
        ),
    ),
}
"""Dialects by name, in the order in which a page is tried."""

_VLLM_CONFIG: Final = "vllm:cache_config_info"
_TRITON_PENDING: Final = "nv_inference_pending_request_count"
_TRITON_BLOCKS: Final = "nv_trt_llm_kv_cache_block_metrics"
_SIGNS: Final = {"triton": ("nv_inference_request_success", _TRITON_PENDING)}
"""What else tells a page's dialect."""


def _names() -> frozenset[str]:
    found = {_VLLM_CONFIG, _TRITON_PENDING, _TRITON_BLOCKS}
    for dialect in DIALECTS.values():
        for figure in msgspec.structs.astuple(dialect):
            for metric in (figure.sums, figure.counts) if isinstance(figure, Histogram) else (figure,):
                if metric is not None:
                    found.update(metric.names)
    return frozenset(found)


NAMES: Final = _names()
"""Every name that `reading` looks at."""


def reading(page: Page, kind: str = "auto") -> EngineReading | None:
    """What a page says; None when it is no engine's page, or not one of `kind`."""
    for name, dialect in DIALECTS.items():
        if kind in ("auto", name) and _speaks(page, name, dialect):
            return _read(page, name, dialect)
    return None


def _speaks(page: Page, name: str, dialect: Dialect) -> bool:
    both = all(
        metric is not None and _number(page, metric) is not None
        for metric in (dialect.running, dialect.waiting)
    )
    return both or any(page.get(sign) for sign in _SIGNS.get(name, ()))


def _read(page: Page, name: str, dialect: Dialect) -> EngineReading:
    found = EngineReading(
        engine=name,
        running=_number(page, dialect.running),
        waiting=_number(page, dialect.waiting),
        kv_usage=_fullest(page, dialect.kv_usage),
        capacity_tokens=_whole_number(_number(page, dialect.capacity)),
        prompt_tokens=_number(page, dialect.prompt_tokens),
        cached_tokens=_number(page, dialect.cached_tokens),
        generation_tokens=_number(page, dialect.generation_tokens),
        preemptions=_number(page, dialect.preemptions),
        queue=_total(page, dialect.queue),
        prefill=_total(page, dialect.prefill),
        decode=_total(page, dialect.decode),
        first_token=_total(page, dialect.first_token),
        inter_token=_total(page, dialect.inter_token),
        whole=_total(page, dialect.whole),
        prefill_work_s=_number(page, dialect.prefill_work),
        decode_work_s=_number(page, dialect.decode_work),
    )
    match name:
        case "vllm":
            return msgspec.structs.replace(found, capacity_tokens=_vllm_capacity(page))
        case "triton":
            return _triton(page, found)
        case _:
            return found


def _vllm_capacity(page: Page) -> int | None:
    tokens = 0.0
    for sample in page.get(_VLLM_CONFIG):
        blocks, size = (sample.labels.get(label, "") for label in ("num_gpu_blocks", "block_size"))
        if blocks.isdecimal() and size.isdecimal() and len(blocks) + len(size) < 16:
            tokens += int(blocks) * int(size)
    return _whole_number(tokens)


def _triton(page: Page, found: EngineReading) -> EngineReading:
    """Its queue without TensorRT-LLM is what is pending; the cache's use may have to be made from blocks."""
    waiting, usage = found.waiting, found.kv_usage
    if waiting is None:
        waiting = page.total(_TRITON_PENDING)

    def blocks(kind: str) -> list[float]:
        return page.values(_TRITON_BLOCKS, ("kv_cache_block_type", kind))

    most = sum(blocks("max"))
    if usage is None and most > 0:
        usage = min(sum(blocks("used")) / most, 1.0)
    return msgspec.structs.replace(
        found,
        waiting=waiting,
        kv_usage=usage,
        capacity_tokens=_whole_number(most * max(blocks("tokens_per"), default=0.0)),
    )


def _number(page: Page, metric: Metric | None) -> float | None:
    if metric is None:
        return None
    value = page.total(*metric.names, where=metric.where)
    return value * metric.scale if value is not None and value < _MOST else None


def _fullest(page: Page, metric: Metric | None) -> float | None:
    """The largest of some parts of a whole; None when there is none, or none that makes sense."""
    if metric is None:
        return None
    for name in metric.names:
        values = [value for value in page.values(name, metric.where) if value < _MOST]
        if values:
            return min(max(values), 1.0)
    return None


def _total(page: Page, histogram: Histogram | None) -> Total | None:
    if histogram is None:
        return None
    for sums, counts in zip(histogram.sums.names, histogram.counts.names, strict=True):
        seconds, count = (
            page.total(sums, where=histogram.sums.where),
            page.total(counts, where=histogram.counts.where),
        )
        if seconds is not None and count is not None and seconds < _MOST and count < _MOST:
            return Total(seconds * histogram.sums.scale, count)
    return None


def _whole_number(value: float | None) -> int | None:
    return int(value) if value is not None and 0 < value < math.inf and value < _MOST else None

"""The engine's metrics in vLLM's names and in the Prometheus text format.

Labels are the engine's own model name and engine number, so the number of
series is fixed. Nothing is read from a clock: durations come from `Progress`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from fairlead.simulate.engine import Engine, Progress, Step

_TTFT: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_ITL: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_LATENCY: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
)  # fmt: skip
_STEP_TOKENS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_CHOICES: Final = (1, 2, 5, 10, 20)
_FINISHED: Final = ("stop", "length", "abort", "error")


def _lengths(longest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50, ... up to the longest context."""
    bounds: list[float] = []
    scale = 1
    while True:
        for factor in (1, 2, 5):
            if factor * scale > longest:
                return tuple(bounds) or (1.0,)
            bounds.append(factor * scale)
        scale *= 10


def _format(value: float) -> str:
    return repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Histogram:
    """Counts over fixed upper bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """What an engine has done; `render` is the body of /metrics."""

    def __init__(self, model: str, engine: Engine) -> None:
        self._engine = engine
        self._labels = f'engine="0",model_name="{_escape(model)}"'
        self._success = dict.fromkeys(_FINISHED, 0)
        lengths = _lengths(engine.context_tokens)
        self._histograms: dict[str, tuple[str, Histogram]] = {
            name: (text, Histogram(bounds))
            for name, text, bounds in (
                ("iteration_tokens_total", "Histogram of number of tokens per engine_step.", _STEP_TOKENS),
                ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", _TTFT),
                ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", _ITL),
                ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", _LATENCY),
                ("request_queue_time_seconds", "Histogram of time spent in WAITING phase.", _LATENCY),
                ("request_inference_time_seconds", "Histogram of time spent in RUNNING phase.", _LATENCY),
                ("request_prefill_time_seconds", "Histogram of time spent in PREFILL phase.", _LATENCY),
                ("request_decode_time_seconds", "Histogram of time spent in DECODE phase.", _LATENCY),
                ("request_prompt_tokens", "Number of prefill tokens processed.", lengths),
                ("request_generation_tokens", "Number of generation tokens processed.", lengths),
                ("request_max_num_generation_tokens", "Maximum requested generation tokens.", lengths),
                ("request_params_n", "Histogram of the n request parameter.", _CHOICES),
                ("request_params_max_tokens", "Histogram of the max_tokens request parameter.", lengths),
            )
        }

    def _observe(self, name: str, value: float) -> None:
        self._histograms[name][1].observe(value)

    def asked(self, choices: int, max_tokens: int | None) -> None:
        """A request came in."""
        self._observe("request_params_n", choices)
        if max_tokens is not None:
            self._observe("request_params_max_tokens", max_tokens)

    def stepped(self, step: Step) -> None:
        self._observe("iteration_tokens_total", step.prefill_tokens + len(step.produced))

    def token(self, progress: Progress, gap_s: float) -> None:
        """A sequence got a token, `gap_s` after its last one (or after it arrived, for the first)."""
        first = progress.produced == 1
        self._observe("time_to_first_token_seconds" if first else "inter_token_latency_seconds", gap_s)

    def ended(self, progress: Progress, reason: str) -> None:
        """A sequence ended: `stop`, `length`, `abort` or `error`."""
        self._success[reason] += 1
        request = progress.request
        ended = progress.ended_at if progress.ended_at is not None else progress.arrived_at
        scheduled = progress.scheduled_at if progress.scheduled_at is not None else ended
        first = progress.first_token_at if progress.first_token_at is not None else ended
        self._observe("e2e_request_latency_seconds", ended - progress.arrived_at)
        self._observe("request_queue_time_seconds", scheduled - progress.arrived_at)
        self._observe("request_inference_time_seconds", ended - scheduled)
        self._observe("request_prefill_time_seconds", first - scheduled)
        self._observe("request_decode_time_seconds", ended - first)
        self._observe("request_prompt_tokens", request.prompt_tokens)
        self._observe("request_generation_tokens", progress.produced)
        self._observe("request_max_num_generation_tokens", request.output_tokens)

    def render(self) -> bytes:
        lines = [*self._gauges(), *self._counters()]
        for name, (text, histogram) in self._histograms.items():
            lines += self._histogram(f"vllm:{name}", text, histogram)
        return ("\n".join(lines) + "\n").encode()

    def _series(self, name: str, kind: str, text: str, value: float) -> Iterator[str]:
        yield f"# HELP vllm:{name} {text}"
        yield f"# TYPE vllm:{name} {kind}"
        yield f"vllm:{name}{{{self._labels}}} {_format(value)}"

    def _gauges(self) -> Iterator[str]:
        engine = self._engine
        for name, text, value in (
            ("num_requests_running", "Number of requests in model execution batches.", engine.running),
            ("num_requests_waiting", "Number of requests waiting to be processed.", engine.waiting),
            ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", engine.kv_usage),
        ):
            yield from self._series(name, "gauge", text, value)
        yield "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig"
        yield "# TYPE vllm:cache_config_info gauge"
        limits = engine.limits
        yield (
            f'vllm:cache_config_info{{block_size="{limits.block_tokens}",'
            f'enable_prefix_caching="{limits.prefix_cache}",num_gpu_blocks="{engine.kv.capacity}",'
            f"{self._labels}}} 1.0"
        )

    def _counters(self) -> Iterator[str]:
        counters = self._engine.counters
        for name, text, value in (
            (
                "num_preemptions_total",
                "Cumulative number of preemption from the engine.",
                counters.preemptions,
            ),
            (
                "prefix_cache_queries_total",
                "Prefix cache queries, in terms of number of queried tokens.",
                counters.prefix_queries,
            ),
            (
                "prefix_cache_hits_total",
                "Prefix cache hits, in terms of number of cached tokens.",
                counters.prefix_hits,
            ),
            ("prompt_tokens_total", "Number of prefill tokens processed.", counters.prompt_tokens),
            ("generation_tokens_total", "Number of generation tokens processed.", counters.generation_tokens),
        ):
            yield from self._series(name, "counter", text, value)
        yield "# HELP vllm:request_success_total Count of successfully processed requests."
        yield "# TYPE vllm:request_success_total counter"
        for reason, count in self._success.items():
            labels = self._labels.replace(",", f',finished_reason="{reason}",', 1)
            yield f"vllm:request_success_total{{{labels}}} {_format(count)}"

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Iterator[str]:
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} histogram"
        running = 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            running += count
            le = "+Inf" if bound == float("inf") else _format(bound)
            yield f'{name}_bucket{{{self._labels},le="{le}"}} {_format(running)}'
        yield f"{name}_sum{{{self._labels}}} {_format(histogram.total)}"
        yield f"{name}_count{{{self._labels}}} {_format(running)}"

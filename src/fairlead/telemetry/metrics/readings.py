"""Metrics whose values others keep: read when somebody asks for the metrics.

`Metrics` counts what records tell. Requests in flight, breaker states, the
decisions of limits and the like are kept where they are used; the application
reads them and hands them over as `Reading`s. Names and labels are a contract
with dashboards and alerts, as those of `prometheus` are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from fairlead.telemetry.metrics.samples import Family, Merge, Series


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it is now. `name` is one of `GAUGES` or `COUNTERS`, `labels` its label values in order."""

    name: str
    value: float | int
    labels: tuple[str, ...] = ()


_GPU: Final = ("gpu", "mig_id", "mig_profile", "model", "node", "namespace", "pod")

GAUGES: Final[dict[str, tuple[str, tuple[str, ...], Merge]]] = {
    "fairlead_in_flight": ("Requests under way.", (), "sum"),
    "fairlead_breaker_state": (
        "Circuit breaker of a target: 0 closed, 1 half-open, 2 open; the worst of all workers.",
        ("target",),
        "max",
    ),
    "fairlead_queue_waiting": ("Requests that wait for a place at a target.", ("target",), "sum"),
    "fairlead_queue_in_flight": ("Requests that have a place at a target.", ("target",), "sum"),
    "fairlead_queue_in_flight_tokens": ("Their estimated tokens.", ("target",), "sum"),
    "fairlead_window_requests": ("Requests that a target may have in flight.", ("target",), "sum"),
    "fairlead_window_tokens": ("Estimated tokens that a target may have in flight.", ("target",), "sum"),
    "fairlead_retry_budget_remaining": ("Retries that may be made at once, all workers.", (), "sum"),
    "fairlead_connections": ("Open client connections.", (), "sum"),
    "fairlead_cache_memory_bytes": ("Memory that kept answers take.", (), "sum"),
    "fairlead_cache_memory_max_bytes": ("Memory that kept answers may take.", (), "sum"),
    "fairlead_cache_memory_entries": ("Answers kept in memory.", (), "sum"),
    "fairlead_cache_false_hit_upper95": (
        "Upper bound, with 95 % confidence at any time, of the rate at which the semantic cache is wrong; "
        "1 while nothing is known; the worst of all workers.",
        ("model",),
        "max",
    ),
    "fairlead_cache_semantic_off": (
        "1 where the semantic cache has switched itself off because too much was wrong.",
        ("model",),
        "max",
    ),
    "fairlead_cache_semantic_serving": (
        "Workers whose semantic cache serves all that its bound allows.",
        ("model",),
        "sum",
    ),
    "fairlead_cache_semantic_bytes": ("Memory that questions and their vectors take.", (), "sum"),
    "fairlead_cache_semantic_max_bytes": ("Memory that questions and their vectors may take.", (), "sum"),
    "fairlead_cache_semantic_entries": ("Questions that can be found by others.", (), "sum"),
    "fairlead_recorder_pending": ("Records waiting to be written.", (), "sum"),
    "fairlead_limit_warning": (
        "The fraction of a limit (`warn_at`) that was reached in its present window.",
        ("limit",),
        "max",
    ),
    "fairlead_budget_used_usd": ("What a budget's window has used, as last seen.", ("limit",), "max"),
    "fairlead_budget_usd": ("The amount of a budget.", ("limit",), "max"),
    "fairlead_alerts": (
        "Alerts that are `pending` or `firing`, on the gateway that evaluates them.",
        ("state", "severity"),
        "max",
    ),
    "fairlead_otel_queued": ("Spans and events that wait for the collector.", ("signal",), "sum"),
    "fairlead_engine_running": ("Requests in an engine's batch, as it says itself.", ("target",), "max"),
    "fairlead_engine_waiting": ("Requests in an engine's own queue.", ("target",), "max"),
    "fairlead_engine_kv_usage_ratio": ("Used part of an engine's KV cache.", ("target",), "max"),
    "fairlead_engine_prompt_tokens": ("Prompt tokens since the engine started.", ("target",), "max"),
    "fairlead_engine_generation_tokens": ("Output tokens since the engine started.", ("target",), "max"),
    "fairlead_engine_preemptions": (
        "Requests put out of the batch for want of memory since the engine started.",
        ("target",),
        "max",
    ),
    "fairlead_engine_mean_seconds": (
        "Means of the engine's histograms over the requests that ended lately: `queue`, `prefill`, `decode`, "
        "`first_token`, `inter_token`.",
        ("target", "phase"),
        "max",
    ),
    "fairlead_gpu_utilization_ratio": ("Part of the time in which any kernel ran.", _GPU, "max"),
    "fairlead_gpu_engine_active_ratio": ("Part of the time in which the graphics engine ran.", _GPU, "max"),
    "fairlead_gpu_sm_active_ratio": ("Part of the cycles in which a multiprocessor had work.", _GPU, "max"),
    "fairlead_gpu_tensor_active_ratio": ("Part of the cycles in which the tensor cores ran.", _GPU, "max"),
    "fairlead_gpu_memory_active_ratio": ("Part of the cycles in which the memory was busy.", _GPU, "max"),
    "fairlead_gpu_memory_used_bytes": ("Memory in use.", _GPU, "max"),
    "fairlead_gpu_memory_free_bytes": ("Memory that is free.", _GPU, "max"),
    "fairlead_gpu_power_watts": ("Power drawn.", _GPU, "max"),
    "fairlead_gpu_energy_joules": ("Energy since the driver was loaded.", _GPU, "max"),
    "fairlead_gpu_temperature_celsius": ("Temperature.", _GPU, "max"),
    "fairlead_gpu_xid": ("The last error the driver reported; 0 for none.", _GPU, "max"),
    "fairlead_drift_p_value": (
        "How likely a window as different as the last one is while nothing changes: of what users say "
        "(`prompt`), what models say (`answer`), or how often answers are refused, cut and the like "
        "(`behaviour`).",
        ("signal", "model"),
        "max",
    ),
    "fairlead_drift_score": (
        "The last window's evidence of a change; an alarm within the stated budget from 1.",
        ("signal", "model"),
        "max",
    ),
    "fairlead_drift_compared_at_seconds": (
        "When the last window was compared, in Unix seconds.",
        ("signal", "model"),
        "max",
    ),
    "fairlead_signals_waiting": ("Sampled requests that wait to be looked at.", (), "sum"),
}
"""Help text, label names and how workers' values combine, by name."""

COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "fairlead_limit_decisions_total": (
        "What limits decided apart from plain admission: `refused`, `shadowed` (would have been), "
        "`unpriced` (no budget counts it), `unavailable` or `bounded` (without the shared store).",
        ("tenant", "what", "outcome"),
    ),
    "fairlead_cache_hits_total": (
        "Answers given again: from `memory`, `disk` or `redis`, `semantic`, or `stale` in an outage.",
        ("tier", "tenant", "model"),
    ),
    "fairlead_cache_misses_total": (
        "Requests whose answer was looked for and not found.",
        ("tenant", "model"),
    ),
    "fairlead_cache_bypassed_total": (
        "Requests that were neither looked up nor kept, and why.",
        ("model", "reason"),
    ),
    "fairlead_cache_stored_total": ("Answers that were kept.", ("tenant", "model")),
    "fairlead_cache_unstored_total": ("Answers that were not kept, and why.", ("model", "reason")),
    "fairlead_cache_saved_tokens_total": (
        "Tokens of answers given again: `input` and `output`.",
        ("type", "tenant", "model"),
    ),
    "fairlead_cache_saved_usd_total": (
        "What answers given again cost when a model gave them, where that is known.",
        ("tenant", "model"),
    ),
    "fairlead_cache_saved_gpu_seconds_total": (
        "GPU time of answers given again when a model gave them, where that is known.",
        ("tenant", "model"),
    ),
    "fairlead_cache_trouble_total": (
        "Failures of the stores behind the memory: `get`, `put`, `purge`, `open`, `slow`, `damaged`, "
        "`dropped`.",
        ("tier", "kind"),
    ),
    "fairlead_cache_semantic_decisions_total": (
        "What the semantic cache made of questions: `served`, `unsure`, `guarded` (differs in substance), "
        "`none` (nothing near), or why they were not compared.",
        ("model", "outcome"),
    ),
    "fairlead_cache_verified_total": (
        "Answers of the semantic cache that were compared with fresh ones: `same`, `different`.",
        ("model", "verdict"),
    ),
    "fairlead_cache_audits_total": (
        "Hits of the semantic cache that were to be asked again: `asked`, `failed`, `unaffordable`, `busy`.",
        ("model", "outcome"),
    ),
    "fairlead_cache_semantic_evicted_total": ("Questions that made room for others in memory.", ()),
    "fairlead_otel_exported_total": (
        "Spans (`traces`), events (`logs`) and exports of all `metrics` that the OpenTelemetry collector has "
        "taken.",
        ("signal",),
    ),
    "fairlead_otel_dropped_total": (
        "Spans and events that made room for newer ones or could not be sent.",
        ("signal",),
    ),
    "fairlead_otel_rejected_total": (
        "Spans, events and data points that the collector did not take, of requests that it did.",
        ("signal",),
    ),
    "fairlead_otel_failures_total": (
        "Requests to the OpenTelemetry collector that were refused or not answered.",
        ("signal",),
    ),
    "fairlead_alert_notifications_total": (
        "Notifications by receiver: `sent`, `failed` (an attempt), `dead` (given up).",
        ("receiver", "outcome"),
    ),
    "fairlead_alert_trouble_total": (
        "Turns of alerts that failed: `storage`, `defect`; `evidence`: told without examples.",
        ("kind",),
    ),
    "fairlead_cache_evicted_total": ("Answers that made room for others in memory.", ()),
    "fairlead_scrapes_total": (
        "Looks at the metrics of engines and GPUs: `ok`, `status` (not 200), `failed`, or `unknown` (no "
        "metrics that are known).",
        ("endpoint", "outcome"),
    ),
    "fairlead_scrape_bad_lines_total": ("Lines of such metrics that could not be read.", ("endpoint",)),
    "fairlead_gpu_cost_usd_total": ("What GPUs have cost, `used` and `idle`.", ("pool", "kind")),
    "fairlead_signals_sampled_total": (
        "Sampled requests: `measured`, or not because of `rate`, `large`, `dropped`, `unreadable`, `failed`.",
        ("outcome", "model"),
    ),
    "fairlead_refusals_total": (
        "Answers that decline, by how: `field` (the provider says so), `inability`, `unwillingness`, "
        "`policy`. Of the sample; for changes, as levels differ by model.",
        ("kind", "model"),
    ),
    "fairlead_answers_truncated_total": ("Sampled answers that ended at their longest length.", ("model",)),
    "fairlead_answers_degenerate_total": ("Sampled answers that repeat themselves.", ("model",)),
    "fairlead_answers_validity_total": (
        "Sampled answers that had to be JSON (`format`), and arguments of tools (`tool_call`): `valid`, "
        "`invalid`, `unparsable`, `unknown_tool`, `unchecked`.",
        ("what", "verdict", "model"),
    ),
    "fairlead_answers_language_total": (
        "Sampled answers by whether they are in the language of the question: `match`, `mismatch`, "
        "`undecided`.",
        ("verdict", "model"),
    ),
    "fairlead_grounding_answers_total": ("Sampled answers that were given a context.", ("model",)),
    "fairlead_grounding_score_total": (
        "Sum of the shares of their content words that the context has.",
        ("model",),
    ),
    "fairlead_consistency_questions_total": (
        "Questions chosen to be asked again: `measured`, or not because of `spent`, `unpriced`, `stateful`, "
        "`busy`, `failed`.",
        ("outcome", "model"),
    ),
    "fairlead_consistency_score_total": (
        "Sum of the shares of answers in the largest group of like ones, of those measured.",
        ("model",),
    ),
    "fairlead_consistency_usd_total": ("What asking again cost.", ("model",)),
    "fairlead_signals_items_total": (
        "Vectors and marks kept to be compared later on, `kept` or `lost`.",
        ("outcome",),
    ),
}
"""Help text and label names by name. Workers' values are added."""


def families_of(readings: Iterable[Reading]) -> Iterator[Family]:
    """The readings as families, each with all of its series.

    Raises:
        KeyError: for a name that is neither in `GAUGES` nor in `COUNTERS`.
    """
    series: dict[str, list[Series]] = {}
    for reading in readings:
        series.setdefault(reading.name, []).append(Series(labels=reading.labels, value=reading.value))
    for name, values in series.items():
        if name in COUNTERS:
            text, labels = COUNTERS[name]
            yield Family(name=name, kind="counter", help=text, labels=labels, series=tuple(values))
        else:
            text, labels, how = GAUGES[name]
            yield Family(name=name, kind="gauge", help=text, labels=labels, series=tuple(values), merge=how)

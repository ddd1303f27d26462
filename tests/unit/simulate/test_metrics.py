"""vLLM's metric names in the Prometheus text format."""

from prometheus_client.parser import text_string_to_metric_families

from fairlead.simulate.engine import Engine, Latency, Limits, Request
from fairlead.simulate.metrics import Metrics


def test_the_exposition_parses_and_tells_what_happened() -> None:
    engine = Engine(Latency(base_s=1.0, per_sequence_s=0.0, per_prefill_token_s=0.0), Limits())
    metrics = Metrics('odd "name"\\', engine)
    metrics.asked(1, 3)
    progress = engine.submit(Request(id=1, prompt_tokens=20, output_tokens=3), now=0.0)
    last = 0.0
    while (due := engine.due_at) is not None:
        step = engine.advance(due)
        assert step is not None
        metrics.stepped(step)
        metrics.token(progress, step.ended_at - last)
        last = step.ended_at
    metrics.ended(progress, "stop")
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    samples = {
        (sample.name, sample.labels.get("finished_reason"), sample.labels.get("le")): sample
        for family in families.values()
        for sample in family.samples
    }
    assert all(sample.labels["model_name"] == 'odd "name"\\' for sample in samples.values())
    assert all(sample.labels["engine"] == "0" for sample in samples.values())

    def value(name: str, reason: str | None = None, le: str | None = None) -> float:
        return samples[f"vllm:{name}", reason, le].value

    assert value("num_requests_running") == 0
    assert value("kv_cache_usage_perc") == 0
    assert value("prompt_tokens_total") == 20
    assert value("generation_tokens_total") == 3
    assert value("request_success_total", "stop") == 1
    assert value("request_success_total", "abort") == 0
    assert value("time_to_first_token_seconds_count") == 1
    assert value("time_to_first_token_seconds_bucket", le="1.0") == 1
    assert value("time_to_first_token_seconds_bucket", le="0.75") == 0
    assert value("inter_token_latency_seconds_sum") == 2.0
    assert value("e2e_request_latency_seconds_bucket", le="+Inf") == 1
    assert value("request_generation_tokens_sum") == 3
    assert families["vllm:num_preemptions"].type == "counter"
    assert families["vllm:request_queue_time_seconds"].type == "histogram"

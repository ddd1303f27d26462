"""What happens with the one `RequestRecord`: ledger, metrics and logs.

* `recorder`: takes each record at once, hands it to the sinks in batches;
* `db`: the ledger, in SQL, of `ledger_rows`; `retention` keeps it to its age;
* `rollup`: what requests add up to by minute, hour and day, in histograms (`sketch`); `rollup_db` keeps it,
  `rollup_job` brings it up to date, `percentiles` answers from it;
* `anatomy`: where a request's time went;
* `prometheus`: accumulates metrics in `cells`; `views` and `genai` (by OpenTelemetry's names, `conventions`)
  show them, `exemplars` lead to traces; `samples` is their data, `exposition` their text, `merge` their sum
  over workers, `histogram` their quantiles;
* `scrapers`: what engines and GPUs say of themselves; `gpu_cost`: what GPU time costs, shared among requests,
  with `gpu_work` (a sink), `gpu_accounts` (closes its windows), `gpu_db` (its tables) and `gpu_opened`;
* `siblings` and `scrape`: one scrape shows every worker; `process`: this one;
* `logs`: the log format, and `access` the line per request; `redact` keeps secrets
  out of both; `labels` makes names from outside safe.
* `otel`: everything for an OpenTelemetry collector. `trace_context` is what the path of a request knows
  of it; `tracing` makes `spans` of records, with `messages` where `content` was held; `otlp` encodes them,
  `otlp_names` names metrics; `lane` and `otlp_export` send to the `collector`; `events` are evaluations.
"""

"""What happens with the one `RequestRecord`: ledger, metrics, traces, costs, alerts and logs.

* `recorder`: takes each record at once, hands it to the sinks in batches;
* `anatomy`: where a request's time went;
* `ledger`: every record kept, and what they add up to by minute, hour and day;
* `metrics`: what Prometheus scrapes, of all workers in one;
* `otel`: traces, metrics and events for an OpenTelemetry collector;
* `billing`: what a request costs by a price list, and reports of it;
* `gpu`: what GPU time costs, shared among the requests it served;
* `scrapers`: what engines and GPUs say of themselves;
* `alerts`: rules over all this, and who is told;
* `logs`: the log format, and `access` the line per request; `redact` keeps secrets
  out of both; `labels` makes names from outside safe.
"""

"""What happens with the one `RequestRecord`: ledger, metrics and logs.

* `recorder`: takes each record at once, hands it to the sinks in batches;
* `db`: the ledger, in SQL; `retention` keeps it to its age;
* `prometheus`: accumulates metrics; `samples` is their data, `exposition`
  their text, `merge` their sum over workers, `histogram` their quantiles;
* `siblings` and `scrape`: one scrape shows every worker; `process`: this one;
* `logs`: the log format, and `access` the line per request; `redact` keeps secrets
  out of both; `labels` makes names from outside safe.
"""

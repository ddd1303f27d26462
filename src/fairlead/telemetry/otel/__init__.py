"""Everything for an OpenTelemetry collector.

`trace_context` is what the path of a request knows of it; `tracing` makes
`spans` of records, with `messages` where `content` was held (`redact_content`);
`otlp` encodes them, `names` are those of its metrics, `events` are evaluations.
`lane` is what waits, `export` sends it to the `collector`, `opened` joins it all.
"""

"""What a scrape shows.

`prometheus` accumulates in `cells`; `views` and `genai` (by OpenTelemetry's
names, `conventions`) show them, `readings` are values that others keep, and
`exemplars` lead to traces. `samples` is their data, `exposition` their text,
`merge` their sum over workers, `histogram` their quantiles. `siblings` and
`scrape`: one scrape shows every worker; `process`: this one.
"""

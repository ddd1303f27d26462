"""Every request, kept in SQL.

`db` writes and reads `rows`; `retention` keeps them to their age. `rollup` is
what requests add up to by minute, hour and day, in histograms (`sketch`);
`rollup_db` keeps it, `rollup_job` brings it up to date, and `percentiles`
answers from it.
"""

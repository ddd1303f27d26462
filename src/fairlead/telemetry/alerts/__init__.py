"""Alerts: rules over the metrics, their states, and telling people.

`facts` takes from the metrics what a rule needs, `source` keeps it over time,
`rules` decides what holds (with `burn`, `trend` and `budget`), `state` what
becomes of it, `grouping` and `silence` who is told. All of that is pure.
`engine` is the loop around it, `db` its state, `notify` the receivers.
`export` writes the same rules for Prometheus and Grafana.
"""

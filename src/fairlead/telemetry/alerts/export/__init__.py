"""The rules as Prometheus rules, and the metrics as Grafana dashboards. Pure: text and data out."""

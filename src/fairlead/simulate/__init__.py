"""A simulated inference engine: the upstream of demos, tests and benchmarks.

`engine`, `text`, `schema`, `embed`, `faults` and `metrics` are pure; `pump`
gives the engine a clock; `server` and the dialect modules speak HTTP.
"""

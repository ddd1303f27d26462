"""The gateway against nginx, other LLM gateways and no gateway at all, measured in one run.

One gateway process on one core; the load generator and the upstream share the
other. `python -m bench.gateway --help` says what can be chosen. The modules:
`scenarios` measures, `contestants` knows how each proxy is started and asked,
`programs` compiles and runs the C parts, `processes` reads what the kernel
knows of them, `results` makes medians and ratios, `report` tables.
"""

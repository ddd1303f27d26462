"""What telemetry costs.

python -m bench.telemetry overhead    throughput with all of it on against all of it off
python -m bench.telemetry memory      memory over many requests for models that nobody knows
"""

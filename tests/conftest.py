"""Shared by every suite."""

import os

from hypothesis import HealthCheck, settings

# No deadlines: how fast a busy machine is says nothing about the code. The same examples every time, so
# that a change is judged by itself; `thorough`, for a quiet evening, looks for others.
settings.register_profile(
    "default",
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

"""LiteLLM's client library (completion, acompletion, streams, tools) against every upstream.

It pins an older `openai`, so `make test` installs it into `.venv/litellm`; its calls are made there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.clients.conftest import UPSTREAMS
from tests.e2e.gateway import GatewayProcess

CHECKS = ("check_completion", "check_stream", "check_tools", "check_reasoning", "check_async", "check_error")
PYTHON = Path(sys.prefix) / "litellm" / "bin" / "python"


@pytest.fixture(scope="module")
def outcomes(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each check said: one process makes all calls, as the library takes seconds to import."""
    assert PYTHON.exists(), f"`make test` installs LiteLLM there: {PYTHON}"
    done = subprocess.run(
        [
            *(str(PYTHON), str(Path(__file__).with_name("litellm_calls.py"))),
            *(gateway.url, gateway.admin_key, *UPSTREAMS),
        ],
        # Its price list comes with it; nothing is fetched.
        env={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path_factory.mktemp("home")),
        },
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"way"')]
    return {f"{line['way']} {line['model']} {line['check']}": line["failure"] for line in lines}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("way", ["openai", "anthropic"])
def test_litellm(outcomes: dict[str, str], way: str, model: str, check: str) -> None:
    assert outcomes[f"{way} {model} {check}"] == ""

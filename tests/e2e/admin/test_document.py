"""The control API does what its own OpenAPI document says, whatever it is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.gateway import GatewayProcess, call

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CONFIG = """
providers:
  sim: {type: simulated}
models:
  simulated:
    targets: [{provider: sim, model: simulated, input_usd_per_mtok: 1}]
    cache: {}
alerts: {}
signals: {}
telemetry:
  gpus: {lab: {targets: [sim/simulated], usd_per_hour: 2, count: 1}}
"""
EXAMPLES = 10


@pytest.mark.timeout(180)
def test_every_answer_is_one_that_the_document_describes(
    running_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    gateway = running_gateway(CONFIG)
    body = {"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]}
    call(gateway.url + "/v1/chat/completions", method="POST", body=body, key=gateway.admin_key)
    (record,) = gateway.requests(1)
    command = [
        *(str(Path(sys.executable).with_name("st")), "--config-file", str(HERE / "schemathesis.toml")),
        *("--no-color", "run", gateway.url + "/admin/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {gateway.admin_key}"),
        # A reload does nothing but signal the process, which would read its configuration hundreds of
        # times while it is asked the rest; `test_roles.py` calls it.
        *("--exclude-path", "/admin/v1/reload"),
        *("--checks", "all", "--max-examples", str(EXAMPLES), "--generation-database", "none"),
    ]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.e2e.admin.hooks",
        "FAIRLEAD_TEST_ADMIN_ID": gateway.admin_key[3:11],
        "FAIRLEAD_TEST_REQUEST_ID": record["id"],
    }

    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=150)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed unexpectedly" not in gateway.log

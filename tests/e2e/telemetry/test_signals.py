"""Semantic metrics of a real gateway, and the process that computes them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.gateway import GatewayProcess, start_engine, start_gateway
from tests.unit.gateway.test_signal_turn import USER, chat, sampled

from fairlead.signals.lab import Lab, LabFailed
from fairlead.signals.questions import Look, Looked, Reply, Setup

COMMAND = (sys.executable, "-P", "-m", "fairlead.gateway.signal_lab")
SETUP = Setup(
    features=("refusal", "validity", "language"), context=(), secret=b"k" * 32, embedder="hashed", drift=True
)


# --- the process --------------------------------------------------------------------------------


def _look() -> bytes:
    return msgspec.msgpack.encode(Look(setup=SETUP, sampled=sampled(chat(USER))))


def _environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_the_process_answers_and_has_no_secrets_in_its_environment() -> None:
    async def main() -> None:
        lab = Lab(COMMAND, os.environ | {"OPENAI_API_KEY": "sk-secret"})
        try:
            for _ in range(2):
                answer = msgspec.msgpack.decode(await lab.ask(_look(), 60), type=Reply)
                assert isinstance(answer, Looked)
                assert answer.readable
            assert lab._process is not None
            environ = _environ(lab._process.pid)
            assert b"PATH=" in environ
            assert b"sk-secret" not in environ
        finally:
            await lab.close()

    asyncio.run(main())


def test_a_process_that_does_not_answer_is_ended_and_another_one_started() -> None:
    async def main() -> None:
        sleeps = (sys.executable, "-c", "import time; time.sleep(600)")
        now = 0.0
        lab = Lab(sleeps, os.environ, clock=lambda: now)
        with pytest.raises(LabFailed):
            await lab.ask(_look(), 0.5)
        lab._command = COMMAND
        assert await lab.ask(_look(), 60)
        # What fails again and again is left alone for a while.
        lab._command = sleeps
        await lab.close()
        for _ in range(2):
            with pytest.raises(LabFailed):
                await lab.ask(_look(), 0.2)
        began = time.monotonic()
        with pytest.raises(LabFailed, match="later"):
            await lab.ask(_look(), 60)
        assert time.monotonic() - began < 10
        now = 10.0
        lab._command = COMMAND
        assert await lab.ask(_look(), 60)
        assert lab.failed == 3
        await lab.close()

    asyncio.run(main())


def test_the_process_ends_with_its_input() -> None:
    done = subprocess.run(COMMAND, input=b"", capture_output=True, timeout=60, check=True)

    assert done.stdout == b""


# --- the gateway --------------------------------------------------------------------------------

CONFIG = """
providers: {{engine: {{type: openai-compatible, base_url: "{url}"}}}}
models:
  demo: {{targets: [{{provider: engine, model: small, input_usd_per_mtok: 1, output_usd_per_mtok: 2}}]}}
signals:
  sample: 1.0
  drift: {{keep_examples: true}}
  reasks: {{share: 1.0, usd_per_day: 0.01, times: 2}}
"""


def _ask(gateway: GatewayProcess, text: str, **more: Any) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": text}], "max_tokens": 20, **more}
    request = urllib.request.Request(
        gateway.url + "/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {gateway.admin_key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.read()


def _counted(gateway: GatewayProcess, what: str, kind: str, count: int) -> Any:
    """The view, once so many were counted."""
    deadline = time.monotonic() + 60
    while True:
        view = gateway.admin("/signals")
        counts = {(one["what"], one["kind"]): one["count"] for one in view["counts"]}
        if counts.get((what, kind), 0) >= count:
            return view
        assert time.monotonic() < deadline, counts
        time.sleep(0.2)


def test_answers_are_measured_whole_and_streamed_and_some_are_asked_again() -> None:
    with (
        start_engine("openai", "--speed", "20") as engine,
        start_gateway(CONFIG.format(url=engine.base_url)) as gateway,
    ):
        _ask(gateway, "<context>The quick brown fox jumps</context>What is quick?")
        _ask(gateway, "Tell me something", stream=True)

        view = _counted(gateway, "sampled", "measured", 2)
        assert view["enabled"]
        _counted(gateway, "asked_again", "measured", 2)
        with urllib.request.urlopen(gateway.url + "/metrics", timeout=30) as answer:
            page = answer.read().decode()
        assert 'fairlead_signals_sampled_total{outcome="measured",model="demo"} 2' in page
        assert 'fairlead_grounding_answers_total{model="demo"} 1' in page
        assert "fairlead_consistency_usd_total" in page
        # What it cost is somebody's, but no tenant's.
        assert len([one for one in gateway.requests(6) if one["tenant"] == "~signals"]) == 4
        assert gateway.stop() == 0

"""`fairlead simulate engine` as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request

import pytest

COMMAND = [sys.executable, "-m", "fairlead", "simulate", "engine", "--port", "0", "--instant"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_serves_and_ends_on_a_signal(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--model", "m"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None
        assert line.rstrip().endswith("models: m")
        with urllib.request.urlopen(found.group() + "/health", timeout=10) as response:
            assert response.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_is_a_plain_error() -> None:
    first = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        found = re.search(r":(\d+)", first.stdout.readline().split("//")[1])
        assert found is not None
        taken = [*COMMAND[:-3], "--port", found.group(1)]
        second = subprocess.run(taken, capture_output=True, text=True, timeout=20)
        assert second.returncode == 1
        assert second.stderr.startswith("fairlead: error: cannot listen on 127.0.0.1:")
    finally:
        first.kill()
        first.communicate()

"""The real engine as a process: `transformers serve`, unmodified, on a free port of 127.0.0.1.

Ends when its block ends, on `kill()`, and by itself when the test process
dies: a thread in it watches its standard input, which we hold open.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_START_S: Final = 90.0
_SERVE: Final = """
import gc, os, select, sys
from threading import Thread
from transformers.cli.transformers import main

def watch():
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        gc.collect()
    os._exit(0)

Thread(target=watch, daemon=True).start()
main()
"""
# Of the streams that clients leave, this engine forgets about one in twenty until Python's garbage collector
# finds the generator and closes it, which may be minutes later; until then it goes on generating. That is
# its own affair (the gateway has closed its connection by then), so the tests make the collector run often.


class RealEngine:
    """A server of every model of `make_models.py`; each is loaded when it is first asked for."""

    def __init__(self, home: Path) -> None:
        """Begin to start it; `wait` tells when it serves. `home` is what scripts/prepare_engine.py made."""
        self._scratch = tempfile.TemporaryDirectory(prefix="fairlead-engine-")
        scratch = Path(self._scratch.name)
        (scratch / "hub").mkdir()  # without one, the engine answers /v1/models with 500
        self._log_file = scratch / "log"
        self._begun = time.monotonic()
        self.url = ""
        """Without a path."""
        with self._log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(str(home / "bin" / "python"), "-c", _SERVE, "serve"),
                    *("--host", "127.0.0.1", "--port", "0", "--device", "cpu"),
                ],
                cwd=home / "models",  # a model is asked for by the name of its directory
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(scratch),
                    "HF_HOME": str(scratch),
                    "HF_HUB_OFFLINE": "1",
                    "TRANSFORMERS_OFFLINE": "1",
                    "OMP_NUM_THREADS": "1",  # for matrices this small, more threads only wait for each other
                },
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._scratch.cleanup()

    @property
    def base_url(self) -> str:
        """What belongs into `providers.NAME.base_url`."""
        return self.url + "/v1"

    @property
    def log(self) -> str:
        """What it has written so far: a line for each request, and its tracebacks."""
        return self._log_file.read_text(errors="replace")

    def wait(self) -> Self:
        """Return once it serves.

        Raises:
            AssertionError: it did not start; its log is the message.
        """
        while not self.url:
            found = re.search(r"Uvicorn running on (http://127\.0\.0\.1:\d+)", self.log)
            if found is not None:
                self.url = found.group(1)
                return self
            late = time.monotonic() - self._begun > _START_S
            if late or self.process.poll() is not None:
                raise AssertionError(f"the engine did not start:\n{self.log}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """End it at once, as a crash would: every connection is cut."""
        self.process.kill()
        self.process.wait()

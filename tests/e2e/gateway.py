"""Gateways and engines as processes, for every test that needs real ones.

    with start_engine("anthropic") as engine, start_gateway(config, environ={...}) as gateway:
        ...  # gateway.url, gateway.admin_key, gateway.key(...); engine.url, engine.fault("cut;after=3")

Both are the command itself on a free port of 127.0.0.1, with a directory of
their own that goes with them. They end when their block ends, on `stop()`,
and by themselves when the test process dies: they hold the reading end of a
pipe of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

Dialect = Literal["openai", "anthropic", "gemini", "bedrock"]

_START_S = 30.0
_STOP_S = 15.0
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "PYTHONPATH", "TMPDIR")


class Running:
    """A child process that says on its first lines where it serves."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        last_line: str,
        environ: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Start it and wait until it has said so.

        Args:
            words: what follows `fairlead`; `{dir}` stands for the process's own directory.
            last_line: a pattern of the line after which it serves.
            environ: more environment variables; of ours only the harmless ones are handed on.
            files: texts to write into its directory first, by name.

        Raises:
            AssertionError: it did not start; its log is the message.
        """
        self._directory = tempfile.TemporaryDirectory(prefix="fairlead-e2e-")
        self.directory = Path(self._directory.name)
        self.log_file = self.directory / "log"
        for name, text in (files or {}).items():
            (self.directory / name).write_text(text, encoding="utf-8")
        ours, theirs = os.pipe()  # roles as in a pipe: they read `ours`, we hold `theirs` open
        self._alive_fd = theirs
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "fairlead"),
                    *(word.replace("{dir}", str(self.directory)) for word in words),
                    *("--parent-fd", str(ours)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**kept, **(environ or {})},
                pass_fds=(ours,),
                start_new_session=True,
            )
        os.close(ours)
        try:
            self.said = self._read_until(last_line)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What it has written to its standard error so far."""
        return self.log_file.read_text(errors="replace")

    def stop(self) -> int:
        """End it as an operator would, by force when that takes too long; returns its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._alive_fd >= 0:
            os.close(self._alive_fd)
            self._alive_fd = -1
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._directory.cleanup()
        return self.process.returncode

    def _read_until(self, pattern: str) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + _START_S
        fd, said = self.process.stdout.fileno(), b""
        poll = select.poll()  # `select` knows no descriptor above 1023
        poll.register(fd, select.POLLIN)
        while not re.search(pattern, said.decode(errors="replace")):
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            piece = os.read(fd, 65536) if ready else b""
            if not piece:
                raise AssertionError(f"`fairlead` did not start:\n{said.decode()}\n{self.log}")
            said += piece
        return said.decode()


class GatewayProcess(Running):
    """`fairlead serve` with a configuration and state of its own."""

    def __init__(
        self, config: str, *, options: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            config: the text of its `fairlead.yaml`.
            options: more options of `fairlead serve`.
            environ: variables that the configuration refers to.
        """
        super().__init__(
            ["serve", "--config", "{dir}/fairlead.yaml", "--state", "{dir}/state", "--port", "0", *options],
            last_line="try it .*\n",
            environ=environ,
            files={"fairlead.yaml": config},
        )
        found = re.search(r"serves (https?)://127\.0\.0\.1:(\d+)/v1", self.said)
        key = re.search(r"API key +(\S+) +\(shown this once", self.said)
        assert found is not None, self.said
        self.config_file = self.directory / "fairlead.yaml"
        self.port = int(found.group(2))
        self.url = f"{found.group(1)}://127.0.0.1:{self.port}"
        """Without `/v1`."""
        self.admin_key = key.group(1) if key is not None else ""
        """May do everything, the control API included; empty when no key is required."""

    def key(self, *options: str) -> str:
        """Make another key with the options of `fairlead keys create`; it is valid on return."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "fairlead", "keys", "create", "--name", "test", *options),
                *("--state", str(self.directory / "state")),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        secret = done.stdout.strip()
        deadline = time.monotonic() + 5
        while self._is_refused(secret):
            assert time.monotonic() < deadline, "the new key was not taken up"
            time.sleep(0.02)
        return secret

    def admin(self, path: str, *, method: str = "GET", body: object = None) -> Any:
        """Call the control API: `path` is what follows `/admin/v1`."""
        return call(self.url + "/admin/v1" + path, method=method, body=body, key=self.admin_key)

    def requests(self, count: int, *, timeout_s: float = 5.0, **query: str) -> list[dict[str, Any]]:
        """The ledger's latest records, newest first, once there are at least `count`."""
        deadline = time.monotonic() + timeout_s
        words = "&".join(f"{name}={value}" for name, value in {"limit": "100", **query}.items())
        while True:
            found: list[dict[str, Any]] = self.admin(f"/requests?{words}")["data"]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} records, not {count}"
            time.sleep(0.02)

    def record(self, request_id: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """The ledger's record of one request, attempts included, as soon as it is there."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found: dict[str, Any] = self.admin(f"/requests/{request_id}")["data"]
                return found
            except urllib.error.HTTPError as error:
                if error.code != 404 or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _is_refused(self, secret: str) -> bool:
        try:
            call(self.url + "/v1/models", key=secret)
        except urllib.error.HTTPError as error:
            return error.code == 401
        return False


class EngineProcess(Running):
    """`fairlead simulate engine`."""

    def __init__(self, dialect: Dialect, *options: str, environ: Mapping[str, str] | None = None) -> None:
        """Start it with more options of the command; without `--speed` or the like it is `--instant`."""
        timing = () if any(word in ("--speed", "--step-ms") for word in options) else ("--instant",)
        model = () if "--model" in options else ("--model", "*")
        words = ["simulate", "engine", "--port", "0", "--control-port", "0", "--dialect", dialect]
        super().__init__([*words, *timing, *model, *options], last_line="models: .*\n", environ=environ)
        urls: list[str] = re.findall(r"http://127\.0\.0\.1:\d+", self.said)
        assert len(urls) == 2, self.said
        self.dialect = dialect
        self.url, self.control_url = urls
        """Without a path; the second is reached whatever the faults."""

    @property
    def base_url(self) -> str:
        """What belongs into `providers.NAME.base_url`."""
        paths: dict[str, str] = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "bedrock": ""}
        return self.url + paths[self.dialect]

    def fault(self, text: str) -> None:
        """Set a fault, as `docs/simulate.md` writes it."""
        call(self.control_url + "/simulate/fault", method="POST", body={"fault": text})

    def mend(self) -> None:
        """Remove every fault."""
        call(self.control_url + "/simulate/fault", method="DELETE")

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(self.control_url + "/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if re.match(re.escape(name) + r"[{ ]", line)
        )


def start_gateway(
    config: str, *, options: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> GatewayProcess:
    """A running gateway; see `GatewayProcess`. Use it in `with`, or call `stop()`."""
    return GatewayProcess(config, options=options, environ=environ)


def start_engine(
    dialect: Dialect = "openai", *options: str, environ: Mapping[str, str] | None = None
) -> EngineProcess:
    """A running engine; see `EngineProcess`. Use it in `with`, or call `stop()`."""
    return EngineProcess(dialect, *options, environ=environ)


def call(
    url: str, *, method: str = "GET", body: object = None, key: str = "", timeout_s: float = 10.0
) -> Any:
    """One plain JSON call. Raises urllib.error.HTTPError for a status that is not 2xx."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    if data is not None:
        request.add_header("content-type", "application/json")
    if key:
        request.add_header("authorization", f"Bearer {key}")
    with contextlib.closing(urllib.request.urlopen(request, timeout=timeout_s)) as response:
        text = response.read()
    return json.loads(text) if text else None

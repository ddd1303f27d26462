"""The C programs of the benchmark: compiled when needed, run, read.

Both are small, single-threaded and on one core, together with each other; in
front of `direct` they show how far they are from being the bottleneck. wrk can
stand in for the load generator, as a check of it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from bench.gateway.processes import LOAD_CPU, Pinned

SOURCES: Final = Path(__file__).resolve().parent
CACHE: Final = SOURCES.parent / ".cache"

_UNITS: Final = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


class BenchError(Exception):
    """Something that the benchmark needs is missing, or a contestant does not work."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of the load generator saw."""

    seconds: float
    """Length of the window in which answers were counted."""
    requests: int
    """Good answers in the window."""
    total: int
    """All answers, the warm-up's and bad ones included."""
    errors: int
    samples: int = 0
    p50_us: float = 0.0
    p90_us: float = 0.0
    p99_us: float = 0.0
    p999_us: float = 0.0
    max_us: float = 0.0


def compiled(name: str) -> Path:
    """Compile `name`.c, unless this very source has been compiled before."""
    source = SOURCES / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = CACHE / "bin" / f"{name}-{digest}"
    if not program.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            raise BenchError("no C compiler: `cc` is not in PATH")
        program.parent.mkdir(parents=True, exist_ok=True)
        draft = program.with_suffix(".new")
        subprocess.run([compiler, "-O2", "-o", draft, source], check=True)
        draft.rename(program)
    return program


class Upstream(Pinned):
    """The fast fake upstream."""

    def __init__(self, *, tokens: int, tokens_per_s: float) -> None:
        """Start it.

        Args:
            tokens: of each paced stream.
            tokens_per_s: of each paced stream.
        """
        command = [str(compiled("upstream")), str(tokens), str(tokens_per_s)]
        super().__init__(command, frozenset((LOAD_CPU,)), stdin=subprocess.PIPE)
        port = self.line(10.0)
        if not port:
            self.stop()
            raise BenchError("the upstream did not start")
        self.port = int(port)


class Generator:
    """Runs the load generator on given cores."""

    def __init__(self, directory: Path, *, wrk: bool = False) -> None:
        """Prepare to run.

        Args:
            directory: for the files that say what to send.
            wrk: have wrk do what it can: closed loops that are limited by time.
        """
        self._directory = directory
        self._wrk = wrk

    def closed(
        self,
        port: int,
        request: bytes,
        connections: int,
        *,
        warmup_s: float,
        seconds: float,
        count: int = 0,
        cpus: frozenset[int] = frozenset((LOAD_CPU,)),
    ) -> Load:
        """Ask as fast as answers come, for `seconds` or, when `count` is given, so many times."""
        if self._wrk and not count:
            return self._by_wrk(port, request, connections, warmup_s + seconds, cpus)
        limits = [str(warmup_s), str(seconds), str(count)]
        patience_s = 900.0 if count else warmup_s + seconds + 30.0
        return self._run("closed", port, request, connections, limits, cpus, patience_s)

    def paced(self, port: int, request: bytes, connections: int, *, ramp_s: float, seconds: float) -> Load:
        """Open `connections` slow streams within `ramp_s`; the figures are of events' delays."""
        limits = [str(ramp_s), str(seconds)]
        cpus = frozenset((LOAD_CPU,))
        return self._run("paced", port, request, connections, limits, cpus, ramp_s + seconds + 30.0)

    def _run(
        self,
        mode: str,
        port: int,
        request: bytes,
        connections: int,
        limits: list[str],
        cpus: frozenset[int],
        patience_s: float,
    ) -> Load:
        file = self._directory / "request"
        file.write_bytes(request)
        command = [str(compiled("load")), mode, str(port), str(file), str(connections), *limits]
        output = self._output(command, cpus, patience_s)
        try:
            return msgspec.json.decode(output, type=Load)
        except msgspec.DecodeError as error:
            raise BenchError(f"the load generator failed on port {port}") from error

    def _by_wrk(
        self, port: int, request: bytes, connections: int, seconds: float, cpus: frozenset[int]
    ) -> Load:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        method, path, _version = first.split(" ")
        script = self._directory / "request.lua"
        lines = [f'wrk.method = "{method}"', f"wrk.body = [[{body.decode()}]]"]
        for field in fields:
            name, _, value = field.partition(": ")
            if name not in ("host", "content-length"):
                lines.append(f'wrk.headers["{name}"] = "{value}"')
        script.write_text("\n".join(lines))
        url = f"http://127.0.0.1:{port}{path}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        text = self._output([*command, "-s", str(script), url], cpus, seconds + 30.0).decode()
        counted = re.search(r"(\d+) requests in ([\d.]+)s", text)
        if counted is None:
            raise BenchError(f"wrk failed: {text.strip()}")
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        errors = int(refused[1]) if refused else 0
        requests = int(counted[1])
        return Load(
            seconds=float(counted[2]),
            requests=requests - errors,
            total=requests,
            errors=errors,
            samples=requests,
            p50_us=_wrk_percentile(text, "50"),
            p90_us=_wrk_percentile(text, "90"),
            p99_us=_wrk_percentile(text, "99"),
        )

    @staticmethod
    def _output(command: list[str], cpus: frozenset[int], patience_s: float) -> bytes:
        with Pinned(command, cpus) as running:
            try:
                return running.process.communicate(timeout=patience_s)[0]
            except subprocess.TimeoutExpired as error:
                raise BenchError(f"the load generator did not end within {patience_s:.0f} s") from error


def _wrk_percentile(text: str, percent: str) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0

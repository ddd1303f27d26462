"""Fuzz the HTTP server: `python tests/fuzz/fuzz_server.py --seconds 20`.

Every input is sent to a server without sockets in several ways: in one piece,
in pieces, byte by byte. It must hold that

- nothing raises, neither out of the protocol nor into the log;
- the calls and their bodies are the same however the bytes were split;
- what was understood agrees with llhttp reading the same bytes, as far as that goes;
- the connection lives, or it ended after an answer that says so.

atheris guides the search by coverage where it is installed; elsewhere seeded
mutations of known requests, good and bad, are tried (`--engine mutate`).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httptools

try:
    import atheris  # type: ignore[import-untyped]  # it has no stubs
except ImportError:  # no wheel for this platform
    atheris = None

_GUIDED = atheris is not None and __name__ == "__main__"
with atheris.instrument_imports(include=["fairlead.net"]) if _GUIDED else contextlib.nullcontext():
    from tests.unit.net.harness import App, Stage
    from tests.unit.net.malformed import MALFORMED, ODD

    from fairlead.net.server import Call, Head, Intake

_LIMIT_BYTES = 2_000
_TOKENS = (
    b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"-1", b"0x", b"ffffffffffffffff",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /stream HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.0", b"HTTP/2.0",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", b"Host: b\r\n",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"X-A:\r\n", b"http://a", b"HEAD", b"OPTIONS *", b"\xff", b"\x80",
)  # fmt: skip
_GOOD = (
    b"POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    b"HEAD /b HTTP/1.1\r\nHost: a\r\n\r\nGET /c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
)
SEEDS = tuple(case.data[:4096] for case in (*MALFORMED, *ODD)) + _GOOD


class Outcome(NamedTuple):
    """What a server made of some bytes."""

    seen: list[tuple[str, str, bytes]]
    closed: bool
    last: bytes
    """The last answer."""


async def _handle(call: Call) -> None:
    if call.inbox is not None:
        while piece := await call.read():
            call.body += piece
    call.reply(200, b"", b"")


def _intake(head: Head) -> Intake:
    return Intake(_LIMIT_BYTES, streamed=head.path.startswith("/stream"))


def serve(pieces: list[bytes]) -> Outcome:
    """Send the pieces to a fresh server."""
    with Stage(App(_handle, _intake), max_header_bytes=1024) as stage:
        client = stage.client()
        for piece in pieces:
            if piece:
                client.send(piece)
        answers = client.raw.split(b"HTTP/1.1 ")
        # A streamed body that was refused half-way was never answered for: its pieces depend on the split.
        seen = [(c.head.method, c.head.target, c.body) for c in stage.app.calls if c.received]
        return Outcome(seen, client.closed, answers[-1])


class _Reference:
    """llhttp's own reading."""

    def __init__(self, data: bytes) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self._target = b""
        self._body = b""
        self._parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return  # llhttp reads no body here, a server that declines the upgrade does
        self.seen.append((self._parser.get_method().decode(), self._target.decode("latin-1"), self._body))


def check(data: bytes, split: random.Random) -> None:
    """Hold one input against the rules.

    Raises:
        AssertionError: a rule is broken.
    """
    whole = serve([data])
    ways = [[data[:at], data[at:]] for at in split.choices(range(len(data) + 1), k=2)]
    cuts = sorted(split.choices(range(len(data) + 1), k=5))
    ways.append([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])
    if len(data) < 600:
        ways.append([data[at : at + 1] for at in range(len(data))])
    for pieces in ways:
        other = serve(pieces)
        assert other.seen == whole.seen, (data, pieces, whole, other)
        assert other.closed == whole.closed, (data, pieces, whole, other)
    if whole.closed:
        assert whole.last[:1] in (b"4", b"5") or b"connection: close" in whole.last, (data, whole)
    for ours, theirs in zip(whole.seen, _Reference(data).seen, strict=False):
        assert ours == theirs, (data, ours, theirs)


class _Alarm(logging.Handler):
    """A server that logs has met something it did not expect."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(self.format(record))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change an input in a few places."""
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randint(0, len(data)), rng.randint(1, 12)
        match rng.randrange(6):
            case 0:
                data = data[:at] + rng.choice(_TOKENS) + data[at:]
            case 1:
                data = data[:at] + data[at + size :]
            case 2:
                data = data[:at] + data[at : at + size] + data[at:]
            case 3:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 4:
                data = data[:at] + rng.choice(_TOKENS) + data[at + size :]
            case _:
                data = data + rng.choice(SEEDS)
    return data[:4096]


def run_mutations(seed: int, *, seconds: float = float("inf"), rounds: int | None = None) -> int:
    """Try mutations for so long, or so often. Return how many were tried."""
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    tried = 0
    while tried != rounds and time.monotonic() < until:
        data = rng.choice(SEEDS)
        check(mutate(data, rng), rng)
        tried += 1
    return tried


def _run_atheris(folder: Path, seconds: float, seed: int) -> None:
    """Hand over to libFuzzer, which ends the process."""

    def one_input(data: bytes) -> None:
        check(data, random.Random(len(data)))

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(data)
    tokens = folder / "tokens"
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in _TOKENS)
    tokens.write_text("".join(f'"{token}"\n' for token in escaped))
    arguments = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed}",
        "-max_len=4096",
        f"-dict={tokens}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


def main() -> None:
    """Fuzz for a bounded time; the exit status is 0 when every rule held."""
    parser = argparse.ArgumentParser(description="Fuzz the HTTP server.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "atheris", "mutate"), default="auto")
    parser.add_argument(
        "--folder", type=Path, help="where atheris keeps its files; a temporary one by default"
    )
    options = parser.parse_args()
    log = logging.getLogger("fairlead.net")
    log.addHandler(_Alarm())
    log.propagate = False
    if options.engine == "mutate" or (options.engine == "auto" and atheris is None):
        tried = run_mutations(options.seed, seconds=options.seconds)
        print(f"{tried} inputs, every rule held")
    elif options.folder is not None:
        _run_atheris(options.folder, options.seconds, options.seed)
    else:
        # libFuzzer ends its process without a chance to tidy up, so it gets one of its own.
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", folder]
            sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()

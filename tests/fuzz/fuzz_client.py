"""Fuzz what an upstream may send: `python tests/fuzz/fuzz_client.py --seconds 20`.

Every input is taken for an answer and for an event stream, in one piece, in
pieces and byte by byte. It must hold that

- nothing is raised but the errors of the tree;
- what is read, the failure that ends it, and whether the connection is used
  again are the same however the bytes were split;
- a body with a length has that length, or was cut;
- a connection on which anything follows an answer is never used again;
- events, the rest and the failure of an event stream do not depend on the split.

atheris guides the search by coverage where it is installed; elsewhere seeded
mutations of known answers, good and bad, are tried (`--engine mutate`).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

try:
    import atheris  # type: ignore[import-untyped]  # it has no stubs
except ImportError:  # no wheel for this platform
    atheris = None

_GUIDED = atheris is not None and __name__ == "__main__"
with atheris.instrument_imports(include=["fairlead.net"]) if _GUIDED else contextlib.nullcontext():
    from fairlead.errors import FairleadError, UpstreamProtocolError
    from fairlead.net.pool import Pool
    from fairlead.net.sse import SseEvent, SseParser
    from fairlead.net.upstream import Connection, Shared
    from fairlead.testing import FakeTransport

T = TypeVar("T")

_MAX_BYTES = 4096
_TOKENS = (
    b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"-1", b"0x", b"ffffffffffffffff",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.1 304 Not\r\n", b"HTTP/1.1 101 Switching\r\n", b"content-length: 5\r\n",
    b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n",
    b"connection: keep-alive\r\n",
    b"upgrade: x\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b"hello", b"\xff", b"data: ", b"event: ",
    b"id: ", b"retry: 1", b"\xef\xbb\xbf",
)  # fmt: skip

COMPLETE = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\ntrailer: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
)
"""Answers after which a connection is used again."""

SEEDS = (
    *COMPLETE,
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw",
    b"HTTP/1.1 199 Odd\r\ntransfer-encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\ntrailer: 1\r\n\r\n",
    b"data: a\n\nevent: x\r\ndata: b\r\ndata: c\r\n\r\n: comment\r\rid: 1\rretry: 5\rdata\r\r",
    b"\xef\xbb\xbfdata: {}\n\ndata: [DONE]",
)


class Outcome(NamedTuple):
    """What a borrower saw of an answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    failure: type[FairleadError] | None
    reused: bool


def ask(pieces: list[bytes], method: bytes) -> Outcome:
    """Send a request on a fresh connection, deliver the pieces and then the end."""
    pool: Pool[Connection] = Pool("engine:80", 1, 60.0)
    connection = Connection(pool, Shared(lambda flush: flush()), "engine:80")
    transport = FakeTransport(connection)
    pool.admit(connection)
    connection.send(method + b" / HTTP/1.1\r\nhost: engine\r\n\r\n")
    for piece in pieces:
        if piece and not transport.is_closing():
            connection.data_received(piece)
    if not connection.finished:
        if not transport.is_closing():
            connection.eof_received()
        transport.lose()
    return _at_once(_read(connection, pool))


async def _read(connection: Connection, pool: Pool[Connection]) -> Outcome:
    status, headers, body = 0, [], b""
    failure: type[FairleadError] | None = None
    try:
        head = await connection.head()
        status, headers = head.status, head.raw_headers
        while piece := await connection.read():
            body += piece
    except FairleadError as error:
        failure = type(error)
    connection.release()
    return Outcome(status, headers, body, failure, pool.counts.idle == 1)


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    coroutine.close()
    raise AssertionError("a wait was left after the end of the connection")


def parse(pieces: list[bytes], max_bytes: int) -> tuple[list[SseEvent], bytes, bool]:
    """Feed the pieces to a parser: its events, the rest, and whether it failed."""
    parser = SseParser(max_bytes)
    events: list[SseEvent] = []
    try:
        for piece in (*pieces, b""):
            events += parser.feed(piece)
    except UpstreamProtocolError:
        return events, parser.rest(), True
    return events, parser.rest(), False


def check(data: bytes, split: random.Random) -> None:
    """Hold one input against the rules.

    Raises:
        AssertionError: a rule is broken.
    """
    cuts = sorted(split.choices(range(len(data) + 1), k=5))
    ways = [[data[a:b] for a, b in pairwise([0, *cuts, len(data)])]]
    if len(data) < 600:
        ways.append([data[at : at + 1] for at in range(len(data))])
    method = split.choice([b"GET", b"POST", b"HEAD"])
    whole = ask([data], method)
    limit = split.choice([8, 40, 10_000])
    events = parse([data], limit)
    for pieces in ways:
        assert ask(pieces, method) == whole, (data, pieces, method)
        assert parse(pieces, limit) == events, (data, pieces, limit)
    lengths = [value for name, value in whole.headers if name == b"content-length"]
    if lengths and whole.failure is None and method != b"HEAD" and whole.status not in (204, 304):
        assert [int(value) for value in lengths] == [len(whole.body)], (data, whole)
    if data:
        for answer in COMPLETE:
            assert not ask([answer + data], b"GET").reused, (answer, data)
            assert not ask([answer, data], b"GET").reused, (answer, data)


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
    return data[:_MAX_BYTES]


def run_mutations(seed: int, *, seconds: float = float("inf"), rounds: int | None = None) -> int:
    """Try mutations for so long, or so often. Return how many were tried."""
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    tried = 0
    while tried != rounds and time.monotonic() < until:
        check(mutate(rng.choice(SEEDS), rng), rng)
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
        f"-max_len={_MAX_BYTES}",
        f"-dict={tokens}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


def main() -> None:
    """Fuzz for a bounded time; the exit status is 0 when every rule held."""
    parser = argparse.ArgumentParser(description="Fuzz the upstream client and the event stream parser.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "atheris", "mutate"), default="auto")
    parser.add_argument(
        "--folder", type=Path, help="where atheris keeps its files; a temporary one by default"
    )
    options = parser.parse_args()
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

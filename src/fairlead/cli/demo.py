"""`fairlead demo`: everything moving on one machine, without a model or a key.

Three simulated engines of different speed, a gateway with a configuration and
state of its own, a handful of clients, and faults on a schedule: an engine
that slows down, one that is gone, one that cuts its streams. Every two seconds
a table shows what clients saw and what the gateway made of it.

All of it runs in child processes in a session of their own; whatever ends the
demo, they are ended too, and the temporary directory is removed. Should the
demo be killed outright, they notice by a pipe whose other end it held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from fairlead.cli.demo_board import Board, TargetState, TargetStates
from fairlead.cli.demo_traffic import Traffic
from fairlead.errors import FairleadError, UsageError
from fairlead.net.client import Client
from fairlead.net.http1 import request, request_head
from fairlead.net.origin import Origin

_MODEL = "demo"
_ENGINES = (("fast", 4.0), ("medium", 2.0), ("slow", 1.0))
_START_S = 20.0
_STOP_S = 5.0
_TABLE_S = 2.0
_CALL_S = 5.0
_MAX_ANSWER_BYTES = 4_194_304
_CONFIG = """\
# Three simulated engines; written by `fairlead demo`.
server: {{port: 0, drain_s: 1}}
state: {{dir: {state}}}
providers:
{providers}
models:
  {model}:
    targets: [{targets}]
    # Under 10 tokens a second in its first three, a stream is asked of another target.
    timeouts: {{first_token_s: 2, stall_s: 2, headers_s: 10, min_tokens_per_s: 10, commit_tokens: 3}}
outages:
  breaker: {{open_s: 2, max_open_s: 4}}
"""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """From `at_s` of each round on, this is so."""

    at_s: float
    happening: str
    engine: str = ""
    fault: str = ""


SCHEDULE = (
    Act(at_s=0, happening="all engines are well"),
    Act(at_s=8, happening="`medium` trickles: 4 tokens a second", engine="medium", fault="slow;rate=4"),
    Act(at_s=16, happening="all engines are well again"),
    Act(at_s=20, happening="`fast` is gone: connections are refused", engine="fast", fault="refuse"),
    Act(at_s=30, happening="`fast` is back"),
    Act(
        at_s=36,
        happening="`slow` cuts half of its streams",
        engine="slow",
        fault="cut;after=4;probability=0.5",
    ),
    Act(at_s=46, happening="all engines are well again"),
)
ROUND_S = 50.0


def act_at(elapsed_s: float) -> Act:
    """The act that is on."""
    return [act for act in SCHEDULE if act.at_s <= elapsed_s % ROUND_S][-1]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="run the gateway on simulated engines, with traffic and faults",
        description="Start three simulated engines and a gateway, send traffic, inject faults, show what "
        "happens. Ends with Ctrl-C and leaves nothing behind.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--seconds", type=float, metavar="N", help="end by itself after N seconds")
    parser.add_argument("--clients", type=int, default=12, metavar="N", help="clients (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run until told to stop; returns the exit status."""
    if args.seconds is not None and not args.seconds > 0:
        raise UsageError("--seconds must be above 0")
    if not 1 <= args.clients <= 500:
        raise UsageError("--clients must be between 1 and 500")
    import uvloop  # here: other commands need not load it

    uvloop.run(_demo(args.seconds, args.clients))
    return 0


async def _demo(seconds: float | None, clients: int) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told.set)
    with tempfile.TemporaryDirectory(prefix="fairlead-demo-") as directory:
        stage = _Stage(Path(directory))
        playing = loop.create_task(_play(stage, clients))
        stopping = loop.create_task(told.wait())
        try:
            await asyncio.wait({playing, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            failed = playing.done() and not playing.cancelled()
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await stage.clear()
        if failed:
            _raise(playing)
    if stage.board.requests:
        print(f"{stage.board.requests} requests, {stage.board.success * 100:.1f} % went well")


def _raise(ended: asyncio.Task[None]) -> None:
    """Raise what ended a task: of several failures the first, which the others followed from."""
    error = ended.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error


async def _play(stage: _Stage, clients: int) -> None:
    print("starting three engines and a gateway ...", flush=True)
    await stage.build()
    print(f"the gateway is {stage.url}, its log {stage.log}; Ctrl-C ends the demo\n", flush=True)
    traffic = Traffic(stage.origin, stage.keys, _MODEL, stage.board.add)
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run(clients))
        group.create_task(_direct(stage))
        group.create_task(_show(stage))
        group.create_task(stage.guard())


async def _direct(stage: _Stage) -> None:
    """Inject the faults of the schedule, round after round."""
    loop = asyncio.get_running_loop()
    before: Act | None = None
    while True:
        act = act_at(loop.time() - stage.opened_at)
        if act is not before:
            if before is not None and before.engine:
                await stage.mend(before.engine)
            if act.engine:
                await stage.harm(act.engine, act.fault)
            before = act
        await asyncio.sleep(0.2)


async def _show(stage: _Stage) -> None:
    """Print the table every two seconds; on a terminal, over the last one."""
    loop = asyncio.get_running_loop()
    drawn = 0
    while True:
        await asyncio.sleep(_TABLE_S)
        elapsed = loop.time() - stage.opened_at
        table = stage.board.render(loop.time(), elapsed, act_at(elapsed).happening, await stage.targets())
        if drawn and sys.stdout.isatty():
            table = f"\x1b[{drawn}A\x1b[J{table}"
        print(table, end="" if sys.stdout.isatty() else "\n", flush=True)
        drawn = table.count("\n")


class _Child:
    """A process of ours: its first line, and its end."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, log: Path) -> None:
        self.process = process
        self.name = name
        self._log = log

    async def line(self) -> str:
        """The first line it prints. Raises FairleadError when it prints none."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), _START_S)
        except TimeoutError:
            line = b""
        if not line:
            said = self._log.read_text(errors="replace").splitlines()
            raise FairleadError(f"demo: {self.name} did not start", hint=said[-1] if said else None)
        return line.decode()

    async def end(self) -> None:
        """Ask it to stop, and make it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), _STOP_S)


class _Stage:
    """The processes of the demo and how they are reached."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[_Child] = []
        self._controls: dict[str, Origin] = {}
        self._client = Client()
        self._admin_key = ""
        self.board = Board()
        self.keys: tuple[str, ...] = ()
        self.url = ""
        self.origin = Origin(scheme="http", host="127.0.0.1", port=0)
        self.opened_at = 0.0
        self.log = directory / "gateway.log"
        self._alive_fd, self._our_fd = os.pipe()

    async def build(self) -> None:
        """Start the engines and the gateway, and make the clients' keys."""
        addresses = await asyncio.gather(*(self._engine(name, speed) for name, speed in _ENGINES))
        config = self._directory / "fairlead.yaml"
        providers = "\n".join(
            f"  {name}: {{type: vllm, base_url: '{url}/v1'}}"
            for (name, _), url in zip(_ENGINES, addresses, strict=True)
        )
        targets = ", ".join(f"{{provider: {name}, model: {_MODEL}}}" for name, _ in _ENGINES)
        state = msgspec.json.encode(str(self._directory / "state")).decode()
        text = _CONFIG.format(state=state, providers=providers, targets=targets, model=_MODEL)
        config.write_text(text)
        self._admin_key = await self._key(config, "demo", "--admin")
        self.keys = (await self._key(config, "app"), await self._key(config, "batch"))
        gateway = await self._spawn("serve", "--config", str(config), "--parent-fd", str(self._alive_fd))
        found = re.search(r"http://127\.0\.0\.1:(\d+)", await gateway.line())
        if found is None:
            raise FairleadError("demo: the gateway did not say where it serves")
        self.url = found.group()
        self.origin = Origin(scheme="http", host="127.0.0.1", port=int(found.group(1)))
        self.opened_at = asyncio.get_running_loop().time()

    async def _key(self, config: Path, name: str, *options: str) -> str:
        maker = await self._spawn("keys", "create", "--name", name, "--config", str(config), *options)
        return (await maker.line()).strip()

    async def _engine(self, name: str, speed: float) -> str:
        """Start one engine; returns its URL."""
        options = ("--model", _MODEL, "--port", "0", "--control-port", "0", "--speed", str(speed))
        engine = await self._spawn("simulate", "engine", *options, "--parent-fd", str(self._alive_fd))
        found = re.findall(r"http://127\.0\.0\.1:(\d+)", await engine.line())
        if len(found) != 2:
            raise FairleadError(f"demo: the engine `{name}` did not say where it serves")
        self._controls[name] = Origin(scheme="http", host="127.0.0.1", port=int(found[1]))
        return f"http://127.0.0.1:{found[0]}"

    async def _spawn(self, *words: str) -> _Child:
        # Stripped: neither provider keys nor another configuration concern the demo.
        environ = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ
        }
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fairlead", *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environ,
                pass_fds=(self._alive_fd,),
                start_new_session=True,  # Ctrl-C is for us: we end them, in order
            )
        child = _Child(process, f"`fairlead {words[0]}`", self.log)
        self._children.append(child)
        return child

    async def guard(self) -> None:
        """End the demo when one of its processes ends."""
        serving = [child for child in self._children if child.process.returncode is None]
        ends = {asyncio.create_task(child.process.wait()): child for child in serving}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
        raise FairleadError(f"demo: {ends[done.pop()].name} ended by itself")

    async def clear(self) -> None:
        """End every process."""
        await self._client.close()
        os.close(self._our_fd)
        os.close(self._alive_fd)
        await asyncio.gather(*(child.end() for child in reversed(self._children)))

    # --- talking to them ------------------------------------------------------------------------

    async def harm(self, engine: str, fault: str) -> None:
        await self._call(self._controls[engine], "POST", "/simulate/fault", {"fault": fault})

    async def mend(self, engine: str) -> None:
        await self._call(self._controls[engine], "DELETE", "/simulate/fault")

    async def targets(self) -> tuple[TargetState, ...]:
        """The gateway's targets; raises FairleadError when it does not tell."""
        body = await self._call(self.origin, "GET", "/admin/v1/targets")
        return msgspec.json.decode(body, type=TargetStates).data

    async def _call(self, origin: Origin, method: str, path: str, body: object = None) -> bytes:
        deadline = asyncio.get_running_loop().time() + _CALL_S
        connection = self._client.idle(origin) or await self._client.connect(origin, deadline)
        try:
            connection.deadline = deadline
            headers = [(b"content-type", b"application/json")]
            if origin == self.origin:
                headers.append((b"authorization", f"Bearer {self._admin_key}".encode()))
            data = b"" if body is None else msgspec.json.encode(body)
            connection.send(request(request_head(method, path, origin.authority, headers), data))
            head = await connection.head()
            answer = await connection.read_all(_MAX_ANSWER_BYTES)
        finally:
            connection.release()
        if head.status // 100 != 2:
            raise FairleadError(f"demo: {method} {path} was answered with status {head.status}")
        return answer

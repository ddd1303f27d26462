"""Every example in the documentation runs.

What a fenced block is, its info string says:

* `yaml fairlead.yaml`: a configuration, which must be valid;
* `console`: commands that need no server. Each line `$ fairlead ...` is run; where output follows, it must be
  what the command writes to its standard output or error;
* `console server`: commands around a running gateway. Those of `fairlead` and `curl` are run, block by block,
  and must succeed, statuses of HTTP included; `make` and what an operator's system brings (`kill`) are not;
* `python`: runs, top-level `await` included;
* `text`: no example.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.e2e.gateway import GatewayProcess, start_gateway

from fairlead.config import parse
from fairlead.telemetry.metrics import process
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import COUNTERS, GAUGES, Reading

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
KINDS = {"yaml fairlead.yaml", "console", "console server", "python", "text"}


class Block(NamedTuple):
    place: str
    kind: str
    text: str


class Command(NamedTuple):
    place: str
    line: str
    output: str


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(f"{page.relative_to(ROOT)}:{line}", match[1].strip(), match[2]))
    return found


def commands() -> list[Command]:
    found = []
    for block in of_kind("console"):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            found.append(Command(block.place, line, output))
    return found


def with_commands(directory: Path) -> dict[str, str]:
    """An environment in which `fairlead` is this one, and `curl` fails where the answer is an error."""
    scripts = {
        "fairlead": f'exec "{sys.executable}" -m fairlead "$@"',
        "curl": 'exec /usr/bin/curl --silent --show-error --fail-with-body --max-time 10 "$@"',
    }
    (directory / "bin").mkdir()
    for name, line in scripts.items():
        script = directory / "bin" / name
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
    # No keys, no proxies: only what the interpreter needs.
    environ = {"PATH": f"{directory / 'bin'}:/usr/bin:/bin", "HOME": str(directory)}
    if "PYTHONPATH" in os.environ:
        environ["PYTHONPATH"] = str((ROOT / "src").resolve())
    return environ


def of_kind(kind: str) -> list[Block]:
    return [block for block in blocks() if block.kind == kind]


def test_there_are_examples_and_each_says_what_it_is() -> None:
    assert {block.kind for block in blocks()} <= KINDS, [
        block.place for block in blocks() if block.kind not in KINDS
    ]
    assert len(of_kind("yaml fairlead.yaml")) >= 5
    assert len(commands()) >= 4
    assert sum(len(live_commands(block)) for block in live_blocks()) >= 15


@pytest.mark.parametrize("block", of_kind("yaml fairlead.yaml"), ids=lambda block: block.place)
def test_configurations_are_valid(block: Block) -> None:
    parse.parse(block.text, block.place)


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.place} {command.line}")
def test_commands_do_what_the_page_says(command: Command, tmp_path: Path) -> None:
    assert command.line.startswith("fairlead "), "other commands belong into `console server`"
    # A copy of what pages refer to: a command may write into its working directory.
    for name in ("docs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    environ = with_commands(tmp_path)
    done = subprocess.run(
        command.line, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    fails = "fairlead: error:" in command.output
    assert (done.returncode != 0) is fails, done.stderr
    if command.output:
        assert command.output in (done.stdout, done.stderr)


SERVER_CONFIG = """
server: {port: 0}
state: {dir: STATE}
providers:
  simulated: {type: simulated}
models:
  simulated: {targets: [{provider: simulated, model: simulated}], cache: {}}
alerts: {}
"""
SERVERS = ("fairlead serve", "fairlead simulate engine")


def live_commands(block: Block) -> list[str]:
    """The commands of a `console server` block that are run: `$ ` and the lines until it is complete."""
    found, lines = [], iter(block.text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line[2:]
        while command.endswith("\\") or not is_complete(command):
            command += "\n" + next(lines)
        if re.match(r"(?:[A-Z_]+=\$\()?(?:fairlead|curl) ", command):
            found.append(command)
    return found


def is_complete(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def live_blocks() -> list[Block]:
    return [block for block in of_kind("console server") if live_commands(block)]


@pytest.fixture(scope="module")
def documented_gateway() -> Iterator[GatewayProcess]:
    """The gateway that the pages talk about."""
    with start_gateway(SERVER_CONFIG.replace("STATE", "unused")) as gateway:
        yield gateway


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


@contextlib.contextmanager
def served(command: str, directory: Path, environ: dict[str, str]) -> Iterator[None]:
    """A command that serves until it is stopped; it says something once it does."""
    with (directory / "errors").open("w+") as errors:
        process = subprocess.Popen(
            shlex.split(command), cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said, (directory / "errors").read_text()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(20)
            process.stdout.close()
    assert status == 0, (directory / "errors").read_text()


@pytest.mark.parametrize("block", live_blocks(), ids=lambda block: block.place)
def test_commands_around_a_running_gateway_succeed(
    block: Block, documented_gateway: GatewayProcess, tmp_path: Path
) -> None:
    environ = with_commands(tmp_path) | {"FAIRLEAD_API_KEY": documented_gateway.admin_key}
    state = documented_gateway.directory / "state"
    (tmp_path / "fairlead.yaml").write_text(SERVER_CONFIG.replace("STATE", json.dumps(str(state))))
    ports = {"8080": str(documented_gateway.port), "8100": free_port(), "8101": free_port()}
    commands = [
        re.sub(r"\b(?:8080|8100|8101)\b", lambda match: ports[match[0]], command)
        for command in live_commands(block)
    ]
    # These ask the usual port when they are not told another.
    url = f"--url {documented_gateway.url}"
    commands = [
        re.sub(
            r"fairlead (alerts (?:list|test|silence)|targets|limits show|cache (?:stats|purge)"
            r"|signals (?:show|drift))",
            rf"\g<0> {url}",
            command,
        )
        for command in commands
    ]
    with contextlib.ExitStack() as stack:
        for command in commands:
            if command.startswith(SERVERS):
                stack.enter_context(served(command, tmp_path, environ))
        script = "\n".join(command for command in commands if not command.startswith(SERVERS))
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", script],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_for_operators_names_every_metric() -> None:
    labels_of = {name: labels for name, (_, labels, *_) in (*GAUGES.items(), *COUNTERS.items())}
    kept = [Reading(name=name, value=0, labels=labels) for name, labels in labels_of.items()]
    families = {family.name: family for family in Metrics().families(kept)}
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:fairlead|gen_ai)_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    listed = {name: (kind, labels.strip()) for name, kind, labels in rows}
    # This one is added where several workers' metrics come together.
    assert listed.pop("fairlead_workers_missing") == ("gauge", "")

    assert listed == {name: (family.kind, ", ".join(family.labels)) for name, family in families.items()}
    assert all(family.name.startswith("process_") for family in process.families(0.0))


@pytest.mark.parametrize("block", of_kind("python"), ids=lambda block: block.place)
def test_programs_run(block: Block) -> None:
    runner = (
        "import ast, asyncio, inspect, sys\n"
        "code = compile(sys.stdin.read(), 'example', 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)\n"
        "async def main():\n"
        "    waited = eval(code, {'__name__': '__main__'})\n"
        "    if inspect.isawaitable(waited):\n"
        "        await waited\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", runner], input=block.text, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def headings(page: Path) -> set[str]:
    """Anchors of a page, as its readers' tools make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in headings(linked), target

"""Every example in the documentation runs.

What a fenced block is, its info string says:

* `yaml fairlead.yaml`: a configuration, which must be valid;
* `console`: commands that need no server. Each line `$ fairlead ...` is run; where output follows, it must be
  what the command writes to its standard output or error;
* `console server`: commands around a running gateway, which are not run here;
* `python`: runs, top-level `await` included;
* `text`: no example.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from fairlead.config import parse

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


def of_kind(kind: str) -> list[Block]:
    return [block for block in blocks() if block.kind == kind]


def test_there_are_examples_and_each_says_what_it_is() -> None:
    assert {block.kind for block in blocks()} <= KINDS, [
        block.place for block in blocks() if block.kind not in KINDS
    ]
    assert len(of_kind("yaml fairlead.yaml")) >= 5
    assert len(commands()) >= 4


@pytest.mark.parametrize("block", of_kind("yaml fairlead.yaml"), ids=lambda block: block.place)
def test_configurations_are_valid(block: Block) -> None:
    parse.parse(block.text, block.place)


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.place} {command.line}")
def test_commands_do_what_the_page_says(command: Command, tmp_path: Path) -> None:
    assert command.line.startswith("fairlead "), "other commands belong into `console server`"
    # A copy of what pages refer to: a command may write into its working directory.
    for name in ("docs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    script = tmp_path / "bin" / "fairlead"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fairlead "$@"\n')
    script.chmod(0o755)
    # No keys, no proxies: only what the interpreter needs.
    environ = {"PATH": f"{script.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    if "PYTHONPATH" in os.environ:
        environ["PYTHONPATH"] = str((ROOT / "src").resolve())
    done = subprocess.run(
        command.line, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    fails = "fairlead: error:" in command.output
    assert (done.returncode != 0) is fails, done.stderr
    if command.output:
        assert command.output in (done.stdout, done.stderr)


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

"""The command as a process: what only a real interpreter shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "fairlead"]


def test_version_and_help_import_nothing_heavy() -> None:
    script = (
        "import sys; from fairlead.cli.main import main; main(sys.argv[1:]);"
        "heavy = {'asyncio', 'yaml', 'msgspec', 'logging', 'uvloop', 'ssl'} & set(sys.modules);"
        "print(*sorted(heavy), file=sys.stderr)"
    )
    for word in ("--version", "--help"):
        done = subprocess.run(
            [sys.executable, "-c", script, word], capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stderr == "\n"
        assert done.stdout.startswith(("fairlead ", "usage: "))


@pytest.mark.parametrize("command", [["config", "schema"], ["config", "show"], ["--help"], ["config"]])
def test_a_reader_that_leaves_is_no_error(command: list[str], tmp_path: Path) -> None:
    # argparse ignores a failing write of its help; buffered, as it is usually, the failure comes later.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environ |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [*COMMAND, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environ
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141

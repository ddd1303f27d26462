"""The subprocess: real verdicts come back, and whatever goes wrong is a refusal."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path

import msgspec
import pytest
from tests.unit.vault.ingest.made import (
    FLOATS,
    call,
    gguf,
    pickled,
    safetensors,
    state_dict,
    tensor,
    text,
    torch_zip,
)

from fairlead.errors import IngestRefused
from fairlead.vault.ingest import worker
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.safetensors import read_header
from fairlead.vault.ingest.verdict import Verdict
from fairlead.vault.ingest.window import memory_window


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _child(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


def test_a_verdict_comes_back_with_the_digest_of_what_was_read(tmp_path: Path) -> None:
    data = safetensors()

    verdict = asyncio.run(worker.inspect(_file(tmp_path, "m.safetensors", data)))

    assert (verdict.kind, verdict.decision, verdict.findings) == ("safetensors", "accepted", ())
    assert verdict.sha256 == hashlib.sha256(data).hexdigest()
    assert verdict.size_bytes == len(data)


def test_an_attack_is_refused_through_the_subprocess(tmp_path: Path) -> None:
    path = _file(tmp_path, "m.pkl", pickled(call("posix", "system", text("touch pwned"))))

    assert asyncio.run(worker.inspect(path)).decision == "refused"


_FAILURES = {
    "crash": ("import os; os.abort()", "scanner-failed"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "scanner-failed"),
    "exception": ("raise SystemExit(3)", "scanner-failed"),
    "silent": ("pass", "scanner-failed"),
    "nonsense": ("print('{')", "scanner-failed"),
    "half a verdict": ("""print('{"kind": "x"}')""", "scanner-failed"),
    "unknown decision": ("""print('{"kind": "x", "decision": "clean"}')""", "scanner-failed"),
    "accepted and a bad status": (
        """print('{"kind": "x", "decision": "accepted"}', flush=True); raise SystemExit(1)""",
        "scanner-failed",
    ),
    "endless answer": ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "scanner-failed"),
    "noise on stderr": ("import sys; sys.stderr.write('x' * 1000000)", "scanner-failed"),
    "memory": (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 27,) * 2); b' ' * (1 << 30)", "scanner-failed",
    ),
    "too slow": ("import time; time.sleep(600)", "scanner-timeout"),
}  # fmt: skip


@pytest.mark.parametrize("failure", _FAILURES, ids=lambda name: name.replace(" ", "-"))
def test_a_child_that_fails_means_refused(tmp_path: Path, failure: str) -> None:
    script, rule = _FAILURES[failure]
    limits = Limits(timeout_s=0.5 if rule == "scanner-timeout" else 60, answer_bytes=1 << 20)
    path = _file(tmp_path, "m.safetensors", safetensors())

    verdict = asyncio.run(worker.inspect(path, limits, command=_child(script)))
    tree = asyncio.run(worker.inspect_tree(tmp_path, limits, command=_child(script)))

    assert verdict.decision == tree.decision == "refused"
    assert [one.rule for one in verdict.findings] == [one.rule for one in tree.findings] == [rule]


def test_a_child_that_does_not_start_means_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "m.safetensors", safetensors())

    verdict = asyncio.run(worker.inspect(path, command=("/nonexistent/program",)))

    assert [one.rule for one in verdict.findings] == ["scanner-failed"]


def test_a_cancelled_inspection_leaves_no_process(tmp_path: Path) -> None:
    path, mark = _file(tmp_path, "m.safetensors", safetensors()), tmp_path / "pid"
    script = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    async def cancel() -> None:
        task = asyncio.create_task(worker.inspect(path, command=_child(script)))
        while not mark.exists() or not mark.read_text():  # noqa: ASYNC110  # another process' file
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_the_limits_hold_in_the_real_child(tmp_path: Path) -> None:
    """A document of 24 MiB needs more memory than this child has."""
    path = _file(tmp_path, "m.json", b'{"a": "' + b"x" * (24 << 20) + b'"}')

    starved = asyncio.run(worker.inspect(path, Limits(memory_bytes=72 << 20)))
    fed = asyncio.run(worker.inspect(path))

    assert [one.rule for one in starved.findings] == ["scanner-failed"]
    assert fed.decision == "accepted"


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "absent"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "link":
        path.symlink_to(_file(tmp_path, "m.safetensors", safetensors()))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)

    assert asyncio.run(worker.inspect(path)).decision == "refused"


def test_a_folder_is_inspected_file_by_file(tmp_path: Path) -> None:
    _file(tmp_path, "m.safetensors", safetensors())
    (tmp_path / "sub").mkdir()
    _file(tmp_path / "sub", "m.gguf", gguf())

    verdict = asyncio.run(worker.inspect_tree(tmp_path))

    assert verdict.decision == "accepted"
    found = [(one.path, one.verdict.kind) for one in verdict.files]
    assert found == [("m.safetensors", "safetensors"), ("sub/m.gguf", "gguf")]


def test_a_checkpoint_is_converted_through_the_subprocess(tmp_path: Path) -> None:
    source, target = _file(tmp_path, "m.pt", torch_zip(state_dict(w=tensor()))), tmp_path / "m.safetensors"

    done = asyncio.run(worker.convert(source, target))

    header = read_header(memory_window(target.read_bytes()))
    assert (done.tensors, done.size_bytes) == (1, target.stat().st_size)
    assert [(one.name, one.dtype, one.shape) for one in header.tensors] == [("w", "F32", (2, 2))]
    assert target.read_bytes()[header.data_at :] == FLOATS


@pytest.mark.parametrize("script", ["pass", "import os; os.abort()", "print('{}')"])
def test_a_failed_conversion_leaves_nothing(tmp_path: Path, script: str) -> None:
    source, target = (
        _file(tmp_path, "m.pt", pickled(call("posix", "system", text("id")))),
        tmp_path / "m.safetensors",
    )
    command = worker._CHILD if script == "print('{}')" else _child(script)

    with pytest.raises(IngestRefused):
        asyncio.run(worker.convert(source, target, command=command))

    assert not target.exists()


def test_a_conversion_never_overwrites(tmp_path: Path) -> None:
    source, target = _file(tmp_path, "m.pt", torch_zip(state_dict(w=tensor()))), _file(tmp_path, "t", b"mine")

    with pytest.raises(IngestRefused):
        asyncio.run(worker.convert(source, target))

    assert target.read_bytes() == b"mine"


def test_verdicts_survive_the_wire() -> None:
    verdict = Verdict(kind="x", decision="accepted")

    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict

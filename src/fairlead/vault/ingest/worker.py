"""The subprocess that looks at untrusted files: its start, its limits and its end.

The parent opens what is inspected and hands over the descriptor; the child
limits itself before it reads a byte, and has no network where the kernel lets
it leave. Fails closed: a crash, a kill, a time-out, an answer that is not one,
are all refusals. There is no way from here to a verdict of `accepted` but the
child's own whole answer.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Final

import msgspec

from fairlead.errors import IngestRefused
from fairlead.vault.ingest.convert import Converted
from fairlead.vault.ingest.job import Job
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.verdict import Approval, TreeVerdict, Verdict, finding, refusal

_CHILD: Final = (sys.executable, "-I", "-B", "-m", "fairlead.vault.ingest.child")
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}


class _Failed(Exception):
    """The child gave no answer."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(why)
        self.rule = rule


async def inspect(path: Path, limits: Limits | None = None, *, command: tuple[str, ...] = _CHILD) -> Verdict:
    """The verdict on one file.

    Cancelled, it kills the child.

    Args:
        path: a regular file; a link is refused.
        limits: bounds of time, memory and sizes.
        command: how the child is started.
    """
    limits = limits or Limits()
    try:
        descriptor = _open(path, directory=False)
    except OSError as error:
        return refusal("unknown", "scanner-failed", path.name, f"it cannot be opened: {error.strerror}")
    try:
        job = Job(what="file", descriptor=descriptor, name=path.name, limits=limits)
        return msgspec.json.decode(await _ask(command, job), type=Verdict)
    except _Failed as failed:
        return refusal("unknown", failed.rule, path.name, str(failed))
    except msgspec.DecodeError:
        return refusal("unknown", "scanner-failed", path.name, "the inspection gave an answer that is none")
    finally:
        os.close(descriptor)


async def inspect_tree(
    path: Path, limits: Limits | None = None, *, command: tuple[str, ...] = _CHILD
) -> TreeVerdict:
    """The verdict on a folder and every file in it. Cancelled, it kills the child."""
    limits = limits or Limits()
    try:
        descriptor = _open(path, directory=True)
    except OSError as error:
        return _refused_tree("scanner-failed", f"it cannot be opened: {error.strerror}")
    try:
        job = Job(what="tree", descriptor=descriptor, name=path.name, limits=limits)
        return msgspec.json.decode(await _ask(command, job), type=TreeVerdict)
    except _Failed as failed:
        return _refused_tree(failed.rule, str(failed))
    except msgspec.DecodeError:
        return _refused_tree("scanner-failed", "the inspection gave an answer that is none")
    finally:
        os.close(descriptor)


async def convert(
    source: Path,
    target: Path,
    limits: Limits | None = None,
    *,
    approvals: tuple[Approval, ...] = (),
    command: tuple[str, ...] = _CHILD,
) -> Converted:
    """Write a checkpoint's tensors as safetensors.

    The file is inspected first, in the same child. `target` is created, never
    overwritten, and removed again when anything fails.

    Raises:
        IngestRefused: the checkpoint is not accepted, has no tensors,
        or one that safetensors has no form for;
            the child failed; `target` exists.
    """
    limits = limits or Limits()
    opened: list[int] = []
    done = False
    try:
        opened.append(_open(source, directory=False))
        opened.append(
            os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        )
        job = Job(
            what="convert",
            descriptor=opened[0],
            target=opened[1],
            name=source.name,
            limits=limits,
            approvals=approvals,
        )
        answer = msgspec.json.decode(await _ask(command, job), type=Converted)
        if answer.refused:
            raise IngestRefused(f"{source.name} is not converted: {answer.refused}")
        os.fsync(opened[1])
        done = True
        return answer
    except _Failed as failed:
        raise IngestRefused(f"{source.name} is not converted: {failed}") from None
    except msgspec.DecodeError:
        raise IngestRefused(f"{source.name} is not converted: the conversion gave no answer") from None
    except OSError as error:
        raise IngestRefused(f"{source.name} is not converted: {error.strerror}: {error.filename}") from None
    finally:
        for descriptor in opened:
            os.close(descriptor)
        if len(opened) == 2 and not done:
            target.unlink(missing_ok=True)  # noqa: ASYNC240  # one system call, as for opening


def _open(path: Path, *, directory: bool) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_DIRECTORY if directory else 0)
    descriptor = os.open(path, flags)
    if not directory and not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file", str(path))
    return descriptor


def _refused_tree(rule: str, why: str) -> TreeVerdict:
    return TreeVerdict(decision="refused", findings=(finding(rule, "", why),))


async def _ask(command: tuple[str, ...], job: Job) -> bytes:
    """Start a child, give it the job, take its answer within the limits, and see it gone."""
    descriptors = (job.descriptor,) if job.target < 0 else (job.descriptor, job.target)
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # what a hostile file makes it say is nobody's to read
            pass_fds=descriptors,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            limit=1 << 16,
        )
    except OSError as error:
        raise _Failed("scanner-failed", f"the inspection did not start: {error.strerror}") from None
    try:
        async with asyncio.timeout(job.limits.timeout_s):
            answer = await _talk(child, msgspec.json.encode(job), job.limits.answer_bytes)
            status = await child.wait()
    except TimeoutError:
        raise _Failed("scanner-timeout", f"no verdict within {job.limits.timeout_s:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if status:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise _Failed("scanner-failed", f"the inspection {how}")
    return answer


async def _talk(child: asyncio.subprocess.Process, question: bytes, limit: int) -> bytes:
    """Send the job and read the answer; a child that writes more than `limit` is not read to its end."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(question)
        await child.stdin.drain()
        child.stdin.close()
    except ConnectionError:
        raise _Failed("scanner-failed", "the inspection ended before it was asked") from None
    parts: list[bytes] = []
    size = 0
    while data := await child.stdout.read(1 << 16):
        parts.append(data)
        size += len(data)
        if size > limit:
            raise _Failed("scanner-failed", f"the inspection's answer is longer than {limit} bytes")
    return b"".join(parts)

"""What runs in the subprocess: `python -m fairlead.vault.ingest.child`, a job on stdin, an answer on stdout.

Limits come first: memory, processor time, descriptors, no child processes, no
writing but a conversion's target, no network where the kernel lets a process
leave it. No exception is caught: whatever is not foreseen ends the process
with a status, and the parent refuses.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Final

import msgspec

from fairlead.vault.ingest import convert, inspection, tree
from fairlead.vault.ingest.job import Job
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.window import file_window

_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_SIGKILL: Final = 9
_DESCRIPTORS: Final = 128


def main() -> None:
    """Answer one job."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    restrict(job.limits, writes=job.what == "convert")
    answer: msgspec.Struct
    if job.what == "tree":
        answer = tree.inspect_tree(job.descriptor, job.limits)
    elif job.what == "file":
        answer = inspection.inspect(file_window(job.descriptor), job.name, job.limits)
    else:
        answer = convert.run(file_window(job.descriptor), job.target, job.name, job.limits, job.approvals)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    sys.stdout.buffer.flush()


def restrict(limits: Limits, *, writes: bool) -> None:
    """Take away what an inspection does not need. Ends the process where a limit cannot be set."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Where user namespaces are off and this is not root, the network stays; nothing here uses it.
        if libc.unshare(_CLONE_NEWNET):
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, limits.unpacked_bytes if writes else 0),
    ):
        _, most = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            value = min(value, most)
        resource.setrlimit(kind, (value, value))
    os.umask(0o077)


if __name__ == "__main__":
    main()

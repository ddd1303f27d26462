"""Several processes on one state store: they start together, and one sees what another changes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from fairlead.errors import Unauthenticated
from fairlead.gateway.key_watch import KeyWatch
from fairlead.storage.connect import open_database

STARTER = """
import asyncio, sys, time
from fairlead.gateway import db
from fairlead.storage.connect import open_database

async def main():
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    sys.stdin.readline()
    store = await open_database(sys.argv[1])
    print(await db.ensure_first_key(store, now=time.time()))
    await store.close()

asyncio.run(main())
"""


def test_workers_that_start_together_share_one_schema_and_one_first_key(tmp_path: Path) -> None:
    directory = str(tmp_path / "state")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(STARTER), directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [worker.communicate(timeout=60) for worker in workers]

    assert [error for _, error in results] == [""] * 5
    answers = [out.strip() for out, _ in results]
    assert sorted(answer == "None" for answer in answers) == [False, True, True, True, True]


def _fairlead(directory: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead", "keys", *words, "--state", str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_running_process_sees_the_command_lines_changes_within_a_second(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_database(str(tmp_path))
        watch = KeyWatch(store)
        await watch.start()

        async def wait_until(valid: bool, secret: str) -> float:
            since = time.monotonic()
            async with asyncio.timeout(10):
                while _valid(watch, secret) is not valid:  # noqa: ASYNC110  # a watch has no event to wait for
                    await asyncio.sleep(0.005)
            return time.monotonic() - since

        try:
            secret = await asyncio.to_thread(_fairlead, tmp_path, "create", "--name", "app")
            waits = [await wait_until(True, secret)]
            new = await asyncio.to_thread(_fairlead, tmp_path, "rotate", secret[3:11])
            waits += [await wait_until(True, new), await wait_until(False, secret)]
            await asyncio.to_thread(_fairlead, tmp_path, "revoke", new)
            waits.append(await wait_until(False, new))
        finally:
            await watch.stop()
            await store.close()
        assert max(waits) < 1.0

    asyncio.run(scenario())


def _valid(watch: KeyWatch, secret: str, now: Callable[[], float] = time.time) -> bool:
    try:
        watch.snapshot.authenticate({b"authorization": b"Bearer " + secret.encode()}, now())
    except Unauthenticated:
        return False
    return True


def test_a_commit_survives_the_kill_of_its_process(tmp_path: Path) -> None:
    script = """
        import asyncio, os, signal, sys, time
        from fairlead.gateway import db
        from fairlead.gateway.keys import Scope
        from fairlead.storage.connect import open_database

        async def main():
            store = await open_database(sys.argv[1])
            await db.create(store, Scope(name="kept"), now=time.time())
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], timeout=60, check=False
    )

    assert killed.returncode == -9
    assert "kept" in _fairlead(tmp_path, "list")

"""The log: durable before it answers, whole after every crash, shut when the disk fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from tests.unit.vault.audit.crashing import KEEPS, CrashingFolder

from fairlead.errors import AuditUnavailable, InvalidRequest, Tampered
from fairlead.vault.audit import checkpoint
from fairlead.vault.audit.checkpoint import Signer
from fairlead.vault.audit.event import Event
from fairlead.vault.audit.log import Log, Position
from fairlead.vault.audit.merkle import verify_consistency, verify_inclusion
from fairlead.vault.audit.verify import entries, verify

T = TypeVar("T")
SIGNER = Signer("vault.test/audit", b"\x07" * 32)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def event(number: int) -> Event:
    return Event(kind="read", at_ms=number, principal=f"key:{number}")


def clock() -> float:
    return 1000.0


async def opened(folder: CrashingFolder, **more: Any) -> Log:
    return await Log.open(folder, SIGNER, clock, **more)


async def write(folder: CrashingFolder, *numbers: int) -> list[Position]:
    log = await opened(folder)
    try:
        return [await log.append(event(number)) for number in numbers]
    finally:
        await log.close()


def times(folder: CrashingFolder) -> list[int]:
    return [entry.event.at_ms for entry in entries(folder)]


def test_events_lie_in_order_under_signed_heads() -> None:
    folder = CrashingFolder()

    async def story() -> None:
        log = await opened(folder)
        first = log.head
        assert first.size == 0
        for number in range(5):
            position = await log.append(event(number))
            assert folder.synced == folder.seen, "durable before it answers"
            assert (position.seq, position.size) == (number, number + 1)
            head = checkpoint.read(log.note, SIGNER.verifier)
            assert head == log.head
            assert verify_inclusion(position.leaf, number, head.size, head.root, log.inclusion(number))
            assert verify_consistency(0, first.root, head.size, head.root, log.consistency(0))
        await log.close()

    run(story())

    assert times(folder) == [0, 1, 2, 3, 4]
    report = verify(folder, SIGNER.verifier)
    assert report.ok
    assert (report.size, report.heads, report.torn_bytes) == (5, 6, 0)


def test_events_of_many_tasks_share_writes() -> None:
    folder = CrashingFolder()

    async def story() -> list[Position]:
        log = await opened(folder)
        positions = await asyncio.gather(*(log.append(event(number)) for number in range(300)))
        await log.close()
        return positions

    positions = run(story())

    assert [position.seq for position in positions] == list(range(300))
    assert times(folder) == list(range(300))
    assert verify(folder, SIGNER.verifier).ok


def test_a_reopened_log_goes_on() -> None:
    folder = CrashingFolder()
    run(write(folder, 0, 1))
    before = checkpoint.read(_last_note(folder), SIGNER.verifier)
    run(write(folder, 2))

    assert times(folder) == [0, 1, 2]
    assert verify(folder, SIGNER.verifier, [before]).ok


def test_one_writer_at_a_time() -> None:
    folder = CrashingFolder()

    async def story() -> None:
        log = await opened(folder)
        with pytest.raises(AuditUnavailable):
            await opened(folder)
        await log.close()
        await log.close()
        with pytest.raises(AuditUnavailable, match="closed"):
            await log.append(event(0))
        await (await opened(folder)).close()

    run(story())


@pytest.mark.parametrize("keeps", KEEPS)
def test_after_a_crash_at_every_call_nothing_that_was_confirmed_is_lost(keeps: str) -> None:
    for crash_at in range(1, 40):
        folder = CrashingFolder(crash_at=crash_at)
        confirmed = _until_crash(folder)
        # Crash again at every call of the recovery, too.
        for again in range(1, 8):
            survivor = folder.after_crash(keeps)
            survivor.crash_at = again
            more = _until_crash(survivor, first=100)
            last = survivor.after_crash(keeps)
            run(write(last, 999))

            found = [entry.event for entry in entries(last)]
            kept = [one.at_ms for one in found if one.kind == "read"]
            assert [number for number in kept if number in {*confirmed, *more}] == confirmed + more
            assert kept == sorted(set(kept))
            assert kept[-1] == 999
            assert verify(last, SIGNER.verifier).ok
        if folder.calls < crash_at:
            return  # the whole story ran without a crash
    raise AssertionError("the story never ended")


def _until_crash(folder: CrashingFolder, first: int = 0) -> list[int]:
    """Numbers of the events that were confirmed until the machine stopped."""

    async def story() -> list[int]:
        confirmed = []
        try:
            log = await opened(folder)
        except AuditUnavailable:
            return []
        for number in range(first, first + 3):
            try:
                await log.append(event(number))
            except AuditUnavailable:
                continue
            confirmed.append(number)
        await log.close()
        return confirmed

    return run(story())


def test_a_torn_tail_is_set_aside_and_said() -> None:
    folder = CrashingFolder()
    run(write(folder, 0))
    whole = len(folder.seen)
    run(write(folder, 1))
    torn = CrashingFolder(folder.seen[:-30])

    run(write(torn, 2))

    assert torn.kept == {f"audit.torn-{whole}": folder.seen[whole:-30]}
    found = [entry.event for entry in entries(torn)]
    assert [one.kind for one in found] == ["read", "recovery", "read"]
    assert found[1].detail == {"offset": str(whole), "torn_bytes": str(len(folder.seen) - 30 - whole)}
    assert found[1].at_ms == 1_000_000
    assert verify(torn, SIGNER.verifier).ok


def test_a_full_disk_refuses_and_heals() -> None:
    folder = CrashingFolder()

    async def story() -> None:
        log = await opened(folder)
        await log.append(event(0))
        before = folder.seen
        folder.fail_write = [50, 0]
        for number in (1, 2):
            with pytest.raises(AuditUnavailable, match="No space"):
                await log.append(event(number))
            assert folder.seen == before
        assert (await log.append(event(3))).seq == 1
        await log.close()

    run(story())

    assert times(folder) == [0, 3]
    assert verify(folder, SIGNER.verifier).ok


def test_a_failed_sync_shuts_the_log_until_it_is_opened_again() -> None:
    folder = CrashingFolder()

    async def story() -> None:
        log = await opened(folder)
        await log.append(event(0))
        folder.fail_sync = 1
        for number in (1, 2):
            with pytest.raises(AuditUnavailable):
                await log.append(event(number))
        assert log.head.size == 1
        await log.close()

    run(story())
    run(write(folder, 3))

    assert times(folder) in ([0, 3], [0, 1, 3])
    assert verify(folder, SIGNER.verifier).ok


def test_a_write_that_cannot_be_undone_shuts_the_log() -> None:
    folder = CrashingFolder()

    async def story() -> None:
        log = await opened(folder)
        folder.fail_write, folder.fail_sync = [10], 1
        with pytest.raises(AuditUnavailable):
            await log.append(event(0))
        with pytest.raises(AuditUnavailable, match="shut"):
            await log.append(event(1))
        await log.close()

    run(story())
    run(write(folder, 2))

    assert times(folder) == [2]


def test_an_event_that_cannot_be_recorded_harms_no_other() -> None:
    folder = CrashingFolder()

    async def story() -> None:
        log = await opened(folder)
        good, bad, also_good = await asyncio.gather(
            log.append(event(0)),
            log.append(Event(kind="read", at_ms=-1)),
            log.append(event(2)),
            return_exceptions=True,
        )
        assert isinstance(bad, InvalidRequest)
        assert isinstance(good, Position)
        assert isinstance(also_good, Position)
        await log.close()

    run(story())

    assert times(folder) == [0, 2]
    assert verify(folder, SIGNER.verifier).ok


def test_damage_before_a_signed_head_is_no_crash() -> None:
    folder = CrashingFolder()
    run(write(folder, 0, 1, 2))
    raw = folder.seen
    # The last record is the head over everything: a changed byte in it is a cut as far as anybody can tell.
    last = raw.rfind(SIGNER.verifier.name.encode() + b"\n") - 13
    for at in range(0, last, 7):
        changed = bytearray(raw)
        changed[at] ^= 0x20
        with pytest.raises(Tampered):
            run(write(CrashingFolder(bytes(changed)), 3))


def test_a_log_that_went_back_behind_a_pinned_head_does_not_open() -> None:
    folder = CrashingFolder()
    run(write(folder, 0))
    old = folder.seen
    run(write(folder, 1))
    pinned = checkpoint.read(_last_note(folder), SIGNER.verifier)

    async def story(content: bytes) -> None:
        await (await opened(CrashingFolder(content), pinned=pinned)).close()

    run(story(folder.seen))
    for content in (old, b""):
        with pytest.raises(Tampered, match="rollback"):
            run(story(content))
    other = CrashingFolder()
    run(write(other, 0, 7, 8))
    with pytest.raises(Tampered, match="fork"):
        run(story(other.seen))


def test_another_keys_log_does_not_open() -> None:
    folder = CrashingFolder()
    run(write(folder, 0))

    async def story() -> None:
        await Log.open(folder, Signer("vault.test/audit", b"\x08" * 32), clock)

    with pytest.raises(Tampered):
        run(story())
    assert not folder.locked


def test_a_cancelled_caller_leaves_the_log_whole() -> None:
    folder = CrashingFolder()

    async def story() -> None:
        log = await opened(folder)
        tasks = [asyncio.ensure_future(log.append(event(number))) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await log.close()

    run(story())

    assert set(range(1, 20, 2)) <= set(times(folder))
    assert verify(folder, SIGNER.verifier).ok


def _last_note(folder: CrashingFolder) -> bytes:
    return folder.seen[folder.seen.rfind(SIGNER.verifier.name.encode() + b"\n") :]

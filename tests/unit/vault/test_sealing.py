from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import Conflict, VaultError
from fairlead.vault.context import Context
from fairlead.vault.floe import Params
from fairlead.vault.opening import open_bytes
from fairlead.vault.sealing import Sealing, seal_bytes, seal_file
from fairlead.vault.sources import MemorySource

KEY = bytes(range(32))
PLACE = Context(tenant="acme", name="fraud", version="7", file="a.bin")
SMALL = Params(segment_bytes=40)


@settings(max_examples=60)
@given(st.binary(max_size=200), st.integers(1, 3))
def test_pieces_joined_open_again_and_the_digest_is_that_of_the_plaintext(plain: bytes, threads: int) -> None:
    sealing = Sealing(KEY, PLACE, MemorySource(plain), threads=threads, params=SMALL)

    sealed = b"".join(bytes(piece) for piece in sealing.pieces())

    result = sealing.result()
    assert open_bytes(KEY, PLACE, sealed, params=SMALL) == plain
    assert (result.size_bytes, result.sealed_bytes) == (len(plain), len(sealed))
    assert result.digests == {"sha256": hashlib.sha256(plain).hexdigest()}


def test_files_of_several_segments_are_sealed_and_reported(tmp_path: Path) -> None:
    blake3 = pytest.importorskip("blake3", reason="BLAKE3 digests need the extra `blake3`")
    plain = bytes(range(256)) * 40000  # 10 MB: three segments
    source, target = tmp_path / "plain", tmp_path / "sealed"
    source.write_bytes(plain)
    seen: list[int] = []

    sealed = seal_file(KEY, PLACE, source, target, digests=("sha256", "blake3"), progress=seen.append)

    assert sum(seen) == len(plain) == sealed.size_bytes
    assert target.stat().st_size == sealed.sealed_bytes
    assert target.stat().st_mode & 0o777 == 0o600
    assert sealed.digests == {
        "sha256": hashlib.sha256(plain).hexdigest(),
        "blake3": blake3.blake3(plain).hexdigest(),
    }
    assert open_bytes(KEY, PLACE, target.read_bytes()) == plain


def test_nothing_of_the_plaintext_is_in_the_sealed_bytes() -> None:
    plain = b"a secret of sixteen bytes or more" * 10

    sealed = seal_bytes(KEY, PLACE, plain, params=SMALL)

    assert not any(plain[at : at + 8] in sealed for at in range(40))


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    (tmp_path / "sealed").write_bytes(b"precious")

    with pytest.raises(Conflict):
        seal_file(KEY, PLACE, tmp_path / "plain", tmp_path / "sealed")

    assert (tmp_path / "sealed").read_bytes() == b"precious"


def test_a_link_in_the_targets_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    (tmp_path / "sealed").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Conflict):
        seal_file(KEY, PLACE, tmp_path / "plain", tmp_path / "sealed")

    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_grows_meanwhile_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    source = tmp_path / "plain"
    source.write_bytes(b"x" * 100)

    def grow(added: int) -> None:
        with source.open("ab") as file:
            file.write(b"y")

    with pytest.raises(VaultError, match="changed while it was read"):
        seal_file(KEY, PLACE, source, tmp_path / "sealed", progress=grow)

    assert not (tmp_path / "sealed").exists()


def test_a_source_that_fails_ends_the_sealing_and_leaves_no_file(tmp_path: Path) -> None:
    class Failing:
        size_bytes = 1000

        def read_into(self, offset: int, buffer: memoryview) -> None:
            if offset:
                raise VaultError("the disk is gone")

    sealing = Sealing(KEY, PLACE, Failing(), params=SMALL)

    with pytest.raises(VaultError, match="gone"):
        list(sealing.pieces())
    with pytest.raises(VaultError, match="not sealed to its end"):
        sealing.result()


def test_leaving_early_stops_the_threads_and_gives_no_result() -> None:
    sealing = Sealing(KEY, PLACE, MemorySource(bytes(1000)), params=SMALL)
    pieces = sealing.pieces()
    next(pieces)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined] # it is a generator

    with pytest.raises(VaultError, match="not sealed to its end"):
        sealing.result()


def test_a_missing_blake3_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)

    with pytest.raises(VaultError, match="BLAKE3") as refused:
        Sealing(KEY, PLACE, MemorySource(b""), digests=("blake3",))

    assert refused.value.hint is not None
    assert "fairlead[blake3]" in refused.value.hint


def test_an_impossible_target_is_reported(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")

    with pytest.raises(VaultError, match="cannot be written"):
        seal_file(KEY, PLACE, tmp_path / "plain", tmp_path / "no" / "folder")


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "plain").write_bytes(b"x")
    real = os.open

    def opened(path: Path, flags: int, mode: int = 0o777) -> int:
        """The target is made, and what is written to it goes to a full disk."""
        fd = real(path, flags, mode)
        if path == tmp_path / "sealed":
            os.close(fd)
            fd = real(full, os.O_WRONLY)
        return fd

    monkeypatch.setattr("fairlead.vault.sealing.os.open", opened)

    with pytest.raises(VaultError, match="No space left"):
        seal_file(KEY, PLACE, tmp_path / "plain", tmp_path / "sealed")
    assert not (tmp_path / "sealed").exists()

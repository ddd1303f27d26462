from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead.errors import VaultError
from fairlead.vault.sources import FileSource, MemorySource


def test_ranges_are_read_exactly(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with FileSource(tmp_path / "file") as file:
        for source in (file, MemorySource(b"0123456789")):
            buffer = bytearray(4)
            source.read_into(3, memoryview(buffer))
            assert (source.size_bytes, bytes(buffer)) == (10, b"3456")


def test_a_source_never_gives_less_than_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with FileSource(tmp_path / "file") as file:
        for source in (file, MemorySource(b"0123456789")):
            with pytest.raises(VaultError):
                source.read_into(8, memoryview(bytearray(4)))


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "pipe", ".", "missing"):
        with pytest.raises(VaultError):
            FileSource(tmp_path / name)


def test_a_change_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 1))
    with FileSource(path) as source:
        source.check_unchanged()
        path.write_bytes(b"y")
        with pytest.raises(VaultError, match="changed"):
            source.check_unchanged()

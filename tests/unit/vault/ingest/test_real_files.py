"""Files that PyTorch, numpy, scikit-learn and others wrote: plain tensors pass, what runs code is held."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.vault.ingest.inspection import inspect
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.window import file_window

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "ingest"
FILES = sorted(path for folder in ("accepted", "quarantined") for path in (GOLDEN / folder).iterdir())


def test_there_are_files() -> None:
    assert len(FILES) >= 25


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_folder_says_the_decision(path: Path) -> None:
    with path.open("rb") as file:
        verdict = inspect(file_window(file.fileno()), path.name, Limits())

    assert verdict.decision == path.parent.name, verdict


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_cut_anywhere_is_never_an_accepted_pickle_or_archive(path: Path) -> None:
    """Formats that run code or unpack have an end, and a file without it does not pass."""
    data = path.read_bytes()
    with path.open("rb") as file:
        window = file_window(file.fileno())
        for size in range(
            1, len(data.rstrip(b"\0")), max(1, len(data) // 60)
        ):  # GGUF's last padding is optional
            assert inspect(window.part(0, size), path.name, Limits()).decision != "accepted", size

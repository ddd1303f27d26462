"""Folders: what is in them besides files, names that collide, and files that refer to each other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.unit.vault.ingest.made import onnx, onnx_external, safetensors

from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.tree import inspect_tree
from fairlead.vault.ingest.verdict import TreeVerdict


def _inspect(folder: Path, limits: Limits | None = None) -> TreeVerdict:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return inspect_tree(descriptor, limits or Limits())
    finally:
        os.close(descriptor)


def _rules(verdict: TreeVerdict) -> set[str]:
    return {one.rule for one in verdict.findings} | {
        one.rule for file in verdict.files for one in file.verdict.findings
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / ".gitattributes").write_text("*.bin filter=lfs\n")
    return tmp_path


def test_a_plain_folder_passes(folder: Path) -> None:
    verdict = _inspect(folder)

    assert verdict.decision == "accepted"
    assert [file.path for file in verdict.files] == [".gitattributes", "config.json", "model.safetensors"]


def test_links_are_refused_and_not_followed(folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")

    verdict = _inspect(folder)

    assert verdict.decision == "refused"
    assert [one.rule for one in verdict.findings] == ["tree-link", "tree-link"]
    assert len(verdict.files) == 3


def test_special_files_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")

    assert _rules(_inspect(folder)) == {"tree-special"}


def test_a_repository_is_refused(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "evil.py").write_text("import os\n")

    assert _rules(_inspect(folder)) == {"tree-git"}


def test_hidden_files_are_held(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache" / "notes.txt").write_text("x\n")

    verdict = _inspect(folder)

    assert verdict.decision == "quarantined"
    assert _rules(verdict) == {"tree-hidden"}


@pytest.mark.parametrize("name", ["CONFIG.json", "\uff43onfig.json"])
def test_names_that_collide_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")

    assert _inspect(folder).decision == "refused"
    assert "tree-name" in _rules(_inspect(folder))


@pytest.mark.parametrize(
    "name", [b"a\xff.txt", b"a:b.txt", b"a\\b.txt", b"a\n.txt", b"e\xcc\x81.txt", b"a .txt "]
)
def test_names_that_are_not_plain_are_refused(folder: Path, name: bytes) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_text("x\n")

    verdict = _inspect(folder)

    assert "tree-name" in _rules(verdict)
    assert verdict.decision == "refused"


def test_python_beside_a_model_is_held(folder: Path) -> None:
    (folder / "modeling.py").write_text("import os\n")

    verdict = _inspect(folder)

    assert (verdict.decision, _rules(verdict)) == ("quarantined", {"code"})


def test_shards_must_be_there(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"w": "model.safetensors"}})
    )
    assert _inspect(folder).decision == "accepted"

    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert _rules(_inspect(folder)) == {"missing"}


def test_raw_tensor_data_pass_only_where_a_model_names_them(folder: Path) -> None:
    (folder / "m.data").write_bytes(bytes(range(256)) * 4)
    assert _inspect(folder).decision == "refused"

    (folder / "m.onnx").write_bytes(onnx(tensors=onnx_external("m.data")))
    verdict = _inspect(folder)
    assert verdict.decision == "accepted"
    assert "raw-tensors" in {file.verdict.kind for file in verdict.files}


@pytest.mark.parametrize("limits", [Limits(files=2), Limits(tree_bytes=50)])
def test_there_is_an_end_to_files_and_bytes(folder: Path, limits: Limits) -> None:
    assert _rules(_inspect(folder, limits)) == {"limits"}


def test_an_empty_folder_is_not_accepted(tmp_path: Path) -> None:
    assert _inspect(tmp_path).decision == "quarantined"


def test_one_bad_file_decides(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"\x7fELF" + bytes(60))

    assert _inspect(folder).decision == "refused"

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.vault.manifest_cases import ACCEPTED, REF
from tests.unit.vault.test_oms import statement

from fairlead.errors import InvalidRequest, Tampered, VaultError
from fairlead.vault.manifest import Manifest, ManifestFile, build
from fairlead.vault.oms import Statement, decode_statement
from fairlead.vault.oms_folder import check_folder, check_manifest, statement_of

FILES = {
    "config.json": b"{}",
    "weights/model.bin": bytes(range(256)) * 9000,
    "empty": b"",
    ".gitignore": b"*.tmp",
    ".git/hooks/evil.py": b"import os",
    "weights/.gitattributes": b"x",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def sharded(folder: Path, algorithm: str = "sha256", size: int = 1_000_000) -> Statement:
    """What a writer of shards signs, which leaves empty files out."""
    resources = []
    for path, content in sorted(FILES.items(), key=lambda item: item[0].split("/")):
        for at in range(0, len(content), size):
            shard = content[at : at + size]
            digest = hashlib.new(algorithm, shard).hexdigest()
            resources.append((f"{path}:{at}:{at + len(shard)}", digest))
    return decode_statement(statement(resources, method="shards", hash_type=algorithm, shard_size=size))


def test_a_folder_passes_its_own_statement(model: Path) -> None:
    hashed: list[int] = []
    signed = decode_statement(statement_of(model, progress=hashed.append))

    check_folder(model, signed)
    assert signed.name == "model"
    assert {path: spans[0].digest for path, spans in signed.files.items()} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }
    assert sum(hashed) == sum(map(len, FILES.values()))


def replace(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_bytes(content)


def link(path: str, target: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        (folder / path).symlink_to(target)

    return change


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": replace("config.json", b"[]"),
    "longer": replace("config.json", b"{} "),
    "no longer empty": replace("empty", b"x"),
    "one bit": replace("weights/model.bin", FILES["weights/model.bin"][:-1] + b"\xfe"),
    "more": replace("more.json", b"{}"),
    "an empty file more": replace("__init__.py", b""),
    "in .git": replace(".git/config", b"x"),
    "beside .git": replace(".github", b"x"),
    "missing": lambda folder: (folder / "config.json").unlink(),
    "an empty file missing": lambda folder: (folder / "empty").unlink(),
    "renamed": lambda folder: (folder / "config.json").rename(folder / "config.py"),
    "an empty folder": lambda folder: (folder / "weights/new").mkdir(),
    "a link to the same content": link("config.json", "config2.json"),
    "a link to a folder": link("more", "weights"),
    "a broken link": link("more", "nothing"),
    "a pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "a pipe for a file": lambda folder: ((folder / "empty").unlink(), os.mkfifo(folder / "empty")),
    "a folder for a file": lambda folder: ((folder / "empty").unlink(), (folder / "empty").mkdir()),
    "a name that is no Unicode": lambda folder: Path(os.fsdecode(bytes(folder) + b"/\xff")).write_bytes(b""),
    "a name not composed": replace("e\u0301", b""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_difference_is_refused(model: Path, change: Callable[[Path], object]) -> None:
    signed = decode_statement(statement_of(model))
    change(model)

    with pytest.raises(Tampered):
        check_folder(model, signed)


def test_swapped_contents_are_refused(model: Path) -> None:
    signed = decode_statement(statement_of(model))
    (model / "config.json").rename(model / "x")
    (model / ".gitignore").rename(model / "config.json")
    (model / "x").rename(model / ".gitignore")

    with pytest.raises(Tampered):
        check_folder(model, signed)


def test_what_others_were_told_to_ignore_is_not_ignored(model: Path) -> None:
    signed = {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items() if ".git" not in path
    }
    lax = decode_statement(
        statement(sorted(signed.items()), ignore_paths=[".git", ".gitignore", "weights"], allow_symlinks=True)
    )

    with pytest.raises(Tampered, match="git"):
        check_folder(model, lax)


def test_only_named_signature_files_are_left_out(model: Path) -> None:
    signatures = frozenset({"model.sig"})
    (model / "model.sig").write_bytes(b"not there yet")
    signed = decode_statement(statement_of(model, signatures=signatures))
    (model / "model.sig").write_bytes(b"{}")

    check_folder(model, signed, signatures=signatures)
    assert "model.sig" not in signed.files
    assert signed.serialization.ignore_paths == ("model.sig",)
    with pytest.raises(Tampered, match="was not signed"):
        check_folder(model, signed)
    with pytest.raises(Tampered, match="is not there"):
        check_folder(model, signed, signatures=frozenset({"model.sig", "config.json"}))
    link("model.sig", "config.json")(model)
    with pytest.raises(Tampered, match="link"):
        check_folder(model, signed, signatures=signatures)


@pytest.mark.parametrize("algorithm", ["sha256", "blake2b"])
def test_shards_are_checked_and_their_unsigned_empty_files_refused(model: Path, algorithm: str) -> None:
    signed = sharded(model, algorithm)
    with pytest.raises(Tampered, match="'empty' is there and was not signed"):
        check_folder(model, signed)
    (model / "empty").unlink()

    check_folder(model, signed)
    for content in (FILES["weights/model.bin"] + b"x", FILES["weights/model.bin"][:-1], b"x" * 9000 * 256):
        (model / "weights/model.bin").write_bytes(content)
        with pytest.raises(Tampered):
            check_folder(model, signed)


def test_blake3_is_checked(model: Path) -> None:
    blake3 = pytest.importorskip("blake3", reason="the extra `blake3` is not installed")
    resources = [(path, blake3.blake3(FILES[path]).hexdigest()) for path in sorted(FILES)]
    signed = decode_statement(statement(resources, hash_type="blake3"))

    check_folder(model, signed)
    (model / "empty").write_bytes(b"x")
    with pytest.raises(Tampered):
        check_folder(model, signed)


def test_folders_that_cannot_be_signed_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    for folder in (tmp_path / "link", model / "config.json"):
        with pytest.raises(InvalidRequest):
            statement_of(folder)
    with pytest.raises(VaultError):
        statement_of(tmp_path / "nothing")
    (model / "CONFIG.json").write_bytes(b"")
    with pytest.raises(InvalidRequest):
        statement_of(model)


def test_a_file_that_changes_while_it_is_read_is_refused(model: Path) -> None:
    def grow(_: int) -> None:
        with (model / "weights/model.bin").open("ab") as file:
            file.write(b"x")

    with pytest.raises(VaultError, match="changed"):
        statement_of(model, progress=grow)


def test_a_manifest_is_held_against_a_statement(model: Path) -> None:
    def manifest_of(files: dict[str, bytes]) -> Manifest:
        return build(
            REF,
            [
                ManifestFile(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                for path, content in files.items()
            ],
            created_at_ms=0,
            ingest=ACCEPTED,
        )

    signed = decode_statement(statement_of(model))

    check_manifest(manifest_of(FILES), signed)
    for other in ({**FILES, "more": b""}, {**FILES, "empty": b"x"}, {"config.py": b"{}"}):
        with pytest.raises(Tampered):
            check_manifest(manifest_of(other), signed)
    with pytest.raises(InvalidRequest):
        check_manifest(manifest_of(FILES), sharded(model))

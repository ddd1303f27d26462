"""A whole folder: every entry by what it is, every file by `inspection`, and what files say about each other.

Folders are opened one inside the other without following links, so that
nothing outside is read, whoever moves things meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import msgspec

from fairlead.vault.ingest import inspection, names
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.verdict import (
    FileVerdict,
    Report,
    Stopped,
    TreeVerdict,
    Verdict,
    finding,
    refusal,
    shown,
    strictest,
)
from fairlead.vault.ingest.window import file_window

_MAX_DEPTH: Final = 32
_HIDDEN_ALLOWED: Final = frozenset({".gitattributes", ".gitignore"})
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Entry(NamedTuple):
    """Something in the folder that is not a folder."""

    path: str
    parent: int
    """The open folder it is in."""
    name: str
    is_file: bool


def inspect_tree(root: int, limits: Limits) -> TreeVerdict:
    """The verdict on an open folder."""
    report = Report()
    files: list[FileVerdict] = []
    total = 0
    try:
        for entry in _entries(root, "", report, 0):
            if len(files) >= limits.files:
                raise Stopped("limits", "", f"more than {limits.files} files")
            if why := names.unsafe(entry.path):
                report.add("tree-name", shown(entry.path), why)
            if any(_is_hidden(part) for part in entry.path.split("/")):
                report.add("tree-hidden", shown(entry.path), "it does not show in listings")
            if not entry.is_file:
                continue
            verdict = _inspect_entry(entry, limits)
            total += verdict.size_bytes
            if total > limits.tree_bytes:
                raise Stopped("limits", "", f"more than {limits.tree_bytes} bytes")
            files.append(FileVerdict(path=_printable(entry.path), verdict=verdict))
    except Stopped as stopped:
        report.add_finding(stopped.finding)
    if again := names.collision(file.path for file in files):
        report.add(
            "tree-name",
            shown(again),
            "another path is the same where letter case or Unicode's form do not count",
        )
    if not files:
        report.add("empty", "", "the folder has no files")
    files = _resolve(files)
    decision = strictest((report.decision, *(file.verdict.decision for file in files)))
    return TreeVerdict(decision=decision, files=tuple(files), findings=tuple(report.findings))


def _printable(path: str) -> str:
    """A path for the answer; names that are not UTF-8 have a finding already."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_hidden(part: str) -> bool:
    return part.startswith(".") and part not in _HIDDEN_ALLOWED


def _entries(folder: int, path: str, report: Report, depth: int) -> Iterator[_Entry]:
    """Everything below a folder, in the order of names."""
    if depth > _MAX_DEPTH:
        raise Stopped("limits", shown(path), f"folders deeper than {_MAX_DEPTH}")
    for name in sorted(os.listdir(folder)):
        inner = f"{path}/{name}" if path else name
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            report.add("tree-link", shown(inner), "a symbolic link")
        elif stat.S_ISDIR(mode):
            if name.lower() in {".git", ".hg", ".svn"}:
                report.add("tree-git", shown(inner), "hooks and settings that run programs")
                continue
            opened = _open(name, folder, os.O_DIRECTORY)
            try:
                yield from _entries(opened, inner, report, depth + 1)
            finally:
                os.close(opened)
        elif stat.S_ISREG(mode):
            yield _Entry(inner, folder, name, is_file=True)
        else:
            report.add("tree-special", shown(inner), "a device, socket or pipe")


def _open(name: str, folder: int, flags: int = 0) -> int:
    try:
        return os.open(name, _OPEN | flags, dir_fd=folder)
    except OSError as error:
        raise Stopped(
            "scanner-failed", shown(name), f"it cannot be opened: {os.strerror(error.errno or 0)}"
        ) from None


def _inspect_entry(entry: _Entry, limits: Limits) -> Verdict:
    descriptor = _open(entry.name, entry.parent)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return refusal("unknown", "tree-special", entry.path, "it is no longer a file")
        return inspection.inspect(file_window(descriptor), entry.path, limits)
    except OSError as error:
        return refusal("unknown", "scanner-failed", "", f"it cannot be read: {os.strerror(error.errno or 0)}")
    finally:
        os.close(descriptor)


def _resolve(files: list[FileVerdict]) -> list[FileVerdict]:
    """Judge files by what others say of them.

    Raw tensor data are of no kind; they pass where a model beside them names
    them. A file that a model names and that is not there is a finding.
    """
    there = {file.path for file in files}
    named: set[str] = set()
    missing: dict[str, list[str]] = {}
    for file in files:
        folder = PurePosixPath(file.path).parent
        for reference in file.verdict.refers_to:
            path = str(folder / reference)
            (named.add(path) if path in there else missing.setdefault(file.path, []).append(reference))
    return [_resolved(file, raw=file.path in named, missing=missing.get(file.path, [])) for file in files]


def _resolved(file: FileVerdict, *, raw: bool, missing: list[str]) -> FileVerdict:
    verdict = file.verdict
    findings = list(verdict.findings)
    kind = verdict.kind
    if raw and kind == "unknown" and [one.rule for one in findings] == ["unknown-content"]:
        kind, findings = "raw-tensors", []
    findings += [
        finding("missing", shown(name), "a file that is referred to is not in the folder")
        for name in missing[:16]
    ]
    decision = strictest(one.decision for one in findings)
    return FileVerdict(
        path=file.path,
        verdict=msgspec.structs.replace(verdict, kind=kind, findings=tuple(findings), decision=decision),
    )

"""Folders held against a signed statement, and statements made of folders.

Closed world: everything in the folder must be listed and everything listed
must be there, `.git` and empty files included. Symbolic links, devices and
empty folders are refused wherever they are, whatever the statement allows or
ignores. Only the signature files that the caller names are left out.

Files are opened through their folder, without following links, and hashed
through the descriptor that was checked. Somebody who can write to the folder
while it is checked can also write to it afterwards: check what nobody else can
write to. Modes and times are not part of what is signed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec

from fairlead.errors import InvalidRequest, Tampered, VaultError
from fairlead.vault.manifest import Manifest
from fairlead.vault.oms import Span, Statement, encode_statement
from fairlead.vault.ref import check_file_path

Progress = Callable[[int], None]
"""Called with the number of bytes that were hashed since the last call."""
_CHUNK_BYTES: Final = 1 << 20


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    name: str
    folder_fd: int


def statement_of(
    folder: Path,
    *,
    name: str | None = None,
    signatures: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> bytes:
    """The payload to sign for a folder: every file, by SHA-256.

    Args:
        folder: the model.
        name: what it is called; the folder's name when left out.
        signatures: paths of signature files inside, which cannot sign themselves.
        progress: called as bytes are hashed.

    Raises:
        InvalidRequest: the folder has something that cannot be signed.
        VaultError: a file cannot be read, or changed meanwhile.
    """
    whole = (Span(begin=0, end=None, digest=""),)
    digests: dict[str, str] = {}
    for found in _walk(folder, signatures):
        digests[found.path] = _digests(found, whole, "sha256", progress)[0]
    return encode_statement(name or folder.absolute().name, digests, ignore_paths=sorted(signatures))


def check_folder(
    folder: Path,
    statement: Statement,
    *,
    signatures: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> None:
    """Pass only a folder that has exactly the files of a verified statement.

    Args:
        folder: the model.
        statement: from `oms_verify`.
        signatures: paths of the signature files inside, the only ones that may be unlisted.
        progress: called as bytes are hashed.

    Raises:
        Tampered: a file is missing, unlisted or changed, or there is a link, a device or an empty folder.
        VaultError: a file cannot be read.
    """
    missing = set(statement.files)
    try:
        for found in _walk(folder, signatures):
            spans = statement.files.get(found.path)
            if spans is None:
                raise _differs(f"{found.path!r} is there and was not signed")
            missing.discard(found.path)
            actual = _digests(found, spans, statement.serialization.hash_type, progress)
            if actual != [span.digest for span in spans]:
                raise _differs(f"{found.path!r} is not the file that was signed")
    except InvalidRequest as error:
        raise _differs(error.message) from None
    if missing:
        raise _differs(f"{min(missing)!r} was signed and is not there")


def check_manifest(manifest: Manifest, statement: Statement) -> None:
    """Pass only a vault manifest that has exactly the files of a verified statement.

    Raises:
        InvalidRequest: the statement does not hash whole files with SHA-256, so the two cannot be compared.
        Tampered: they differ.
    """
    signed = statement.model_digest
    if signed is None:
        raise InvalidRequest("this signature is over parts of files or another hash; check the folder itself")
    if signed != manifest.digest:
        raise _differs(f"the files of {manifest.ref} are not those that were signed")


def _walk(folder: Path, left_out: frozenset[str]) -> Iterator[_Found]:
    """Every file, each by a descriptor of its folder that is valid until the next one is asked for."""
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise InvalidRequest(f"{folder} is not a folder")
        for top, folders, files, fd in os.fwalk(folder, onerror=_raise, follow_symlinks=False):
            inside = Path(top).relative_to(folder).as_posix()
            before = "" if inside == "." else f"{inside}/"
            if before and not folders and not files:
                raise InvalidRequest(f"{inside!r} is an empty folder")
            folders.sort()
            for name in folders:
                check_file_path(before + name)
                if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    raise InvalidRequest(f"{before + name!r} is a link")
            for name in sorted(files):
                path = check_file_path(before + name)
                if not stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    raise InvalidRequest(f"{path!r} is a link, or no regular file")
                if path not in left_out:
                    yield _Found(path=path, name=name, folder_fd=fd)
    except OSError as error:
        raise VaultError(f"{folder} cannot be read: {error.strerror}") from error


def _digests(found: _Found, spans: tuple[Span, ...], algorithm: str, progress: Progress | None) -> list[str]:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(found.name, flags, dir_fd=found.folder_fd)
    except OSError as error:
        raise VaultError(f"{found.path!r} cannot be read: {error.strerror}") from error
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise InvalidRequest(f"{found.path!r} is no regular file")
        end = spans[-1].end
        if end is not None and before.st_size != end:
            raise InvalidRequest(f"{found.path!r} has {before.st_size} bytes, and {end} were signed")
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, max(before.st_size, 1))))
        digests = [_digest(fd, span, before.st_size, algorithm, buffer, progress) for span in spans]
        after = os.fstat(fd)
        if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
            after.st_size,
            after.st_mtime_ns,
            after.st_ctime_ns,
        ):
            raise VaultError(f"{found.path!r} was changed while it was read")
        return digests
    except OSError as error:
        raise VaultError(f"{found.path!r} cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)


def _digest(
    fd: int, span: Span, size: int, algorithm: str, buffer: memoryview, progress: Progress | None
) -> str:
    computed = _hasher(algorithm)
    at, end = span.begin, size if span.end is None else span.end
    while at < end:
        got = os.preadv(fd, [buffer[: end - at]], at)
        if not got:
            raise VaultError("a file was cut while it was read")
        computed.update(buffer[:got])
        at += got
        if progress:
            progress(got)
    return computed.hexdigest()


def _hasher(algorithm: str) -> _Hash:
    if algorithm != "blake3":
        return hashlib.new(algorithm)
    try:
        import blake3
    except ImportError as missing:
        raise VaultError(
            "BLAKE3 digests need the package `blake3`", hint="pip install 'fairlead[blake3]'"
        ) from missing
    made: _Hash = blake3.blake3()
    return made


def _raise(error: OSError) -> None:
    raise error


def _differs(why: str) -> Tampered:
    return Tampered(f"the files are not those that were signed: {why}")

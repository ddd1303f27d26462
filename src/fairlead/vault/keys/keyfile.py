"""The file of a local key service: its format, and how it is read and replaced.

JSON with one key-encryption key per version. Protected by a machine key, the
keys stand in it as they are and the file's mode is what protects them; by a
passphrase, they are sealed with AES-256-GCM under a key that scrypt (RFC 7914)
derives, and everything else of the file is authenticated with them.

A file that others may read or write is refused, and so is one in a directory
that others may write to. A new file never replaces one that is there; a change
replaces the file as a whole, under a lock of its directory, so that a crash
leaves the old or the new one. Blocking: services call this in threads.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from fairlead.errors import Conflict, KeyRefused, KeyServiceUnavailable, UsageError
from fairlead.vault.keys.port import KEY_BYTES

MAX_FILE_BYTES: Final = 1_048_576
MIN_PASSPHRASE_CHARS: Final = 12
LOG_N: Final = 17
"""scrypt's cost: 2^17 blocks of 1 KiB, 128 MiB and about half a second."""
_MAX_LOG_N: Final = 20
_DOMAIN: Final = b"fairlead.dev/vault/keyfile/v1\0"


class Material(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version's key. Never prints it."""

    version: int
    created_at: str
    """RFC 3339, UTC."""
    key: bytes
    enabled: bool = True
    """A version that is not unwraps nothing."""

    def __post_init__(self) -> None:
        """Refuse a key of another length."""
        if len(self.key) != KEY_BYTES or self.version < 1:
            raise ValueError("not a key")

    def __repr__(self) -> str:
        return f"Material(version={self.version})"


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All versions, in order; the last one wraps."""

    id: str
    versions: tuple[Material, ...]

    def __post_init__(self) -> None:
        """Refuse a file whose versions are not in order."""
        numbers = [each.version for each in self.versions]
        if not numbers or numbers != sorted(set(numbers)):
            raise ValueError("the versions are not in order")

    def current(self) -> Material:
        """The version that wraps."""
        return self.versions[-1]

    def find(self, version: str) -> Material | None:
        """A version by its number as text, None when there is none."""
        return next((each for each in self.versions if str(each.version) == version), None)


class _Scrypt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    salt: bytes
    log_n: int

    def __post_init__(self) -> None:
        if not (len(self.salt) == 16 and 1 <= self.log_n <= _MAX_LOG_N):
            raise ValueError("scrypt's parameters are outside their bounds")


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal["fairlead-keys/1"]
    keys: Keys | None = None
    scrypt: _Scrypt | None = None
    sealed: bytes | None = None


class KeyFile:
    """A key file at a path."""

    def __init__(self, path: Path, passphrase: str | None = None, *, log_n: int = LOG_N) -> None:
        """Name a file. With a passphrase its keys are sealed; `log_n` is scrypt's cost in new files."""
        self.path = path
        self._passphrase = passphrase
        self._log_n = log_n

    def __repr__(self) -> str:
        return f"KeyFile({str(self.path)!r})"

    def create(self, now: str) -> Keys:
        """Make the file with one key, for us alone to read.

        Args:
            now: RFC 3339, UTC.

        Raises:
            Conflict: there is something of this name; it was not touched.
            UsageError: the passphrase is too short.
            KeyServiceUnavailable: the directory cannot be written, or others may write to it.
        """
        if self._passphrase is not None and len(self._passphrase) < MIN_PASSPHRASE_CHARS:
            raise UsageError(f"a passphrase has at least {MIN_PASSPHRASE_CHARS} characters")
        first = Material(version=1, created_at=now, key=secrets.token_bytes(KEY_BYTES))
        keys = Keys(id="local-" + secrets.token_hex(8), versions=(first,))
        with self._locked():
            self._write(self._encoded(keys), replace=False)
        return keys

    def read(self) -> Keys:
        """Every version.

        Raises:
            KeyServiceUnavailable: the file is not there, cannot be read, or is damaged.
            KeyRefused: others may read or change it, or the passphrase is another.
        """
        try:
            file = msgspec.json.decode(self._bytes(), type=_File)
        except (msgspec.DecodeError, ValueError):
            raise KeyServiceUnavailable(f"{self.path} is no key file, or is damaged") from None
        if file.keys is not None and file.sealed is None and file.scrypt is None:
            if self._passphrase is not None:
                raise KeyRefused(
                    f"{self.path} is not sealed, but a passphrase is configured",
                    hint="somebody may have replaced the file; leave `passphrase` out if it was you",
                )
            return file.keys
        if file.keys is None and file.sealed is not None and file.scrypt is not None:
            return self._opened(file.scrypt, file.sealed)
        raise KeyServiceUnavailable(f"{self.path} is no key file, or is damaged")

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever the file is replaced, written to or opened to others. Cheap.

        Raises:
            KeyServiceUnavailable: there is no file.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise KeyServiceUnavailable(f"cannot read the key file {self.path}: {error.strerror}") from error
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid

    def rotate(self, now: str) -> Keys:
        """Add a version, which wraps from now on."""
        with self._locked():
            keys = self.read()
            number = keys.current().version + 1
            new = Material(version=number, created_at=now, key=secrets.token_bytes(KEY_BYTES))
            changed = Keys(id=keys.id, versions=(*keys.versions, new))
            self._write(self._encoded(changed), replace=True)
        return changed

    def disable(self, version: int) -> Keys:
        """Let an older version unwrap nothing any more.

        Raises:
            UsageError: it is the current one, or there is none of this number.
        """
        with self._locked():
            keys = self.read()
            if version == keys.current().version or keys.find(str(version)) is None:
                raise UsageError(f"version {version} is the current one, or does not exist")
            changed = Keys(
                id=keys.id,
                versions=tuple(
                    msgspec.structs.replace(each, enabled=False) if each.version == version else each
                    for each in keys.versions
                ),
            )
            self._write(self._encoded(changed), replace=True)
        return changed

    # --- content -------------------------------------------------------------------------------

    def _encoded(self, keys: Keys) -> bytes:
        if self._passphrase is None:
            return msgspec.json.encode(_File(format="fairlead-keys/1", keys=keys)) + b"\n"
        scrypt = _Scrypt(salt=secrets.token_bytes(16), log_n=self._log_n)
        nonce = secrets.token_bytes(12)
        sealer = AESGCM(self._derived(scrypt))
        sealed = nonce + sealer.encrypt(nonce, msgspec.json.encode(keys), _associated(scrypt))
        return msgspec.json.encode(_File(format="fairlead-keys/1", scrypt=scrypt, sealed=sealed)) + b"\n"

    def _opened(self, scrypt: _Scrypt, sealed: bytes) -> Keys:
        if self._passphrase is None:
            raise KeyRefused(f"{self.path} is sealed with a passphrase, and none is configured")
        try:
            plain = AESGCM(self._derived(scrypt)).decrypt(sealed[:12], sealed[12:], _associated(scrypt))
            return msgspec.json.decode(plain, type=Keys)
        except (InvalidTag, ValueError):
            raise KeyRefused(f"{self.path}: the passphrase is another, or the file was changed") from None

    def _derived(self, scrypt: _Scrypt) -> bytes:
        assert self._passphrase is not None
        return Scrypt(salt=scrypt.salt, length=32, n=1 << scrypt.log_n, r=8, p=1).derive(
            self._passphrase.encode()
        )

    # --- disk ----------------------------------------------------------------------------------

    def _bytes(self) -> bytes:
        try:
            _check_directory(self.path)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                # The open file is looked at, not the path: nobody can change it in between.
                check_file(self.path, os.fstat(descriptor), os.geteuid())
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise KeyServiceUnavailable(f"cannot read the key file {self.path}: {error.strerror}") from error
        if len(data) > MAX_FILE_BYTES:
            raise KeyServiceUnavailable(f"{self.path} is too large for a key file")
        return data

    def _write(self, data: bytes, *, replace: bool) -> None:
        """Put the whole file in place, durably. Without `replace` a file that is there wins."""
        target = self.path.resolve() if replace else self.path
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
        try:
            # What a crash has left behind: under the lock nobody else is writing.
            for stale in target.parent.glob(f".{target.name}.*"):
                stale.unlink()
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    os.fchmod(descriptor, 0o600)  # whatever the umask
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                if replace:
                    temporary.replace(target)
                else:
                    os.link(temporary, target)  # unlike a rename, it fails when the name is taken
            finally:
                temporary.unlink(missing_ok=True)
            _sync_directory(target.parent)
        except FileExistsError as error:
            raise Conflict(f"{self.path} exists already; a key file is never overwritten") from error
        except OSError as error:
            raise KeyServiceUnavailable(f"cannot write {self.path}: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the file's directory, which leaves nothing behind."""
        try:
            _check_directory(self.path)
            directory = os.open(self.path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KeyServiceUnavailable(f"cannot use {self.path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)


def check_file(path: Path, found: os.stat_result, euid: int) -> None:
    """Refuse a file that is not for a process of this user alone.

    Raises:
        KeyServiceUnavailable: it is no regular file.
        KeyRefused: others may read or change it.
    """
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise KeyServiceUnavailable(f"{path} is no regular file")
    private = found.st_uid == euid and not mode & 0o077
    # A Secret volume of Kubernetes is root's, and readable for the pod's own group: 0440 at most.
    mounted = found.st_uid == 0 != euid and not mode & 0o027
    if not (private or mounted):
        raise KeyRefused(
            f"{path} can be read or changed by others (mode {mode:04o}, owner {found.st_uid})",
            hint=f"chmod 600 {path}, and rotate its key if somebody may have read it",
        )


def _check_directory(path: Path) -> None:
    directory = path.resolve().parent
    found = directory.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()) or (mode & 0o022 and not mode & stat.S_ISVTX):
        raise KeyRefused(
            f"others may replace files in {directory} (mode {mode:04o}, owner {found.st_uid})",
            hint=f"chmod go-w {directory}",
        )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _associated(scrypt: _Scrypt) -> bytes:
    return _DOMAIN + base64.b64encode(scrypt.salt) + b":%d" % scrypt.log_n

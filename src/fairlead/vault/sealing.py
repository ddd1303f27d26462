"""Seal files: read, hash, encrypt and write, overlapped, in a few reused buffers.

Encryption runs on threads (OpenSSL and hashlib release the interpreter's lock),
the hash on one of its own, because it is the only part that cannot be split: on
current processors SHA-256 takes nine times as long as AES. Sealing never holds
more than `SLOTS` segments, twice 4 MiB each.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from fairlead.errors import Conflict, VaultError
from fairlead.vault.context import Context
from fairlead.vault.floe import HEADER_BYTES, SEGMENT_OVERHEAD, VAULT, Buffer, Params, Sealer, wipe
from fairlead.vault.ring import in_order
from fairlead.vault.sources import FileSource, Source

SLOTS: Final = 4
_WRITE_BYTES: Final = 256 << 10
"""Bytes in one write. Measured on Linux 6 with ext4: 0.3 to 0.4 GB/s for writes of a whole segment of 4 MiB,
1.5 to 3 GB/s for 64 KiB to 1 MiB; large folios for large writes are hard to come by in used memory."""
DigestName = Literal["sha256", "blake3"]
Progress = Callable[[int], None]
"""Called with the number of plaintext bytes that were added since the last call."""


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What was sealed. Digests are those of the plaintext, in hex."""

    size_bytes: int
    sealed_bytes: int
    digests: Mapping[str, str]


class _Hash(Protocol):
    def update(self, data: Buffer, /) -> object: ...

    def hexdigest(self) -> str: ...


class _Slot:
    """Buffers for one segment and, once hashing has begun, its end."""

    def __init__(self, plain_bytes: int) -> None:
        self.plain_buffer = bytearray(plain_bytes)
        self.sealed_buffer = memoryview(bytearray(plain_bytes + SEGMENT_OVERHEAD))
        self.plain = memoryview(self.plain_buffer)[:0]
        self.sealed = self.sealed_buffer[:0]


class Sealing:
    """One plaintext on its way to being sealed.

    Iterate once over `pieces()` and write each piece before asking for the next;
    then `result()` has the digests.
    """

    def __init__(
        self,
        key: bytes,
        context: Context,
        source: Source,
        *,
        digests: Sequence[DigestName] = ("sha256",),
        threads: int = 2,
        params: Params = VAULT,
    ) -> None:
        """Prepare to seal all of a source, bound to `context`.

        Args:
            key: the version's data key, 32 bytes.
            context: what the file is; opening needs the same.
            source: the plaintext.
            digests: what to compute of the plaintext in the same pass.
            threads: how many segments are encrypted at once, besides the hash's thread.
            params: other than the vault's for tests only.
        """
        self._sealer = Sealer(key, context.aad(source.size_bytes), source.size_bytes, params=params)
        self._source = source
        self._threads = max(1, threads)
        self._hashes = {name: _new_hash(name) for name in digests}
        self._finished = False
        self.sealed_bytes = self._sealer.layout.sealed_size

    def pieces(self) -> Iterator[memoryview]:
        """The sealed file, piece by piece. A piece is valid until the next one is asked for."""
        layout = self._sealer.layout
        yield memoryview(self._sealer.header)
        count = min(SLOTS, layout.segments)
        largest = min(layout.plain_size, layout.params.plain_bytes)
        slots = [_Slot(largest) for _ in range(count)]
        hashing: deque[tuple[Future[None], _Slot]] = deque()
        free = deque(slots)
        with (
            ThreadPoolExecutor(self._threads, "vault-seal") as pool,
            ThreadPoolExecutor(1, "vault-hash") as hasher,
        ):
            try:
                for slot in in_order(range(layout.segments), self._fill, free, pool):
                    hashing.append((hasher.submit(self._hash, slot.plain), slot))
                    yield slot.sealed
                    # A hash that lags behind keeps at most half of the slots from being filled again.
                    while hashing and (hashing[0][0].done() or len(hashing) > count // 2):
                        done, hashed = hashing.popleft()
                        done.result()
                        free.append(hashed)
                for done, _ in hashing:
                    done.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                hasher.shutdown(wait=True, cancel_futures=True)
                for slot in slots:
                    wipe(slot.plain_buffer)
        self._finished = True

    def result(self) -> Sealed:
        """Sizes and digests of what was sealed.

        Raises:
            VaultError: not every piece was taken.
        """
        if not self._finished:
            raise VaultError("a file that was not sealed to its end has no digest")
        return Sealed(
            size_bytes=self._sealer.layout.plain_size,
            sealed_bytes=self.sealed_bytes,
            digests={name: computed.hexdigest() for name, computed in self._hashes.items()},
        )

    def _fill(self, position: int, slot: _Slot) -> None:
        layout = self._sealer.layout
        slot.plain = memoryview(slot.plain_buffer)[: layout.plain_bytes(position)]
        self._source.read_into(position * layout.params.plain_bytes, slot.plain)
        slot.sealed = slot.sealed_buffer[: self._sealer.seal(position, slot.plain, slot.sealed_buffer)]

    def _hash(self, plain: memoryview) -> None:
        for computed in self._hashes.values():
            computed.update(plain)


def seal_file(
    key: bytes,
    context: Context,
    source: Path,
    target: Path,
    *,
    digests: Sequence[DigestName] = ("sha256",),
    threads: int = 2,
    durable: bool = True,
    progress: Progress | None = None,
) -> Sealed:
    """Seal a file into a new file, readable by its owner only. Nothing is left behind on failure.

    Args:
        key: the version's data key, 32 bytes.
        context: what the file is; opening needs the same.
        source: a regular file, which nobody writes to meanwhile.
        target: must not exist.
        digests: what to compute of the plaintext in the same pass.
        threads: how many segments are encrypted at once.
        durable: whether to return only when the bytes are on the disk. The name in
            its folder is the caller's to make durable.
        progress: called with plaintext bytes as they are written.

    Raises:
        Conflict: the target exists.
        VaultError: the source changed, or cannot be read, or the target not written.
    """
    with FileSource(source) as plaintext:
        sealing = Sealing(key, context, plaintext, digests=digests, threads=threads)
        with new_file(target) as fd:
            for number, piece in enumerate(sealing.pieces()):
                write_all(fd, piece, target)
                if progress and number:
                    progress(len(piece) - SEGMENT_OVERHEAD)
            plaintext.check_unchanged()
            if durable:
                os.fsync(fd)
        return sealing.result()


def seal_bytes(key: bytes, context: Context, plaintext: Buffer, *, params: Params = VAULT) -> bytes:
    """Seal something small, such as a manifest, in memory."""
    view = memoryview(plaintext)
    sealer = Sealer(key, context.aad(len(view)), len(view), params=params)
    layout = sealer.layout
    sealed = bytearray(layout.sealed_size)
    sealed[:HEADER_BYTES] = sealer.header
    out = memoryview(sealed)
    for position in range(layout.segments):
        start = position * params.plain_bytes
        segment = view[start : start + layout.plain_bytes(position)]
        sealer.seal(position, segment, out[layout.offset(position) :])
    return bytes(sealed)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A new file to write to, removed again when the block fails.

    Raises:
        Conflict: it exists.
        VaultError: it cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        raise Conflict(f"{path} exists already") from None
    except OSError as error:
        raise VaultError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield fd
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def write_all(fd: int, data: memoryview, path: Path) -> None:
    """Write everything at the file's position.

    Raises:
        VaultError: the file cannot be written, for instance because the disk is full.
    """
    done = 0
    while done < len(data):
        try:
            done += os.write(fd, data[done : done + _WRITE_BYTES])
        except OSError as error:
            raise VaultError(f"{path} cannot be written: {error.strerror}") from error


def _new_hash(name: DigestName) -> _Hash:
    if name == "sha256":
        return hashlib.sha256()
    try:
        import blake3
    except ImportError as missing:
        raise VaultError(
            "BLAKE3 digests need the package `blake3`", hint="pip install 'fairlead[blake3]'"
        ) from missing
    made: _Hash = blake3.blake3()
    return made

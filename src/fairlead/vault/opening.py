"""Open sealed files: anywhere in them, or from one end to the other.

Rules kept here:

- A reader is made from the sealed length, the key and the context alone. The
  header's tag covers all three, so a file that was cut, extended, renamed or
  moved fails before anything of it is decrypted.
- Whole segments are decrypted straight into the caller's buffer. If any segment
  of a read fails, the whole buffer is wiped: a read gives all or nothing. The
  caller leaves the buffer alone until the read has returned.
- Pieces of a stream are handed out after their tag was checked, read-only, in a
  buffer that is used again: fresh pages cost many times what AES costs.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from fairlead.errors import Tampered
from fairlead.vault.context import Context
from fairlead.vault.floe import HEADER_BYTES, SEGMENT_OVERHEAD, VAULT, Buffer, Layout, Opener, Params, wipe
from fairlead.vault.ring import Inline, in_order
from fairlead.vault.sealing import Progress, new_file, write_all
from fairlead.vault.sources import Fetch, MemorySource, Source

CONCURRENT_FETCHES: Final = 4

_T = TypeVar("_T")


class Span(NamedTuple):
    """A part of one segment's plaintext, and where it goes in a read's buffer."""

    position: int
    skip: int
    take: int
    at: int


def spans(layout: Layout, offset: int, length: int) -> Iterator[Span]:
    """The segments that hold `length` bytes of plaintext from `offset` on, which lie inside the file."""
    at = 0
    while at < length:
        position, skip = divmod(offset + at, layout.params.plain_bytes)
        take = min(layout.plain_bytes(position) - skip, length - at)
        yield Span(position, skip, take, at)
        at += take


class Reader:
    """Random access to one sealed file. Any number of threads may read."""

    def __init__(self, key: bytes, context: Context, source: Source, *, params: Params = VAULT) -> None:
        """Check the header.

        Args:
            key: the version's data key.
            context: what the file should be.
            source: the sealed bytes.
            params: other than the vault's for tests only.

        Raises:
            Tampered: the source is not what was sealed with this key for this context.
            VaultError: it cannot be read.
        """
        header = bytearray(HEADER_BYTES)
        layout = _layout(context, source.size_bytes, params)
        source.read_into(0, memoryview(header))
        self._opener = _opener(key, context, header, layout)
        self._source = source
        self._context = context
        self.size_bytes = layout.plain_size
        self._scratch: list[bytearray] = []
        self._edge_lock = threading.Lock()
        self._edge: tuple[int, bytearray] = (-1, bytearray())

    def read_at(self, offset: int, buffer: memoryview | bytearray, *, threads: int = 1) -> int:
        """Fill a buffer with plaintext from `offset` on; return how much there was until the end.

        Args:
            offset: in the plaintext.
            buffer: wiped when this fails.
            threads: how many segments to decrypt at once.

        Raises:
            Tampered: something of it is not what was sealed.
            VaultError: the source cannot be read.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self.size_bytes - offset))
        view = view[:length]
        needed = list(spans(self._opener.layout, offset, length))
        try:
            if threads <= 1 or len(needed) <= 1:
                for span in needed:
                    self._read_span(span, view)
            else:
                with ThreadPoolExecutor(min(threads, len(needed)), "vault-open") as pool:
                    for done in [pool.submit(self._read_span, span, view) for span in needed]:
                        done.result()
        except BaseException:
            wipe(view)  # leaving the pool's block has waited for every thread
            raise
        return length

    def pieces(self, *, threads: int = 1) -> Iterator[memoryview]:
        """All of the plaintext, in order. A piece is read-only and valid until the next one is asked for.

        Args:
            threads: 1 decrypts in the caller's thread; more work ahead of the caller.

        Raises:
            Tampered: a piece is not what was sealed; those before it were.
        """
        layout = self._opener.layout
        size = min(self.size_bytes, layout.params.plain_bytes)
        slots = [bytearray(size) for _ in range(1 if threads <= 1 else threads + 1)]
        free = deque(slots)
        pool: Executor = Inline() if threads <= 1 else ThreadPoolExecutor(threads, "vault-open")

        def fill(position: int, slot: bytearray) -> None:
            self._open(position, memoryview(slot)[: layout.plain_bytes(position)])

        with pool:
            try:
                for position, slot in enumerate(in_order(range(layout.segments), fill, free, pool)):
                    yield memoryview(slot)[: layout.plain_bytes(position)].toreadonly()
                    free.append(slot)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                for slot in slots:
                    wipe(slot)

    def close(self) -> None:
        """Wipe what was kept of the plaintext. The source is closed by whoever opened it."""
        with self._edge_lock:
            wipe(self._edge[1])
            self._edge = (-1, bytearray())
        self._scratch.clear()

    def _read_span(self, span: Span, view: memoryview) -> None:
        out = view[span.at : span.at + span.take]
        whole = self._opener.layout.plain_bytes(span.position)
        if span.take == whole:
            self._open(span.position, out)
            return
        # The segment at the edge of a read is kept: the next read most often begins where this one ended.
        with self._edge_lock:
            position, kept = self._edge
            if position != span.position:
                if len(kept) != whole:
                    kept = bytearray(whole)
                self._edge = (-1, kept)
                self._open(span.position, memoryview(kept))
                self._edge = (span.position, kept)
            out[:] = memoryview(kept)[span.skip : span.skip + span.take]

    def _open(self, position: int, out: memoryview) -> None:
        """Decrypt one whole segment; `list.pop` and `append` are safe between threads."""
        layout = self._opener.layout
        try:
            scratch = self._scratch.pop()
        except IndexError:
            scratch = bytearray(min(layout.params.segment_bytes, layout.sealed_size - HEADER_BYTES))
        sealed = memoryview(scratch)[: len(out) + SEGMENT_OVERHEAD]
        try:
            self._source.read_into(layout.offset(position), sealed)
            _named(self._context, lambda: self._opener.open(position, sealed, out))
        finally:
            self._scratch.append(scratch)


class AsyncReader:
    """Random access to a sealed object, by ranges that a store is asked for."""

    def __init__(self, context: Context, fetch: Fetch, opener: Opener) -> None:
        """Use `AsyncReader.open`."""
        self._context = context
        self._fetch = fetch
        self._opener = opener
        self.size_bytes = opener.layout.plain_size
        self._edge: tuple[int, bytearray] = (-1, bytearray())

    @classmethod
    async def open(
        cls, key: bytes, context: Context, fetch: Fetch, sealed_bytes: int, *, params: Params = VAULT
    ) -> AsyncReader:
        """Fetch and check the header of an object of this size.

        Raises:
            Tampered: the object is not what was sealed with this key for this context.
        """
        layout = _layout(context, sealed_bytes, params)
        header = await _exactly(context, fetch, 0, HEADER_BYTES)
        return cls(context, fetch, _opener(key, context, header, layout))

    async def read_at(self, offset: int, buffer: memoryview | bytearray) -> int:
        """Fill a buffer with plaintext from `offset` on; return how much there was until the end.

        The buffer is wiped when this fails or is cancelled.

        Raises:
            Tampered: something of it is not what was sealed.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self.size_bytes - offset))
        view = view[:length]
        waiting = spans(self._opener.layout, offset, length)

        async def read() -> None:
            for span in waiting:  # one iterator for all: whoever is free takes the next
                await self._read_span(span, view)

        readers = [asyncio.ensure_future(read()) for _ in range(CONCURRENT_FETCHES)]
        try:
            await asyncio.gather(*readers)
        except BaseException:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            wipe(view)
            raise
        return length

    async def pieces(self) -> AsyncIterator[memoryview]:
        """All of the plaintext, in order. A piece is read-only and valid until the next one is asked for.

        Raises:
            Tampered: a piece is not what was sealed; those before it were.
        """
        layout = self._opener.layout
        plain = bytearray(min(self.size_bytes, layout.params.plain_bytes))
        ahead = deque[asyncio.Task[Buffer]]()
        positions = iter(range(layout.segments))
        try:
            for position in range(layout.segments):
                while len(ahead) < CONCURRENT_FETCHES and (following := next(positions, None)) is not None:
                    ahead.append(asyncio.ensure_future(self._sealed(following)))
                out = memoryview(plain)[: layout.plain_bytes(position)]
                self._decrypt(position, await ahead.popleft(), out)
                yield out.toreadonly()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)
            wipe(plain)

    def close(self) -> None:
        """Wipe what was kept of the plaintext."""
        wipe(self._edge[1])
        self._edge = (-1, bytearray())

    async def _read_span(self, span: Span, view: memoryview) -> None:
        out = view[span.at : span.at + span.take]
        whole = self._opener.layout.plain_bytes(span.position)
        if span.take == whole:
            self._decrypt(span.position, await self._sealed(span.position), out)
            return
        if self._edge[0] != span.position:
            sealed = await self._sealed(span.position)
            kept = bytearray(whole)
            self._decrypt(span.position, sealed, memoryview(kept))
            wipe(self._edge[1])
            self._edge = (span.position, kept)
            out[:] = memoryview(kept)[span.skip : span.skip + span.take]
            return
        out[:] = memoryview(self._edge[1])[span.skip : span.skip + span.take]

    async def _sealed(self, position: int) -> Buffer:
        layout = self._opener.layout
        length = layout.plain_bytes(position) + SEGMENT_OVERHEAD
        return await _exactly(self._context, self._fetch, layout.offset(position), length)

    def _decrypt(self, position: int, sealed: Buffer, out: memoryview) -> None:
        _named(self._context, lambda: self._opener.open(position, sealed, out))


def open_file(reader: Reader, target: Path, *, threads: int = 2, progress: Progress | None = None) -> int:
    """Write all of the plaintext to a new file, readable by its owner only; return its size.

    Nothing is left behind on failure, but what was written may have reached the
    disk: for secrets, the target lies on a file system in memory.

    Raises:
        Conflict: the target exists.
        Tampered: something of it is not what was sealed.
        VaultError: the source cannot be read, or the target not written.
    """
    with new_file(target) as fd:
        for piece in reader.pieces(threads=threads):
            write_all(fd, piece, target)
            if progress:
                progress(len(piece))
    return reader.size_bytes


def open_bytes(
    key: bytes, context: Context, sealed: Buffer, *, max_bytes: int = 64 << 20, params: Params = VAULT
) -> bytes:
    """Open something small, such as a manifest, in memory.

    Raises:
        Tampered: it is not what was sealed with this key for this context, or is larger than `max_bytes`.
    """
    source = MemorySource(sealed)
    if source.size_bytes > max_bytes:
        raise Tampered(f"{_called(context)}: larger than {max_bytes} bytes")
    reader = Reader(key, context, source, params=params)
    plain = bytearray(reader.size_bytes)
    reader.read_at(0, plain)
    reader.close()
    return bytes(plain)


def _layout(context: Context, sealed_bytes: int, params: Params) -> Layout:
    return _named(context, lambda: Layout.of_sealed(sealed_bytes, params))


def _opener(key: bytes, context: Context, header: Buffer, layout: Layout) -> Opener:
    return _named(context, lambda: Opener(key, context.aad(layout.plain_size), header, layout))


def _named(context: Context, check: Callable[[], _T]) -> _T:
    """Do a check; its refusal names the file."""
    try:
        return check()
    except Tampered as error:
        raise Tampered(f"{_called(context)}: {error.message}") from None


async def _exactly(context: Context, fetch: Fetch, offset: int, length: int) -> Buffer:
    got = await fetch(offset, length)
    if len(got) != length:
        raise Tampered(f"{_called(context)}: the store gave {len(got)} bytes of {length} at {offset}")
    return got


def _called(context: Context) -> str:
    """A file in words."""
    thing = context.file or f"the {context.purpose}"
    return f"{thing} of {context.ref}"

"""Asks the usual local ports which inference engines are there. One of the package's two edges.

Runs only when there is no configuration file, before the gateway listens, so
it must not cost start-up time: all ports at once, a closed port answers in
microseconds, and whatever has not answered within the limit is not there.
Anything may listen on these ports: only a well-formed, small list of models
counts as an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.config.detect import LocalEngine
from fairlead.config.options import ProviderType

TIMEOUT_S: Final = 0.3
_MAX_ANSWER_BYTES: Final = 1024 * 1024


class Place(msgspec.Struct, frozen=True):
    """A local port, and which engine is usual there."""

    port: int
    name: str
    type: ProviderType


PLACES: Final = (
    Place(8000, "vllm", "vllm"),
    Place(30000, "sglang", "sglang"),
    Place(3000, "tgi", "tgi"),
    Place(8081, "llamacpp", "llamacpp"),
    Place(11434, "ollama", "ollama"),
    Place(1234, "lmstudio", "openai-compatible"),
)
_OWNERS: Final[dict[str, ProviderType]] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "library": "ollama",
}
"""What engines call themselves in `owned_by`, which is better evidence than a port."""


class _ListedModel(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _ModelList(msgspec.Struct):
    data: list[_ListedModel]


async def probe_local_engines(
    places: Sequence[Place] = PLACES, *, timeout_s: float = TIMEOUT_S
) -> list[LocalEngine]:
    """Engines that list their models within `timeout_s`, in the order of `places`."""
    asked = [asyncio.create_task(_ask(place)) for place in places]
    done, late = await asyncio.wait(asked, timeout=timeout_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [engine for task in asked if task in done and (engine := task.result()) is not None]


async def _ask(place: Place) -> LocalEngine | None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port, limit=_MAX_ANSWER_BYTES)
    except OSError:
        return None
    try:
        # HTTP/1.0 asks for an answer without chunks that ends with the connection.
        writer.write(b"GET /v1/models HTTP/1.0\r\nhost: 127.0.0.1:%d\r\n\r\n" % place.port)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await _read_rest(reader)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    finally:
        writer.transport.abort()
    return engine_from(place, head, body)


async def _read_rest(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await reader.read(65536):
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_ANSWER_BYTES:
            return b""
    return b"".join(pieces)


def engine_from(place: Place, head: bytes, body: bytes) -> LocalEngine | None:
    """The engine behind an answer to `GET /v1/models`, or None when it is none."""
    status_line = head.split(b"\r\n", 1)[0].split(b" ")
    if len(status_line) < 2 or not status_line[0].startswith(b"HTTP/1.") or status_line[1] != b"200":
        return None
    try:
        listed = msgspec.json.decode(body, type=_ModelList).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    owner = listed[0].owned_by if listed else None
    kind = _OWNERS.get(owner or "", place.type)
    name = place.name if kind == place.type else kind
    return LocalEngine(
        name=name,
        type=kind,
        base_url=f"http://127.0.0.1:{place.port}/v1",
        models=tuple(model.id for model in listed),
    )

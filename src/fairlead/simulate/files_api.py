"""/v1/files and /v1/batches, in memory and bounded.

A batch runs its lines through the engine one after the other, as a task of
this store; `close` ends those under way.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.errors import FairleadError, InvalidRequest, NotFound
from fairlead.simulate.chat_body import ChatBody
from fairlead.simulate.multipart import FormPart
from fairlead.simulate.openai_api import chat_answer
from fairlead.simulate.service import Service, decode
from fairlead.simulate.shapes import error_object

_encode = msgspec.json.encode
MAX_FILES = 1000
MAX_TOTAL_BYTES = 67_108_864
_CHAT = msgspec.json.Decoder(ChatBody)


class BatchBody(msgspec.Struct, frozen=True, kw_only=True):
    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None


class BatchLine(msgspec.Struct, frozen=True, kw_only=True):
    custom_id: Annotated[str, Meta(max_length=512)]
    body: msgspec.Raw
    method: str = "POST"
    url: str = "/v1/chat/completions"


_LINE = msgspec.json.Decoder(BatchLine)


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file in memory."""

    id: str
    filename: str
    purpose: str
    created_at: int
    data: bytes

    def card(self) -> dict[str, object]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.data),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileStore:
    """The files and batches of one engine."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._files: dict[str, StoredFile] = {}
        self._batches: dict[str, dict[str, object]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- files --------------------------------------------------------------------------------

    def upload(self, form: dict[str, FormPart]) -> dict[str, object]:
        """Keep an uploaded file."""
        part = form.get("file")
        if part is None:
            raise InvalidRequest("`file` is required.", param="file")
        purpose = form["purpose"].text if "purpose" in form else "batch"
        return self._store(part.filename or "upload", purpose, part.data).card()

    def _store(self, filename: str, purpose: str, data: bytes) -> StoredFile:
        held = sum(len(stored.data) for stored in self._files.values())
        if len(self._files) >= MAX_FILES or held + len(data) > MAX_TOTAL_BYTES:
            raise InvalidRequest("The simulated file store is full; delete files first.", param="file")
        stored = StoredFile(
            id=self._service.new_id("file-"),
            filename=filename,
            purpose=purpose,
            created_at=self._service.unix_time(),
            data=data,
        )
        self._files[stored.id] = stored
        return stored

    def file(self, file_id: str) -> StoredFile:
        """The file of this id. Raises NotFound."""
        stored = self._files.get(file_id)
        if stored is None:
            raise NotFound(f"No such File object: {file_id}", param="id")
        return stored

    def delete(self, file_id: str) -> dict[str, object]:
        """Forget a file."""
        self.file(file_id)
        del self._files[file_id]
        return {"id": file_id, "object": "file", "deleted": True}

    def files(self) -> dict[str, object]:
        return _listing([stored.card() for stored in self._files.values()])

    # --- batches ------------------------------------------------------------------------------

    def create_batch(self, body: BatchBody) -> dict[str, object]:
        """Start a batch over an uploaded file."""
        stored = self.file(body.input_file_id)
        if body.endpoint != "/v1/chat/completions":
            raise InvalidRequest(f"Batches for {body.endpoint} are not simulated.", param="endpoint")
        lines = [decode(line, _LINE.decode) for line in stored.data.splitlines() if line.strip()]
        now = self._service.unix_time()
        batch_id = self._service.new_id("batch_")
        batch: dict[str, object] = {
            "id": batch_id,
            "object": "batch",
            "endpoint": body.endpoint,
            "errors": None,
            "input_file_id": stored.id,
            "completion_window": body.completion_window,
            "status": "in_progress",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "in_progress_at": now,
            "expires_at": now + 86_400,
            "completed_at": None,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "metadata": body.metadata,
        }
        self._batches[batch_id] = batch
        task = asyncio.get_running_loop().create_task(self._work(batch, lines))
        self._tasks[batch_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(batch_id, None))
        return batch

    def batch(self, batch_id: str) -> dict[str, object]:
        """The batch of this id. Raises NotFound."""
        batch = self._batches.get(batch_id)
        if batch is None:
            raise NotFound(f"No such batch: {batch_id}", param="id")
        return batch

    def batches(self) -> dict[str, object]:
        return _listing(list(self._batches.values()))

    def cancel(self, batch_id: str) -> dict[str, object]:
        batch = self.batch(batch_id)
        task = self._tasks.get(batch_id)
        if task is not None:
            task.cancel()
            batch["status"] = "cancelled"
            batch["cancelled_at"] = self._service.unix_time()
        return batch

    async def _work(self, batch: dict[str, object], lines: list[BatchLine]) -> None:
        output: list[bytes] = []
        failed = 0
        for line in lines:
            status, answer = await self._line(line)
            failed += status != 200
            result = {
                "id": self._service.new_id("batch_req_"),
                "custom_id": line.custom_id,
                "response": {
                    "status_code": status,
                    "request_id": self._service.new_id("req_"),
                    "body": answer,
                },
                "error": None,
            }
            output.append(_encode(result))
            counts = {"total": len(lines), "completed": len(output) - failed, "failed": failed}
            batch["request_counts"] = counts
        try:
            stored = self._store("batch_output.jsonl", "batch_output", b"\n".join(output) + b"\n")
        except InvalidRequest as error:
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": [{"code": error.code, "message": error.message}]}
            return
        batch["output_file_id"] = stored.id
        batch["status"] = "completed"
        batch["completed_at"] = self._service.unix_time()

    async def _line(self, line: BatchLine) -> tuple[int, dict[str, object]]:
        service = self._service
        try:
            body = decode(bytes(line.body), _CHAT.decode)
            model = service.model(body.model)
            ask, choices = body.ask(), 1 if body.n is None else body.n
            generation = service.start(ask, model=model, id_prefix="chatcmpl-", choices=choices)
        except FairleadError as error:
            return error.status, error_object("vllm", error.status, error.message, error.param)
        try:
            await generation.job.rest()
        finally:
            generation.job.leave()
        return 200, chat_answer(service, body, generation)


def _listing(items: list[dict[str, object]]) -> dict[str, object]:
    first = items[0]["id"] if items else None
    last = items[-1]["id"] if items else None
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": False}

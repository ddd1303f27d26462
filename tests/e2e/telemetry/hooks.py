"""A receiver of notifications that answers as it is told: with a status, late, or never."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Hooks:
    """A server on 127.0.0.1. Each path is a receiver of its own; `answers` says how it behaves."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers (names in lower case) and body, in the order of arrival."""
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        """By path: status and headers; 200 for others. Status 0 never answers."""
        self._leaving = threading.Event()
        hooks = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                hooks.got.append((self.path, headers, body))
                status, extra = hooks.answers.get(self.path, (200, {}))
                if status == 0:
                    hooks._leaving.wait(60)
                    return
                self.send_response(status)
                for name, value in {**extra, "content-length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def documents(self, path: str) -> list[Any]:
        """What was posted to a path, decoded."""
        return [json.loads(body) for at, _, body in list(self.got) if at == path]


def eventually(found: Callable[[], Any], *, within_s: float = 20.0, what: str = "it") -> Any:
    """What `found` gives, as soon as it is true."""
    deadline = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.05)
    return value

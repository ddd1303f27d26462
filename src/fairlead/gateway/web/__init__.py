"""The status page: what the gateway serves and how its targets do, without anything from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

_PAGES: Final = {
    "/": (b"text/html; charset=utf-8", "index.html"),
    "/status.js": (b"text/javascript; charset=utf-8", "status.js"),
    "/status.css": (b"text/css; charset=utf-8", "status.css"),
}


def page(path: str) -> tuple[bytes, bytes] | None:
    """Content type and body of a page; None when there is none under this path."""
    found = _PAGES.get(path)
    if found is None:
        return None
    media, name = found
    return media, files(__name__).joinpath(name).read_bytes()

"""Names inside archives and folders that could mean another place, or the same place twice."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from fairlead.errors import InvalidRequest
from fairlead.vault.ref import check_file_path


def unsafe(name: str) -> str:
    """Why a relative path is not safe on every platform; "" when it is."""
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "it is absolute"
    if ".." in name.split("/"):
        return "it leads above its folder"
    try:
        check_file_path(name)
    except InvalidRequest:
        return "it is not a plain relative path in Unicode's composed form"
    return ""


def folded(name: str) -> str:
    """What a name becomes where case and Unicode's forms do not count."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def collision(names: Iterable[str]) -> str:
    """A name that means the same as an earlier one on some platform; "" when there is none.

    A file and a folder of one name collide too.
    """
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        key = folded(name)
        if key in seen or key in folders:
            return name
        seen[key] = name
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            spelled = folders.setdefault(folded(folder), folder)
            if spelled != folder or folded(folder) in seen:
                return name
    return ""

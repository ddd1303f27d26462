"""The difference between the SQL that features write and the SQL that Postgres takes: parameters.

Features write `?`, as SQLite does; Postgres numbers its parameters. Nothing
else is translated: what one engine alone understands does not belong into a
feature's SQL.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | \? | [^?'"/-]+ | .""", re.DOTALL | re.VERBOSE
)


def numbered(sql: str) -> tuple[str, int]:
    """The statement with `$1`, `$2`, ... for its `?`, and how many there are.

    A `?` within quotes or a comment is text.
    """
    pieces: list[str] = []
    count = 0
    for piece in _TOKEN.findall(sql):
        if piece == "?":
            count += 1
            piece = f"${count}"
        pieces.append(piece)
    return "".join(pieces), count

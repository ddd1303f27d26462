"""Writes docs/errors.md from the one error tree: `python scripts/errors_page.py`.

The page is part of the repository and a test compares the two, so that no
error is added without its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fairlead import errors
from fairlead.errors import FairleadError

PAGE: Final = Path(__file__).parents[1] / "docs" / "errors.md"

_INTRODUCTION: Final = """\
# Errors

<!-- Written by scripts/errors_page.py from src/fairlead/errors.py; do not edit. -->

Every failure has a code that stays the same from version to version. Decide by the code, never by the
message.

- On the wire an error has the shape of the API that was called: OpenAI's on `/v1/chat/completions` and its
  neighbours, Anthropic's on `/v1/messages`. A stream that has begun ends with an error event.
- On the terminal it is `fairlead: error: ...` on stderr, perhaps with a line `fairlead: hint: ...`.
- *Retry* says whether the same call may succeed later without a change.

| Code | HTTP status | Exit status | Retry | Meaning |
|---|--:|--:|---|---|
"""

_EXIT_STATUSES: Final = """
## Exit statuses of `fairlead`

| Status | Meaning |
|--:|---|
| 0 | success |
| 1 | failure |
| 2 | wrong usage |
| 5 | invalid configuration |
| 70 | a bug in Fairlead |
| 130 | interrupted |
| 141 | the reader of the output has gone |
"""


def errors_page() -> str:
    """The page as Markdown."""
    return _INTRODUCTION + "".join(_row(kind) for kind in error_classes()) + _EXIT_STATUSES


def error_classes() -> list[type[FairleadError]]:
    """The tree, in the order in which it is written."""
    return [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FairleadError)
    ]


def _row(kind: type[FairleadError]) -> str:
    meaning = " ".join((kind.__doc__ or "").split())
    if kind.hint:
        meaning += f" Hint: {kind.hint}."
    cells = (
        f"`{kind.code}`",
        str(kind.status),
        str(kind.exit_status),
        "yes" if kind.retryable else "no",
        meaning.replace("|", r"\|"),
    )
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(errors_page())


if __name__ == "__main__":
    main()

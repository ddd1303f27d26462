"""Logs: one JSON object per line on stderr, or readable lines on a terminal.

`ts` (RFC 3339, UTC), `level`, `logger`, `message`, then whatever the call
passed as `extra`, then `exception` as text. A line is a line whatever it
holds: everything but printable ASCII is escaped in JSON, and on a terminal
everything that does not print, so no client can forge an entry or move a
cursor. What looks like a credential is redacted. The lines of requests come from
`access`.
"""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from fairlead.telemetry.redact import redact

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every log record has; the rest was passed as `extra`."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, without its end."""
        line = {
            "ts": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            **{key: _redacted(value) for key, value in _extra(record).items()},
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = redact(record.stack_info)
        # ASCII only: what JSON leaves as it is (DEL, C1 controls, U+2028) still means something somewhere.
        return json.dumps(line).replace("\x7f", "\\u007f")


class HumanFormatter(logging.Formatter):
    """A readable line; tracebacks below it, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines, without the last end."""
        fields = "".join(f" {key}={_shown(value)}" for key, value in _extra(record).items())
        head = f"{local_time(record.created)} {record.levelname.lower():<7} {record.name}: "
        lines = [head + _printable(redact(record.getMessage() + fields))]
        if record.exc_info:
            lines += map(_printable, redact(self.formatException(record.exc_info)).splitlines())
        if record.stack_info:
            lines += map(_printable, redact(record.stack_info).splitlines())
        return "\n    ".join(lines)


def configure(
    level: Literal["debug", "info", "warning", "error"],
    stream: TextIO,
    *,
    human: bool | None = None,
) -> logging.Handler:
    """Send all logs of the process to `stream`; returns the handler, to be removed by whoever replaces it.

    `human` is chosen by whether `stream` is a terminal when left out.
    """
    if human is None:
        human = stream.isatty()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HumanFormatter() if human else JsonFormatter())
    root = logging.getLogger()
    for previous in root.handlers[:]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


def timestamp(seconds: float) -> str:
    """Unix seconds as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(seconds: float) -> str:
    """The time of day where the reader is."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%H:%M:%S")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _redacted(value: object) -> object:
    """A value of `extra` as JSON can hold it, without credentials."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {redact(str(key)): _redacted(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(part) for part in value]
        case _:
            return redact(str(value))


def _printable(text: str) -> str:
    """`text` with everything that does not print escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text and text else ascii(text)

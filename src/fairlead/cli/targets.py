"""`fairlead targets`: the targets of a running gateway, their breakers and their load."""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

from fairlead.errors import FairleadError, Unauthenticated, UpstreamUnreachable, UsageError

_KEY: Final = "FAIRLEAD_API_KEY"
_TIMEOUT_S: Final = 10.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `targets`."""
    parser = subparsers.add_parser(
        "targets",
        help="show the targets of a running gateway and their breakers",
        description=f"Ask a running gateway for its targets. The admin key is read from ${_KEY}.",
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway (default: %(default)s)")
    parser.add_argument("--reset", metavar="TARGET", help="close the breaker of this target by hand")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the targets as a table or JSON."""
    if args.reset is not None:
        _call(args.url, "/admin/v1/targets/reset", {"target": args.reset})
        print(f"the breaker of {args.reset} is closed")
        return 0
    targets = _call(args.url, "/admin/v1/targets")["data"]
    if args.json:
        print(json.dumps(targets, indent=2))
        return 0
    rows = [("TARGET", "STATE", "IN FLIGHT", "LATENCY", "LAST FAILURE")]
    for target in targets:
        failure = target.get("last_failure")
        rows.append(
            (
                target["target"],
                target["state"],
                str(target["in_flight"]),
                f"{target['latency_ms']:.0f} ms" if target["latency_ms"] else "-",
                failure["message"] if failure else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print(
            "  ".join(
                [*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]
            ).rstrip()
        )
    return 0


def _call(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the admin API. Raises the tree's errors."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"--url: expected an http or https URL, got `{url}`")
    key = os.environ.get(_KEY)
    if not key:
        raise Unauthenticated("no admin key", hint=f"set {_KEY} to an admin key of the gateway")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
        url.rstrip("/") + path,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise FairleadError(f"{url}: {_message(error)}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise UpstreamUnreachable(
            f"no gateway answers at {url}: {reason}", hint="is `fairlead serve` running there?"
        ) from error


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"

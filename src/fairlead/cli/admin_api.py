"""What `fairlead targets`, `limits` and `cache` share: asking a running gateway's control API.

The admin key comes from the environment, never from the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

from fairlead.errors import FairleadError, Unauthenticated, UpstreamUnreachable, UsageError

KEY: Final = "FAIRLEAD_API_KEY"
"""The variable that holds the admin key."""
_TIMEOUT_S: Final = 10.0


def add_url_option(parser: argparse.ArgumentParser) -> None:
    """Add `--url`."""
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway (default: %(default)s)")


def ask(url: str, path: str, body: dict[str, Any] | None = None, *, method: str | None = None) -> Any:
    """What the gateway at `url` answers on `path`; with a `body` it is a POST, unless a `method` is named.

    Raises:
        UsageError: `url` is none.
        Unauthenticated: the environment has no key.
        UpstreamUnreachable: nobody answers there.
        FairleadError: it was refused, with the gateway's own words.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"--url: expected an http or https URL, got `{url}`")
    key = os.environ.get(KEY)
    if not key:
        raise Unauthenticated("no admin key", hint=f"set {KEY} to an admin key of the gateway")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
        url.rstrip("/") + path,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
        method=method,
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

"""What may be looked up and what may be stored. Pure.

A request that is not looked up (`bypass`) is not stored either. An answer is
stored when it is whole: an error, a truncated answer, one that a filter cut
and one of another model than the route's are not. What the client says in its
`cache-control` field (RFC 9111, 5.2.1) comes on top.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

import msgspec

from fairlead import config as cfg
from fairlead.cache.key import Canonical

CHAT: Final = frozenset({"chat", "completions", "responses", "messages"})
"""APIs whose answers are made up; the others compute theirs."""
CACHED: Final = CHAT | {"embeddings", "rerank", "moderations"}

_WHOLE: Final = frozenset({"stop", "stop_sequence", "eos_token", "end_turn", "completed"})
_CALLS: Final = frozenset({"tool_calls", "function_call", "tool_use"})
_STATE: Final = ("store", "background", "previous_response_id", "conversation", "prompt", "container")
"""Fields that make an answer depend on what a provider remembers, or make it remember."""
_LIVE: Final = ("web_search_options", "mcp_servers")
_SELDOM: Final = frozenset({*_STATE, *_LIVE, "tools", "audio", "modalities"})
"""Fields that most requests have none of."""
_OWN_TOOLS: Final = frozenset({"function", "custom"})
# Of canonical JSON: inside a text the quotes would be escaped.
_MEDIA: Final = re.compile(
    rb'"type":"(?:(?:input_)?(?:image|audio|video|file)(?:_url)?|document|container_upload)"'
)
_DEFAULT_TEMPERATURE: Final = 1.0
_DIRECTIVE: Final = re.compile(rb'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^",\s]*))?\s*(?:,|$)')
_LONGEST_AGE_S: Final = 2**31


class Control(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a client asks of the cache."""

    no_store: bool = False
    """Neither look up nor keep."""
    no_cache: bool = False
    """Ask the model, and keep what it answers."""
    max_age_s: int | None = None
    """Take nothing older than this."""
    only_if_cached: bool = False
    """Do not ask the model."""


NO_CONTROL: Final = Control()


def control(value: bytes | None) -> Control:
    """The directives of a request's `cache-control` field; those that are not known do not count.

    An age that is no number is 0 (RFC 9111, 4.2.1: what cannot be read is stale).
    """
    if not value:
        return NO_CONTROL
    found: dict[bytes, bytes] = {}
    for name, argument in _DIRECTIVE.findall(value[:1000].lower()):
        found.setdefault(name, argument.strip(b'"'))
    max_age = found.get(b"max-age")
    age_s: int | None = None
    if max_age is not None:
        age_s = min(int(max_age[:12]), _LONGEST_AGE_S) if max_age.isdigit() else 0
    return Control(
        no_store=b"no-store" in found,
        no_cache=b"no-cache" in found or age_s == 0,
        max_age_s=age_s,
        only_if_cached=b"only-if-cached" in found,
    )


class Policy:
    """The rules of one route."""

    __slots__ = ("kept_s", "options", "ttl_s")

    def __init__(self, options: cfg.RouteCache) -> None:
        self.options = options
        self.ttl_s = options.ttl_s
        self.kept_s = options.ttl_s + (options.stale_on_outage_s or 0.0)
        """How long an answer is kept, the time that it may only be given in an outage included."""

    def bypass(self, request: Canonical) -> str:
        """Why a request is neither looked up nor stored, in one word; "" when it is both.

        One of `endpoint`, `temperature`, `choices`, `state`, `live`, `media`.
        """
        fields = request.fields
        if request.api not in CHAT:
            return "" if request.api in CACHED else "endpoint"
        options = self.options
        if not _at_most(fields.get("temperature"), _DEFAULT_TEMPERATURE, options.max_temperature):
            return "temperature"
        if not _at_most(fields.get("n"), 1, options.max_choices):
            return "choices"
        if request.ignored.get("store"):
            return "state"
        if not fields.keys().isdisjoint(_SELDOM):
            if any(fields.get(name) for name in _STATE):
                return "state"
            if any(fields.get(name) for name in _LIVE) or _hosted(fields.get("tools")):
                return "live"
            if not options.media and _speaks(fields):
                return "media"
        return "media" if not options.media and _MEDIA.search(request.text) else ""

    def refuses(self, finishes: Collection[str], *, calls_tools: bool, fallback: bool = False) -> str:
        """Why an answer is not stored, in one word; "" when it is.

        Args:
            finishes: why each of its choices ended, in any dialect's words.
            calls_tools: whether it asks for a tool.
            fallback: another route than the one asked for gave it.
        """
        if fallback:
            return "fallback"
        if calls_tools and not self.options.tool_calls:
            return "tool_calls"
        if not finishes:
            return "unfinished"
        whole = _WHOLE | _CALLS if calls_tools else _WHOLE
        return "" if whole.issuperset(finishes) else "unfinished"


def _at_most(value: object, default: float, limit: float) -> bool:
    """Whether a number is not above its limit; what is no number is above any."""
    if value is None:
        return default <= limit
    return type(value) in (int, float) and value <= limit  # type: ignore[operator]  # numbers, by the line's start


def _hosted(tools: object) -> bool:
    """Whether a provider runs some tool itself: what that finds may be another thing tomorrow."""
    if not tools:
        return False
    return not isinstance(tools, list) or any(
        not isinstance(tool, dict) or tool.get("type", "function") not in _OWN_TOOLS for tool in tools
    )


def _speaks(fields: dict[str, Any]) -> bool:
    return bool(fields.get("audio")) or (
        "modalities" in fields and fields["modalities"] not in (["text"], None)
    )

"""Faults on command, as data.

A fault is written `NAME` or `NAME;key=value;...`: in the request header
`x-simulate-fault`, on the command line, or posted to `/simulate/fault` as
`{"fault": "NAME;..."}` or as an object with these fields.

    refuse           connections are refused: the listening socket is closed, open connections too
                     (with a model, count or probability, or from a header: the request's connection
                     is closed without an answer)
    stall            at=request (accepted, never answered), at=headers (then nothing),
                     at=token (nothing after `after` tokens); seconds=S goes on after S seconds
    cut              the connection closes: at=headers, at=token (after `after` tokens),
                     at=event (in the middle of the next event), at=end (all but the end mark)
    slow             rate=R tokens a second at most; drip=N bytes at a time, every=S seconds
    error_in_stream  an error event after `after` tokens and a proper end; shape=openai|vllm|anthropic
                     (the dialect's own by default); in a whole answer: an error object with status 200
    wrong_json       broken JSON: the body, or the event after `after` tokens
    html             an HTML page (with status=N; 200 by default) where JSON was due
    empty_stream     200 and a proper end without an event; an empty body otherwise
    no_finish        a proper end after `after` tokens, without finish reason or end mark
    huge_event       an event of `size` bytes more than due after `after` tokens; a padded body otherwise
    status           status=N, body=TEXT, header.NAME=VALUE; 500 by default
    flap             as=NAME (refuse by default) for on=S seconds, then off=S seconds of health, and again

`after` is 1 by default, and for `no_finish` all tokens; 0 is before the first
event. A whole answer that is to be cut or to stall in its body is so half-way.
Every fault takes `model=NAME` (that model only), `probability=P` and
`count=N` (the next N requests only); `on=S` and `off=S` make any of them flap.
Choosing is pure: the caller passes the time and, for probability, `roll`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.errors import InvalidRequest

FaultName = Literal[
    "refuse", "stall", "cut", "slow", "error_in_stream", "wrong_json", "html", "empty_stream",
    "no_finish", "huge_event", "status",
]  # fmt: skip
Place = Literal["request", "headers", "token", "event", "end"]
Positive = Annotated[float, Meta(gt=0, le=1e6)]

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELD_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault; the module says what each name does and which fields it reads."""

    name: FaultName
    at: Place = "token"
    after: Annotated[int, Meta(ge=0)] | None = None
    seconds: Positive | None = None
    rate: Positive | None = None
    drip: Annotated[int, Meta(ge=1)] | None = None
    every: Positive = 0.05
    shape: Literal["openai", "vllm", "anthropic"] | None = None
    size: Annotated[int, Meta(ge=1, le=268_435_456)] = 16_777_216
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    headers: dict[str, str] = {}
    body: str | None = None
    model: str | None = None
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    count: Annotated[int, Meta(ge=1)] | None = None
    on: Positive | None = None
    off: Positive | None = None

    def __post_init__(self) -> None:
        if (self.on is None) != (self.off is None):
            raise ValueError("`on` and `off` go together")
        for name, value in self.headers.items():
            if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
                raise ValueError(f"{name!r} is not a header that can be sent")

    @property
    def tokens(self) -> int | None:
        """Tokens that go out before it strikes; None for all of them."""
        if self.after is None:
            return None if self.name == "no_finish" else 1
        return self.after

    def active(self, age_s: float) -> bool:
        """Whether it applies `age_s` seconds after it was set."""
        if self.on is None or self.off is None:
            return True
        return age_s % (self.on + self.off) < self.on

    @property
    def header_block(self) -> bytes:
        return "".join(f"{name.lower()}: {value}\r\n" for name, value in self.headers.items()).encode(
            "latin-1"
        )


def parse(text: str) -> Fault:
    """Read the `NAME;key=value` form.

    Raises:
        InvalidRequest: it names no fault, or a field is unknown or out of range.
    """
    name, *pairs = (part.strip() for part in text.split(";"))
    fields: dict[str, object] = {}
    headers: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidRequest(f"fault: expected `key=value`, got {pair!r}", param="fault")
        key = key.strip()
        if key.startswith("header."):
            headers[key.removeprefix("header.")] = value.strip()
        else:
            fields[key] = value.strip()
    if name == "flap":
        fields.setdefault("on", "2")
        fields.setdefault("off", "2")
        name = str(fields.pop("as", "refuse"))
    if headers:
        fields["headers"] = headers
    return from_fields({**fields, "name": name}, strict=False)


def from_fields(fields: object, *, strict: bool = True) -> Fault:
    """A fault from an object's fields; text for numbers is accepted unless `strict`.

    Raises:
        InvalidRequest: it is not one.
    """
    try:
        return msgspec.convert(fields, Fault, strict=strict)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"fault: {error}", param="fault") from error


class _Installed:
    __slots__ = ("fault", "hits", "id", "since")

    def __init__(self, fault_id: int, fault: Fault, since: float) -> None:
        self.id = fault_id
        self.fault = fault
        self.since = since
        self.hits = 0

    def applies(self, model: str, now: float) -> bool:
        fault = self.fault
        spent = fault.count is not None and self.hits >= fault.count
        return not spent and fault.model in (None, model) and fault.active(now - self.since)


class InstalledFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as the control surface lists it."""

    id: int
    fault: Fault
    hits: int
    active: bool


class FaultBook:
    """The faults that are set. The latest one that applies to a request wins."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called after each installation and removal."""
        self._changed = changed
        self._installed: list[_Installed] = []
        self._next_id = 1

    def install(self, fault: Fault, now: float) -> int:
        """Set a fault from `now` on; returns its id."""
        installed = _Installed(self._next_id, fault, now)
        self._next_id += 1
        self._installed.append(installed)
        self._changed()
        return installed.id

    def remove(self, fault_id: int | None = None) -> int:
        """Remove one fault, or all of them; returns how many went."""
        before = len(self._installed)
        self._installed = [item for item in self._installed if fault_id is not None and item.id != fault_id]
        self._changed()
        return before - len(self._installed)

    def listed(self, now: float) -> list[InstalledFault]:
        return [
            InstalledFault(
                id=item.id,
                fault=item.fault,
                hits=item.hits,
                active=item.applies(item.fault.model or "", now),
            )
            for item in self._installed
        ]

    def choose(self, model: str, now: float, roll: float) -> Fault | None:
        """The fault that this request meets, if any; counts the hit. `roll` is in [0, 1)."""
        for item in reversed(self._installed):
            if item.applies(model, now) and roll < item.fault.probability:
                item.hits += 1
                return item.fault
        return None

    @property
    def may_refuse(self) -> bool:
        """Whether some fault may close the listening socket, now or later."""
        return any(_closes_the_door(item.fault) for item in self._installed)

    def refusing(self, now: float) -> bool:
        """Whether the listening socket has to be closed now.

        Only a `refuse` for everybody does that; one with a model, a count or a
        probability closes the connections of the requests it meets instead.
        """
        return any(_closes_the_door(item.fault) and item.applies("", now) for item in self._installed)


def _closes_the_door(fault: Fault) -> bool:
    return fault.name == "refuse" and fault.model is None and fault.count is None and fault.probability == 1.0

"""The inputs of one embedding request as requests of their own. Pure.

A text has the same vector whether it is asked for alone or with others, so
each input has a key: that of the request with it as the only one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.cache.key import Canonical

_encode = msgspec.json.Encoder(order="sorted").encode


def items(request: Canonical) -> list[Canonical] | None:
    """One request for each input, in order; None when the inputs are of no known shape.

    `"a"` and `["a"]` are the same input, as are `[1, 2]` and `[[1, 2]]`, which are tokens.
    """
    given = request.fields.get("input")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        return None
    numbers = sum(type(one) is int for one in given)
    if numbers == len(given):
        given = [given]
    elif numbers:
        return None
    rest: dict[str, Any] = {name: value for name, value in request.fields.items() if name != "input"}
    # The two are told apart by where the first object ends, which its own syntax says.
    common = _encode(rest)
    return [
        Canonical(request.api, common + _encode(one), rest | {"input": one}, request.ignored) for one in given
    ]

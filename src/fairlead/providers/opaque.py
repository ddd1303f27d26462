"""Provider-encrypted values that travel through a client and come back.

Signatures of reasoning and redacted reasoning mean something only to the
provider that made them; another one refuses the request that carries them.
Values made by a provider whose clients never see them natively are therefore
tagged with its name. Untagged values are Anthropic's (also on Bedrock, where
they are interchangeable), because its clients hold them natively.
"""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = re.compile(r"^([a-z][a-z0-9]{0,15}):(?=.)", re.DOTALL)
# Base64 has no colon, so no native value looks tagged.


def seal(provider: str, value: str) -> str:
    """The value as clients see it."""
    return f"{provider}:{value}"


def unseal(provider: str, value: str | None) -> str | None:
    """The provider's own value; None when another provider made it."""
    if value is None:
        return None
    match = _TAG.match(value)
    if match is None or match[1] != provider:
        return None
    return value[match.end() :]


def native(value: str | None) -> str | None:
    """An untagged (Anthropic's) value; None for a tagged one."""
    return None if value is None or _TAG.match(value) else value

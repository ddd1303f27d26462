"""The service tier that an answer says it was given, as prices know it.

Providers word the ordinary tier in many ways; here it is "". A tier is kept
only if it looks like a name, as it comes from outside and goes to records.
"""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_SAME: Final = {
    "default": "", "standard": "", "auto": "", "none": "", "scale": "", "reserved": "",
    "standard_only": "", "on_demand": "", "provisioned_throughput": "", "traffic_type_unspecified": "",
    "on_demand_priority": "priority", "on_demand_flex": "flex", "batches": "batch",
}  # fmt: skip
"""Other words for the ordinary tier, what is paid for by commitment, and Google's traffic types."""


def tier_of(*names: str | None) -> str:
    """The tier that the first of `names` which is one says; "" for the ordinary one."""
    for name in names:
        if name:
            name = name.lower().removeprefix("service_tier_")
            name = _SAME.get(name, name)
            if name and _NAME.match(name):
                return name
    return ""

"""What schemathesis has to know of the control API beyond its OpenAPI document.

Loaded by the tool itself (`SCHEMATHESIS_HOOKS`), in its own process.
"""

from __future__ import annotations

import ipaddress
import os
import time
from typing import Any

import schemathesis
from hypothesis import strategies as st

ADMIN_ID = os.environ["FAIRLEAD_TEST_ADMIN_ID"]
KNOWN = {
    "GET /admin/v1/requests/{id}": {"id": os.environ["FAIRLEAD_TEST_REQUEST_ID"]},
    "GET /admin/v1/explain/{request_id}": {"request_id": os.environ["FAIRLEAD_TEST_REQUEST_ID"]},
    "GET /admin/v1/limits/{tenant}": {"tenant": "default"},
}


@st.composite
def _networks(draw: st.DrawFn) -> str:
    address = draw(st.ip_addresses())
    bits = draw(st.integers(0, address.max_prefixlen))
    return str(ipaddress.ip_network((address, bits), strict=False))


_text = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]).filter(str.isprintable), min_size=1)
schemathesis.openapi.format("cidr", _networks())
schemathesis.openapi.format("printable", _text.filter(str.strip))
schemathesis.openapi.format("model-pattern", _text.filter(lambda text: not set(text) & set(" \u00a0")))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """What no schema says: which things there are, and what time it is."""
    path = case.path_parameters
    if isinstance(path, dict) and path.get("id") == ADMIN_ID:
        # The list of keys names the run's own; once revoked, nothing more would be tested.
        path["id"] = "00000000"
    # Half of the questions are about the one request there was, and the one tenant there is.
    for name, known in KNOWN.get(case.operation.label, {}).items():
        if isinstance(path, dict) and len(str(path[name])) % 2:
            path[name] = known
    body = case.body
    expires_at = body.get("expires_at") if isinstance(body, dict) else None
    if type(expires_at) in (int, float) and 0 <= expires_at <= time.time() + 60:
        body["expires_at"] = time.time() + 3600

"""What the sections of `fairlead.yaml` have in common: their base, and the kinds of values in them.

`options` holds the file; a part with many options of its own has a module
beside it (`scrape_options`). Both build on this one, so that neither has to
import the other.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(gt=0, le=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every section forbids unknown fields."""


class Secret(msgspec.Struct, frozen=True):
    """A reference to a secret: `env:NAME` or `file:PATH`. Prints as the reference, never as the value."""

    reference: str

    def __str__(self) -> str:
        return self.reference


class UpstreamTls(Section, frozen=True, kw_only=True):
    """TLS towards an upstream."""

    ca: Annotated[
        str | None, Meta(description="PEM file of authorities to trust instead of the system's.")
    ] = None
    cert: Annotated[str | None, Meta(description="PEM file with a client certificate chain.")] = None
    key: Annotated[str | None, Meta(description="PEM file with the client certificate's key.")] = None
    server_name: Annotated[str | None, Meta(description="Name to verify instead of the URL's host.")] = None
    verify: Annotated[bool, Meta(description="Verify the certificate. False is for tests only.")] = True

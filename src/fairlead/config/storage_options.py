"""The section `storage`: the database that several gateways share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fairlead.config.kinds import Secret, Section


class Storage(Section, frozen=True, kw_only=True):
    """The database of keys, the ledger and what else outlives a restart."""

    database: Annotated[
        Secret | None,
        Meta(
            description="`postgresql://` URL, as `env:NAME` or `file:PATH`; when left out a SQLite file "
            "in `state.dir`."
        ),
    ] = None
    connections: Annotated[
        int, Meta(ge=2, le=100, description="Connections to Postgres, per worker; half of them for writes.")
    ] = 4
    timeout_s: Annotated[
        float, Meta(ge=0.1, le=600, description="Longest time for one call to Postgres.")
    ] = 10.0

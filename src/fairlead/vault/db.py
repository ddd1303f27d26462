"""Accounts of plaintext, used approvals and revoked grants in the state store.

All are exact over any number of processes. An account is read with its
revision, computed anew by `budgets`, and written where the revision is still
the same; who comes second reads again. Whoever loses such a race lost it to
somebody who went ahead, so all of them end. A store that cannot be asked is an
error, and nothing is released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.config.vault_policy_options import VaultBudget
from fairlead.errors import StorageDamaged, StorageError
from fairlead.storage.ports import Database
from fairlead.vault import budgets
from fairlead.vault.budgets import Account

_READ: Final = "SELECT revision, detail FROM vault_budgets WHERE principal = ?"
_ADD: Final = (
    "INSERT INTO vault_budgets (principal, revision, detail) VALUES (?, 0, ?) ON CONFLICT DO NOTHING"
)
_WRITE: Final = (
    "UPDATE vault_budgets SET revision = revision + 1, detail = ? WHERE principal = ? AND revision = ?"
)
_USE: Final = "INSERT INTO vault_used_approvals (id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
_REVOKE: Final = "INSERT INTO vault_revoked_grants (id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
_REVOKED: Final = "SELECT 1 FROM vault_revoked_grants WHERE id = ?"
_FORGET: Final = (
    "DELETE FROM vault_used_approvals WHERE expires_at < ?",
    "DELETE FROM vault_revoked_grants WHERE expires_at < ?",
)
ATTEMPTS: Final = 200
"""Races that a call loses before it gives up; as many others have gone ahead then."""


class BudgetStore:
    """Reserves and settles on a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(
        self, principal: str, budget: VaultBudget, id: str, size_bytes: int, now: float
    ) -> None:
        """Take bytes from a principal's budget; raises what `budgets.reserve` does, and StorageError."""
        await self._change(principal, lambda account: budgets.reserve(account, budget, id, size_bytes, now))

    async def settle(self, principal: str, budget: VaultBudget, id: str, read_bytes: int, now: float) -> None:
        """Give back what was not read; raises what `budgets.settle` does, and StorageError."""
        await self._change(principal, lambda account: budgets.settle(account, budget, id, read_bytes, now))

    async def account(self, principal: str) -> Account:
        """What a principal was given, as it was written last."""
        return (await self._read(principal))[1]

    async def _change(self, principal: str, change: Callable[[Account], Account]) -> None:
        for _ in range(ATTEMPTS):
            revision, account = await self._read(principal)
            changed = change(account)
            if changed == account:
                return
            detail = msgspec.json.encode(changed)
            if revision is None:
                written = await self._database.execute(_ADD, (principal, detail))
            else:
                written = await self._database.execute(_WRITE, (detail, principal, revision))
            if written:
                return
        raise StorageError(f"the vault's budget of {principal} changes too often to be changed")

    async def _read(self, principal: str) -> tuple[int | None, Account]:
        rows = await self._database.fetch(_READ, (principal,))
        if not rows:
            return None, Account()
        revision, detail = rows[0]
        try:
            if isinstance(revision, int) and isinstance(detail, bytes):
                return revision, msgspec.json.decode(detail, type=Account)
        except msgspec.MsgspecError as error:
            raise StorageDamaged(f"the vault's budget of {principal} cannot be read") from error
        raise StorageDamaged(f"the vault's budget of {principal} cannot be read")


class SpentStore:
    """Approvals that were acted on and grants that were taken back. Failures are StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def use(self, approval: str, expires_at: float) -> bool:
        """Use an approval up; False when somebody has before."""
        return await self._database.execute(_USE, (approval, expires_at)) == 1

    async def revoke(self, grant: str, expires_at: float) -> None:
        """Take a grant back by its id."""
        await self._database.execute(_REVOKE, (grant, expires_at))

    async def is_revoked(self, grant: str) -> bool:
        """Whether a grant was taken back."""
        return bool(await self._database.fetch(_REVOKED, (grant,)))

    async def forget(self, now: float) -> None:
        """Drop what could not be used any more in any case."""
        await self._database.transaction([(sql, (now,)) for sql in _FORGET])

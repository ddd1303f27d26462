"""How much plaintext a principal may still have: bytes a window, and bytes a second. Pure.

What is asked for is taken from the budget before anything is released
(`reserve`), and what was surely not read is given back (`settle`). A
reservation that nobody settles stays spent. In no window are more bytes
reserved than the budget has, and over any time no more than
`burst + rate x time`; all of it in integers.

Windows begin at multiples of their length. A clock that runs backwards opens
no window anew and refills nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.config.vault_policy_options import VaultAccess, VaultBudget
from fairlead.errors import AboveLimit, BudgetExceeded, InvalidRequest, RateLimited
from fairlead.vault.principal import Principal

MAX_OPEN: Final = 1000
"""Reservations that a principal may have open at once; older ones count as spent and cannot be settled."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation that may still be settled."""

    id: str
    size_bytes: int


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal has been given. `Account()` is one that has been given nothing."""

    window: int = -1
    """Which window `taken_bytes` is of: the time divided by its length."""
    window_s: int = 0
    taken_bytes: int = 0
    """Reserved and spent."""
    open: tuple[Open, ...] = ()
    level_mb: int = -1
    """What the rate allows at once, in thousandths of bytes; -1 before the first reservation."""
    level_at_ms: int = 0


def budget_of(access: VaultAccess, principal: Principal) -> VaultBudget | None:
    """The budget of a principal; None where there is none."""
    return access.budgets.get(principal.id) or access.budgets.get("*")


def reserve(account: Account, budget: VaultBudget, id: str, size_bytes: int, now: float) -> Account:
    """The account after `size_bytes` were taken under `id`.

    Asking again with the same id and size takes nothing more.

    Raises:
        InvalidRequest: the size is negative, or the id is in use for another.
        AboveLimit: so much is never given at once.
        BudgetExceeded: not in this window; `retry_after_s` says when the next begins.
        RateLimited: not yet.
    """
    if size_bytes < 0:
        raise InvalidRequest("a reservation is of 0 or more bytes")
    current = _at(account, budget, now)
    for held in current.open:
        if held.id == id:
            if held.size_bytes != size_bytes:
                raise InvalidRequest("a reservation of this id exists, of another size")
            return account
    burst = _burst(budget)
    if size_bytes > budget.bytes or size_bytes > burst:
        raise AboveLimit(
            f"{size_bytes} bytes are more than may ever be had at once, {min(budget.bytes, burst)}",
            hint="an administrator sets `vault.access.budgets`",
        )
    if current.taken_bytes + size_bytes > budget.bytes:
        ends_at = (current.window + 1) * budget.window_s
        left = budget.bytes - current.taken_bytes
        raise BudgetExceeded(
            f"the budget of plaintext has {left} bytes left in this window, and {size_bytes} were asked for",
            retry_after_s=max(0.0, ends_at - now),
        )
    level = current.level_mb
    if budget.rate_bytes_per_s is not None:
        level -= size_bytes * 1000
        if level < 0:
            raise RateLimited(
                f"{size_bytes} bytes are more than the rate of plaintext allows now",
                retry_after_s=-level / 1000 / budget.rate_bytes_per_s,
            )
    return msgspec.structs.replace(
        current,
        taken_bytes=current.taken_bytes + size_bytes,
        open=(*current.open, Open(id=id, size_bytes=size_bytes))[-MAX_OPEN:],
        level_mb=level,
    )


def settle(account: Account, budget: VaultBudget, id: str, read_bytes: int, now: float) -> Account:
    """The account when of a reservation only `read_bytes` were read.

    What is settled already, or was reserved in a window that is over, changes nothing.

    Raises:
        InvalidRequest: more was read than reserved, which nobody can who was given what was reserved.
    """
    current = _at(account, budget, now)
    held = next((one for one in current.open if one.id == id), None)
    if held is None:
        return account
    if not 0 <= read_bytes <= held.size_bytes:
        raise InvalidRequest(f"{read_bytes} bytes were not reserved, but {held.size_bytes}")
    unread = held.size_bytes - read_bytes
    level = current.level_mb
    if budget.rate_bytes_per_s is not None:
        level = min(_burst(budget) * 1000, level + unread * 1000)
    return msgspec.structs.replace(
        current,
        taken_bytes=current.taken_bytes - unread,
        open=tuple(one for one in current.open if one.id != id),
        level_mb=level,
    )


def remaining_bytes(account: Account, budget: VaultBudget, now: float) -> int:
    """What is left of this window, the rate aside."""
    return max(0, budget.bytes - _at(account, budget, now).taken_bytes)


def _at(account: Account, budget: VaultBudget, now: float) -> Account:
    """The account with its window and its level brought to `now`."""
    window, now_ms = int(now // budget.window_s), int(now * 1000)
    if account.window_s != budget.window_s:
        # Other windows since a change of the configuration: what was taken counts in the first of them.
        account = msgspec.structs.replace(account, window=window, window_s=budget.window_s)
    elif window > account.window:
        account = msgspec.structs.replace(account, window=window, taken_bytes=0, open=())
    if budget.rate_bytes_per_s is None:
        return msgspec.structs.replace(account, level_mb=-1)
    full = _burst(budget) * 1000
    if account.level_mb < 0:
        level = full
    else:
        elapsed_ms = max(0, now_ms - account.level_at_ms)
        level = min(full, account.level_mb + elapsed_ms * budget.rate_bytes_per_s)
    return msgspec.structs.replace(account, level_mb=level, level_at_ms=max(now_ms, account.level_at_ms))


def _burst(budget: VaultBudget) -> int:
    return budget.bytes if budget.burst_bytes is None else budget.burst_bytes

"""Budgets on a real store: any number of tasks and processes spend exactly what there is."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.config.vault_policy_options import VaultBudget
from fairlead.errors import BudgetExceeded, StorageDamaged
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.sqlite import SqliteDatabase
from fairlead.vault.db import BudgetStore

BUDGET = VaultBudget(bytes=1000, window_s=1000)
SPENDER = """
import asyncio, sys
from pathlib import Path
from fairlead.config.vault_policy_options import VaultBudget
from fairlead.errors import BudgetExceeded
from fairlead.storage.sqlite import SqliteDatabase
from fairlead.vault.db import BudgetStore

async def main():
    database = await SqliteDatabase.open(Path(sys.argv[1]), busy_timeout_s=60)
    store, budget, got = BudgetStore(database), VaultBudget(bytes=1000, window_s=1000), 0
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(200):
        try:
            await store.reserve("key:a", budget, f"{sys.argv[2]}-{number}", 7, 5.0)
            got += 1
        except BudgetExceeded:
            break
        if number % 5 == 4:
            await store.settle("key:a", budget, f"{sys.argv[2]}-{number}", 3, 5.0)
            got -= 4 / 7
    await database.close()
    print(round(got * 7))

asyncio.run(main())
"""


async def _database(path: Path | None) -> SqliteDatabase:
    database = await SqliteDatabase.open(path)
    await migrate(database, migrations(), now=0.0, name="test")
    return database


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_tasks_together_spend_what_there_is(kind: str, tmp_path: Path) -> None:
    async def story() -> None:
        database = await _database(tmp_path / "state.db" if kind == "file" else None)
        stores = [BudgetStore(database), BudgetStore(database)]

        async def spend(number: int) -> bool:
            try:
                await stores[number % 2].reserve("key:a", BUDGET, str(number), 30, 5.0)
            except BudgetExceeded:
                return False
            return True

        given = await asyncio.gather(*(spend(number) for number in range(60)))
        assert sum(given) == 1000 // 30
        assert (await stores[0].account("key:a")).taken_bytes == sum(given) * 30
        assert (await stores[0].account("key:b")).taken_bytes == 0
        for number, got in enumerate(given):
            if got:
                await stores[1].settle("key:a", BUDGET, str(number), 1, 6.0)
        assert (await stores[0].account("key:a")).taken_bytes == sum(given)
        await database.close()

    asyncio.run(story())


def test_two_processes_together_spend_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    async def prepared() -> None:
        await (await _database(path)).close()

    asyncio.run(prepared())
    spenders = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for one in spenders:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    spent = [int(one.communicate("go\n", timeout=60)[0]) for one in spenders]

    async def account() -> int:
        database = await SqliteDatabase.open(path)
        taken = (await BudgetStore(database).account("key:a")).taken_bytes
        await database.close()
        return taken

    assert all(one.returncode == 0 for one in spenders)
    assert asyncio.run(account()) == sum(spent)
    assert 1000 - 7 < sum(spent) <= 1000


def test_an_account_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    async def story() -> None:
        database = await _database(None)
        await database.execute("INSERT INTO vault_budgets VALUES (?, 0, ?)", ("key:a", b"{"))
        with pytest.raises(StorageDamaged):
            await BudgetStore(database).reserve("key:a", BUDGET, "1", 1, 5.0)
        await database.close()

    asyncio.run(story())

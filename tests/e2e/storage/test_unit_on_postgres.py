"""Every feature that keeps state does on Postgres what its unit tests say it does on SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.postgres_server import start_postgres

ROOT = Path(__file__).parents[3]
TESTS = (
    "gateway/test_db.py",
    "gateway/test_key_watch.py",
    "limits/test_saved.py",
    "signals/test_db.py",
    "storage/test_migrate.py",
    "telemetry/alerts",
    "telemetry/billing/test_export.py",
    "telemetry/billing/test_recompute.py",
    "telemetry/gpu/test_accounts.py",
    "telemetry/ledger/test_db.py",
    "telemetry/ledger/test_percentiles.py",
    "telemetry/ledger/test_retention.py",
    "telemetry/ledger/test_rollup_db.py",
    "telemetry/ledger/test_rollup_job.py",
)
ONLY_SQLITE = (
    "a_damaged_row_is_a_revoked_key_and_harms_no_other and soon",  # no column of numbers takes that text
    "a_row_the_database_refuses_costs_only_itself",  # SQLite has no NaN, Postgres has
    "no_query_reads_the_whole_table",  # asks for SQLite's query plan
    "several_at_once_apply_each_migration_once",  # without the lock that `storage.connect` takes
)


@pytest.mark.timeout(300)
def test_the_unit_tests_of_whatever_keeps_state() -> None:
    with start_postgres() as server:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "tests.e2e.storage.on_postgres"),
                *("-p", "no:cacheprovider", "-k", " and ".join(f"not ({name})" for name in ONLY_SQLITE)),
                *(f"tests/unit/{name}" for name in TESTS if (ROOT / "tests/unit" / name).exists()),
            ],
            env={**os.environ, "FAIRLEAD_TEST_POSTGRES": server.url, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    assert done.returncode == 0, done.stdout[-6000:]

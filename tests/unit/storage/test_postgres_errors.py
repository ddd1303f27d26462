"""What a failure of Postgres means."""

from __future__ import annotations

import asyncpg
import pytest

from fairlead.errors import StatementRejected, StorageError, StorageUnusable
from fairlead.storage.postgres_errors import translate

NAME = "postgresql://db/fairlead"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.UniqueViolationError("taken"), StatementRejected),
        (asyncpg.NotNullViolationError("null"), StatementRejected),
        (asyncpg.PostgresSyntaxError("what"), StatementRejected),
        (asyncpg.NumericValueOutOfRangeError("large"), StatementRejected),
        (asyncpg.DataError("no number"), StatementRejected),
        (asyncpg.InvalidPasswordError("no"), StorageUnusable),
        (asyncpg.InvalidCatalogNameError("no"), StorageUnusable),
        (asyncpg.InsufficientPrivilegeError("no"), StorageUnusable),
        (asyncpg.DeadlockDetectedError("both"), StorageError),
        (asyncpg.SerializationError("late"), StorageError),
        (asyncpg.QueryCanceledError("slow"), StorageError),
        (asyncpg.AdminShutdownError("bye"), StorageError),
        (asyncpg.CannotConnectNowError("starting"), StorageError),
        (asyncpg.TooManyConnectionsError("full"), StorageError),
        (asyncpg.DiskFullError("full"), StorageError),
        (asyncpg.ReadOnlySQLTransactionError("standby"), StorageError),
        (asyncpg.InvalidCachedStatementError("changed"), StorageError),
        (asyncpg.ConnectionDoesNotExistError("lost"), StorageError),
        (asyncpg.InterfaceError("closed"), StorageError),
        (asyncpg.InternalClientError("odd"), StorageError),
        (ConnectionRefusedError("refused"), StorageError),
        (TimeoutError(), StorageError),
    ],
)
def test_the_kind_decides_whether_it_is_worth_a_retry(error: Exception, kind: type[StorageError]) -> None:
    translated = translate(error, NAME)

    assert type(translated) is kind
    assert translated.retryable is (kind is StorageError)
    assert NAME in translated.message


def test_a_message_has_one_line() -> None:
    error = asyncpg.UniqueViolationError("duplicate\nDETAIL: Key (name)=(secret) exists.")

    assert "secret" not in translate(error, NAME).message


def test_what_is_translated_stays() -> None:
    error = StorageError("as it is")

    assert translate(error, NAME) is error

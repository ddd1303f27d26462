"""Which store a setting means."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from fairlead.config import Secret, Storage
from fairlead.errors import ConfigError, StorageUnusable
from fairlead.storage.connect import configured, open_cache_file, open_database, open_existing
from fairlead.storage.sqlite import SqliteDatabase


async def _opened(url_or_dir: str) -> tuple[str, object]:
    database = await open_database(url_or_dir)
    try:
        assert isinstance(database, SqliteDatabase)
        return database.name, await database.fetch("SELECT revision FROM api_key_revision")
    finally:
        await database.close()


def test_a_directory_gets_a_file_with_the_whole_schema(tmp_path: Path) -> None:
    assert asyncio.run(_opened(str(tmp_path / "new"))) == (str(tmp_path / "new" / "fairlead.db"), [(0,)])


@pytest.mark.parametrize("slashes", ["sqlite://", "sqlite:///", "SQLite://"])
def test_a_url_names_the_file(tmp_path: Path, slashes: str) -> None:
    name, _ = asyncio.run(_opened(f"{slashes}{tmp_path}/my%20state.db"))

    assert name == f"{tmp_path}/my state.db"


def test_memory_leaves_no_file() -> None:
    assert asyncio.run(_opened(":memory:")) == (":memory:", [(0,)])
    assert not Path(":memory:").exists()


def test_the_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert asyncio.run(_opened("~/state"))[0] == str(tmp_path / "state" / "fairlead.db")


def test_another_kind_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(ConfigError, match="`mysql`") as caught:
        asyncio.run(open_database("mysql://fairlead:hunter2@db/fairlead"))

    assert "hunter2" not in str(caught.value)
    assert "sqlite:///PATH" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "value",
    ["", "  ", "sqlite://", "sqlite:///", "sqlite://state.db", "sqlite:///a.db?mode=ro", "~nobody-here/x"],
)
def test_what_names_no_file_is_refused(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asyncio.run(open_database(value))

    assert caught.value.param == "state.dir"


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        database = await open_database(str(tmp_path))
        await database.execute("INSERT INTO schema_migrations VALUES (9000, 'future', '00', 0)")
        await database.close()
        await open_database(str(tmp_path))

    with pytest.raises(StorageUnusable, match="9000_future"):
        asyncio.run(scenario())


def test_what_is_there_is_opened_as_it_is(tmp_path: Path) -> None:
    async def tables(directory: Path) -> list[object] | None:
        database = await open_existing(str(directory))
        if database is None:
            return None
        try:
            return [name for (name,) in await database.fetch("SELECT name FROM sqlite_master")]
        finally:
            await database.close()

    assert asyncio.run(tables(tmp_path / "nothing")) is None
    assert not (tmp_path / "nothing").exists()
    assert asyncio.run(open_existing(":memory:")) is None
    (tmp_path / "fairlead.db").touch()
    assert asyncio.run(tables(tmp_path)) == [], "no schema is made"
    asyncio.run(_opened(str(tmp_path)))
    assert "api_keys" in (asyncio.run(tables(tmp_path)) or [])


def test_the_file_of_answers_lies_beside_the_state_store(tmp_path: Path) -> None:
    async def scenario() -> None:
        for url in (str(tmp_path), f"sqlite://{tmp_path}/my.db"):
            database = await open_cache_file(url, now=0.0)
            assert isinstance(database, SqliteDatabase)
            assert database.name == str(tmp_path / "cache.db")
            assert await database.fetch("SELECT count(*) FROM cache_entries") == [(0,)]
            await database.close()
        assert await open_cache_file(":memory:", now=0.0) is None

    asyncio.run(scenario())
    assert [path.name for path in tmp_path.iterdir()] == ["cache.db"]


def test_a_damaged_file_of_answers_is_begun_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        for _ in range(2):
            (tmp_path / "cache.db").write_text("no database " * 500)
            database = await open_cache_file(str(tmp_path), now=0.0)
            assert database is not None
            await database.close()

    asyncio.run(scenario())
    assert (tmp_path / "cache.db.damaged").read_text().startswith("no database")


def test_a_newer_file_of_answers_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        database = await open_cache_file(str(tmp_path), now=0.0)
        assert database is not None
        await database.execute("INSERT INTO schema_migrations VALUES (9000, 'future', '00', 0)")
        await database.close()
        await open_cache_file(str(tmp_path), now=0.0)

    with pytest.raises(StorageUnusable, match="9000_future"):
        asyncio.run(scenario())
    assert not (tmp_path / "cache.db.damaged").exists()


def test_the_configured_database_is_before_the_directory() -> None:
    url = "postgresql://u:hunter2@db/fairlead"

    assert configured(Storage(), "/srv/state", lambda _: url) == "/srv/state"
    assert configured(Storage(database=Secret("env:URL")), "/srv/state", lambda _: url) == url


def test_a_secret_that_is_no_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="`env:URL` holds is no URL") as caught:
        configured(Storage(database=Secret("env:URL")), "/srv/state", lambda _: "hunter2")

    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_without_the_client_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fairlead.storage.postgres", None)

    with pytest.raises(ConfigError, match="not installed") as caught:
        asyncio.run(open_database("postgresql://u:hunter2@db/fairlead"))

    assert caught.value.hint == "pip install 'fairlead[postgres]'"
    assert caught.value.param == "storage.database"

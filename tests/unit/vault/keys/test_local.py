from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.errors import ConfigError, KeyRefused, KeyServiceUnavailable
from fairlead.vault.keys.keyfile import KeyFile
from fairlead.vault.keys.local import LocalKeys
from fairlead.vault.keys.port import new_key

CONTEXT = {"fairlead:tenant": "acme", "fairlead:version": "7"}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    key=st.binary(min_size=32, max_size=32).filter(any),
    context=st.dictionaries(
        st.text("abc:é", min_size=1, max_size=6),
        st.text("xyz/7", min_size=1, max_size=6),
        min_size=1,
        max_size=4,
    ),
)
def test_any_key_comes_back_under_any_context(tmp_path: Path, key: bytes, context: dict[str, str]) -> None:
    path = tmp_path / "keys.json"
    service = LocalKeys("local", lambda: KeyFile(path))

    async def main() -> None:
        if not path.exists():
            await service.create()
        wrapped = await service.wrap(key, context)

        assert await service.unwrap(wrapped, context) == key
        with pytest.raises(KeyRefused):
            await service.unwrap(wrapped, {**context, "more": "facts"})

    asyncio.run(main())


def test_every_changed_bit_of_a_wrapped_key_is_refused(tmp_path: Path) -> None:
    service = LocalKeys("local", lambda: KeyFile(tmp_path / "keys.json"))

    async def main() -> None:
        await service.create()
        wrapped = await service.wrap(new_key(), CONTEXT)
        for at in range(len(wrapped.blob)):
            for bit in range(8):
                blob = bytearray(wrapped.blob)
                blob[at] ^= 1 << bit
                with pytest.raises(KeyRefused):
                    await service.unwrap(msgspec.structs.replace(wrapped, blob=bytes(blob)), CONTEXT)

    asyncio.run(main())


def test_what_happens_to_the_file_holds_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    service = LocalKeys("local", lambda: KeyFile(path))
    elsewhere = KeyFile(path)

    async def main() -> None:
        await service.create()
        wrapped = await service.wrap(new_key(), CONTEXT)
        elsewhere.rotate("2026-01-01T00:00:00Z")

        assert (await service.wrap(new_key(), CONTEXT)).version == "2"

        elsewhere.disable(1)
        with pytest.raises(KeyRefused, match="disabled"):
            await service.unwrap(wrapped, CONTEXT)
        path.chmod(0o604)
        with pytest.raises(KeyRefused, match="others"):
            await service.wrap(new_key(), CONTEXT)
        path.unlink()
        with pytest.raises(KeyServiceUnavailable):
            await service.wrap(new_key(), CONTEXT)

    asyncio.run(main())


def test_versions_are_dated_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    service = LocalKeys("local", lambda: KeyFile(path), now=lambda: 1_767_225_600.0)

    async def main() -> None:
        assert (await service.create()).startswith("local-")
        assert await service.rotate() == "2"

    asyncio.run(main())

    assert [each.created_at for each in KeyFile(path).read().versions] == ["2026-01-01T00:00:00Z"] * 2


def test_a_passphrase_that_is_missing_opens_nothing(tmp_path: Path) -> None:
    def open_file() -> KeyFile:
        raise ConfigError("the environment variable `PASS` is not set")

    async def main() -> None:
        with pytest.raises(KeyServiceUnavailable, match="not set"):
            await LocalKeys("local", open_file).wrap(new_key(), CONTEXT)

    asyncio.run(main())

"""Key files. They are files, so these tests use a temporary directory."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.errors import Conflict, KeyRefused, KeyServiceUnavailable, UsageError, VaultError
from fairlead.vault.keys.keyfile import KeyFile, check_file

NOW = "2026-01-01T00:00:00Z"
PASSPHRASE = "correct horse battery"
QUICK = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def _sealed(path: Path, passphrase: str = PASSPHRASE) -> KeyFile:
    return KeyFile(path, passphrase, log_n=QUICK)


def test_a_new_file_is_ours_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        made = KeyFile(path).create(NOW)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyFile(path).read() == made
    assert [each.version for each in made.versions] == [1]
    assert [each.name for each in path.parent.iterdir()] == ["keys.json"]


def test_a_file_that_is_there_is_not_touched(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(Conflict):
        KeyFile(path).create(NOW)

    assert path.read_text() == "precious"
    assert [each.name for each in path.parent.iterdir()] == ["keys.json"]


def test_of_many_that_create_it_one_wins(path: Path) -> None:
    made, refused = [], []
    start = threading.Barrier(8)

    def create() -> None:
        start.wait()
        try:
            made.append(KeyFile(path).create(NOW))
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(made), len(refused)) == (1, 7)
    assert KeyFile(path).read() == made[0]


def test_rotations_at_the_same_time_lose_none(path: Path) -> None:
    KeyFile(path).create(NOW)
    threads = [threading.Thread(target=KeyFile(path).rotate, args=(NOW,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = KeyFile(path).read()

    assert [each.version for each in keys.versions] == list(range(1, 10))
    assert len({each.key for each in keys.versions}) == 9


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602, 0o604, 0o660, 0o777])
def test_a_file_that_others_may_read_or_change_is_refused(path: Path, mode: int) -> None:
    KeyFile(path).create(NOW)
    path.chmod(mode)
    with pytest.raises(KeyRefused, match="others"):
        KeyFile(path).read()
    with pytest.raises(KeyRefused, match="others"):
        KeyFile(path).rotate(NOW)


@pytest.mark.parametrize(
    ("mode", "owner", "accepted"),
    [
        (0o600, 1000, True),
        (0o400, 1000, True),
        (0o440, 0, True),  # a Secret volume of Kubernetes with an fsGroup
        (0o400, 0, True),
        (0o440, 1000, False),
        (0o444, 0, False),
        (0o460, 0, False),
        (0o600, 1001, False),
    ],
)
def test_whose_files_are_accepted(mode: int, owner: int, accepted: bool) -> None:
    found = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, owner, 100, 0, 0, 0))
    if accepted:
        check_file(Path("keys.json"), found, 1000)
    else:
        with pytest.raises(KeyRefused):
            check_file(Path("keys.json"), found, 1000)


def test_a_file_of_somebody_else_is_refused(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    KeyFile(path).create(NOW)
    os.chown(path, 12345, 12345)
    with pytest.raises(KeyRefused, match="owner 12345"):
        KeyFile(path).read()


def test_a_directory_that_others_may_write_to_is_refused(path: Path) -> None:
    KeyFile(path).create(NOW)
    path.parent.chmod(0o777)
    try:
        with pytest.raises(KeyRefused, match="others may replace"):
            KeyFile(path).read()
        with pytest.raises(KeyRefused, match="others may replace"):
            KeyFile(path.with_name("new.json")).create(NOW)
        path.parent.chmod(0o1777)

        assert KeyFile(path).read().versions
    finally:
        path.parent.chmod(0o700)


def test_what_is_no_key_file_is_refused(path: Path) -> None:
    for content in (
        b"",
        b"{}",
        b"[]",
        b'{"format":"fairlead-keys/2"}',
        b'{"format":"fairlead-keys/1"}',
        b"x" * 2_000_000,
    ):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyServiceUnavailable):
            KeyFile(path).read()
    path.unlink()
    with pytest.raises(KeyServiceUnavailable):
        KeyFile(path).read()
    path.mkdir()
    with pytest.raises(KeyServiceUnavailable):
        KeyFile(path).read()
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyServiceUnavailable):
        KeyFile(path).read()


def test_a_sealed_file_opens_with_its_passphrase_only(path: Path) -> None:
    made = _sealed(path).create(NOW)

    assert _sealed(path).read() == made
    with pytest.raises(KeyRefused, match="passphrase"):
        _sealed(path, "another horse battery").read()
    with pytest.raises(KeyRefused, match="none is configured"):
        KeyFile(path).read()
    held = path.read_bytes()
    assert made.id.encode() not in held
    assert json.loads(held)["scrypt"]["log_n"] == QUICK


def test_an_unsealed_file_put_in_a_sealed_ones_place_is_refused(path: Path) -> None:
    KeyFile(path).create(NOW)
    with pytest.raises(KeyRefused, match="not sealed"):
        _sealed(path).read()


def test_a_short_passphrase_makes_no_file(path: Path) -> None:
    with pytest.raises(UsageError):
        _sealed(path, "too short").create(NOW)

    assert not path.exists()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_every_changed_bit_of_a_sealed_file_is_noticed(path: Path, at: int, bit: int) -> None:
    if not path.exists():
        _sealed(path).create(NOW)
    whole = path.read_bytes()
    keys = _sealed(path).read()
    at %= len(whole) - 1  # the newline at the end is nothing
    changed = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    path.write_bytes(changed)
    try:
        assert _sealed(path).read() == keys  # only where base64 has another spelling of the same
        assert _meaning(changed) == _meaning(whole)
    except VaultError:
        pass
    finally:
        path.write_bytes(whole)


def _meaning(content: bytes) -> tuple[object, ...]:
    held = json.loads(content)
    sealed, salt = (base64.b64decode(text) for text in (held["sealed"], held["scrypt"]["salt"]))
    return held["format"], sealed, salt, held["scrypt"]["log_n"]


def test_scrypts_cost_is_bounded_before_it_is_paid(path: Path) -> None:
    _sealed(path).create(NOW)
    held = json.loads(path.read_bytes())
    held["scrypt"]["log_n"] = 40
    path.write_text(json.dumps(held))
    with pytest.raises(KeyServiceUnavailable):
        _sealed(path).read()


def test_only_older_versions_can_be_disabled(path: Path) -> None:
    file = _sealed(path)
    file.create(NOW)
    for version in (1, 2):
        with pytest.raises(UsageError):
            file.disable(version)
    file.rotate(NOW)

    assert [each.enabled for each in file.disable(1).versions] == [False, True]
    assert [each.enabled for each in file.read().versions] == [False, True]


def test_what_a_crash_left_behind_is_removed_by_the_next_change(path: Path) -> None:
    file = _sealed(path)
    made = file.create(NOW)
    half = path.with_name(".keys.json.0123456789ab")
    half.write_bytes(path.read_bytes()[:50])

    assert file.read() == made

    file.rotate(NOW)

    assert [each.name for each in path.parent.iterdir()] == ["keys.json"]


def test_a_link_is_followed_and_stays(path: Path) -> None:
    """A Secret volume of Kubernetes is made of links."""
    real = path.with_name("real.json")
    KeyFile(real).create(NOW)
    path.symlink_to(real)
    KeyFile(path).rotate(NOW)

    assert path.is_symlink()
    assert len(KeyFile(real).read().versions) == 2


def test_nothing_prints_a_key(path: Path) -> None:
    made = _sealed(path).create(NOW)
    printed = repr(made) + str(made) + repr(_sealed(path))

    assert repr(made.current().key)[2:-1] not in printed
    assert PASSPHRASE not in printed

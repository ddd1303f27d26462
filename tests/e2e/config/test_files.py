"""Reading the configuration and secrets from a real disk."""

from pathlib import Path

import pytest

from fairlead.config import Secret, files, secrets
from fairlead.errors import ConfigError


def test_a_configuration_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes("# ä\n".encode())
    assert files.read_config(path) == "# ä\n"


def test_what_cannot_be_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        files.read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        files.read_config(tmp_path)


def test_a_file_that_is_not_text_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"ab\xff")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 2\)"):
        files.read_config(path)


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        files.read_config(Path("/dev/zero"))
    with pytest.raises(ConfigError, match="larger than 64 KiB"):
        secrets.resolve(Secret("file:/dev/zero"), {}, files.read_secret)


def test_a_secret_file_may_be_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text("value\n")
    assert secrets.resolve(Secret("file:~/key"), {}, files.read_secret) == "value"
    with pytest.raises(ConfigError, match="no such user"):
        secrets.resolve(Secret("file:~nobody-of-this-name/key"), {}, files.read_secret)

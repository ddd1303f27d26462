"""Which configuration applies."""

import argparse
from pathlib import Path

import pytest

from fairlead import config as cfg
from fairlead.cli import settings
from fairlead.errors import ConfigError


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    settings.add_config_options(parser)
    return parser.parse_args(words)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, port in (("fairlead.yaml", 1), ("variable.yaml", 2), ("option.yaml", 3)):
        (tmp_path / name).write_text(f"server: {{port: {port}}}\nstate: {{dir: /from/file}}\n")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_the_option_wins_over_the_variable_and_the_variable_over_the_working_directory() -> None:
    environ = {"FAIRLEAD_CONFIG": "variable.yaml"}
    assert settings.load(arguments("--config", "option.yaml"), environ).server.port == 3
    assert settings.load(arguments(), environ).server.port == 2
    assert settings.load(arguments(), {}).server.port == 1


@pytest.mark.usefixtures("here")
def test_a_named_file_that_does_not_exist_is_an_error() -> None:
    for words, environ, by in (
        (["--config", "no"], {}, "--config"),
        ([], {"FAIRLEAD_CONFIG": "no"}, "FAIRLEAD_CONFIG"),
    ):
        with pytest.raises(ConfigError) as caught:
            settings.load(arguments(*words), environ)
        assert caught.value.message == "no configuration file `no`"
        assert caught.value.hint == f"it was named by {by}"


@pytest.mark.usefixtures("here")
def test_the_state_option_replaces_the_directory_only() -> None:
    config = settings.load(arguments("--state", "elsewhere"), {})
    assert config.state.dir == "elsewhere"
    assert config.server.port == 1


def test_without_a_file_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = settings.load(arguments(), {"GROQ_API_KEY": "k"})
    assert {"groq", "simulated"} <= set(config.providers)


def test_errors_name_the_file(here: Path) -> None:
    (here / "fairlead.yaml").write_text("serve: {}")
    with pytest.raises(ConfigError, match=r"^fairlead\.yaml:1:1: serve: unknown option$"):
        settings.load(arguments(), {})


def test_the_state_directory_is_absolute_and_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert settings.state_dir(cfg.Config()) == Path("/home/someone/.local/share/fairlead")
    assert settings.state_dir(cfg.Config(state=cfg.State(dir="state"))) == Path.cwd() / "state"
    with pytest.raises(ConfigError, match="no home directory"):
        settings.state_dir(cfg.Config(state=cfg.State(dir="~nobody-of-this-name/x")))

"""References to secrets: their form, their values, and that no message shows either."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import Config, Provider, Secret, secrets
from fairlead.errors import ConfigError


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def test_a_variable_is_read() -> None:
    assert secrets.resolve(Secret("env:KEY"), {"KEY": "value"}, no_file) == "value"


@pytest.mark.parametrize("text", ["value", "value\n", "value\r\n"])
def test_a_file_is_read_without_its_last_newline(text: str) -> None:
    assert secrets.resolve(Secret("file:/run/key"), {}, {"/run/key": text}.__getitem__) == "value"


@pytest.mark.parametrize(
    ("reference", "content", "message"),
    [
        ("env:KEY", None, "the environment variable `KEY` is not set"),
        ("env:KEY", "", "the environment variable `KEY` is empty"),
        ("env:KEY", " \n", "the environment variable `KEY` is empty"),
        (
            "env:KEY",
            "two\nlines",
            "the environment variable `KEY` holds more than one line or control characters",
        ),
        ("env:KEY", "x\n\n", "the environment variable `KEY` holds more than one line or control characters"),
        ("file:/run/key", None, "cannot read the secret file `/run/key`: No such file or directory"),
        ("file:/run/key", "\n", "the secret file `/run/key` is empty"),
    ],
)
def test_what_is_missing_or_unusable_is_named(reference: str, content: str | None, message: str) -> None:
    environ = {} if content is None else {"KEY": content}
    read = no_file if content is None else {"/run/key": content}.__getitem__
    with pytest.raises(ConfigError) as caught:
        secrets.resolve(Secret(reference), environ, read)
    assert caught.value.message == message


def test_a_file_that_is_not_text_is_an_error() -> None:
    def binary(_path: str) -> str:
        return b"\xff".decode()

    with pytest.raises(ConfigError, match="not UTF-8"):
        secrets.resolve(Secret("file:/run/key"), {}, binary)


@pytest.mark.parametrize("reference", ["env:OPENAI_API_KEY", "env:_x1", "file:/run/a b", "file:relative"])
def test_well_formed_references(reference: str) -> None:
    assert secrets.fault(reference) is None


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ("env:", "expected the name of an environment variable", "env:OPENAI_API_KEY"),
        ("env:A-B", "expected the name of an environment variable", "env:OPENAI_API_KEY"),
        ("file:", "expected a path", "file:/run/secrets/openai"),
        ("${OPENAI_API_KEY}", "not interpolated", "`env:OPENAI_API_KEY`"),
        ("os.environ/OPENAI_API_KEY", "not interpolated", "`env:OPENAI_API_KEY`"),
        ("vault:secret/data", "`vault:` is not a known secret scheme", "`env:NAME`"),
        ("sk-proj-abc", "a literal secret", "`env:NAME`"),
        ("user:hunter2", "a literal secret", "`env:NAME`"),
        ("", "a literal secret", "`env:NAME`"),
    ],
)
def test_malformed_references_say_what_to_write(reference: str, message: str, hint: str) -> None:
    wrong = secrets.fault(reference)
    assert wrong is not None
    assert message in wrong[0]
    assert hint in wrong[1]


@given(st.from_regex(r"sk-[A-Za-z0-9:/$.]{8,40}", fullmatch=True))
def test_a_literal_secret_is_never_repeated(literal: str) -> None:
    wrong = secrets.fault(literal)
    assert wrong is not None
    assert literal not in " ".join(wrong)


def test_a_secret_prints_and_encodes_as_its_reference_only() -> None:
    secret = Secret("env:KEY")
    assert str(secret) == "env:KEY"
    assert "env:KEY" in repr(secret)
    assert msgspec.json.encode(secret) == b'{"reference":"env:KEY"}'


def test_every_reference_of_a_configuration_is_found_with_its_path() -> None:
    config = Config(
        providers={
            "a": Provider(type="openai", api_key=Secret("env:A"), headers={"x": "y", "z": Secret("file:/z")}),
            "b": Provider(type="simulated"),
        }
    )
    assert list(secrets.references(config)) == [
        (("providers", "a", "api_key"), Secret("env:A")),
        (("providers", "a", "headers", "z"), Secret("file:/z")),
    ]

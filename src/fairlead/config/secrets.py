"""References to secrets, and the values they name.

A secret stands in the configuration only as `env:NAME` or `file:PATH`. This
module knows the form of a reference and finds its value in an environment and
by a reader that it is handed. No message here contains a value, nor text that
was given where a reference belongs: that text may be the secret itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from fairlead.config.options import Secret
from fairlead.errors import ConfigError

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FOREIGN: Final = re.compile(r"(?:\$\{|os\.environ/)([A-Za-z_][A-Za-z0-9_]*)\}?\Z")
"""`${NAME}` and LiteLLM's `os.environ/NAME`."""
_FOREIGN_SCHEMES: Final = (
    "environ",
    "environment",
    "vault",
    "secret",
    "aws",
    "gcp",
    "azure",
    "keyring",
    "path",
)
"""Words that are surely a scheme. Any other word before a colon may be part of a secret."""
_FORM: Final = "write `env:NAME` for an environment variable or `file:PATH` for a file"


def is_reference(text: str) -> bool:
    """Is this text meant as a reference? Its form may still be wrong."""
    return text.startswith(("env:", "file:"))


def fault(reference: str) -> tuple[str, str] | None:
    """What is wrong with a reference, as (message, hint); None when it is well formed.

    Neither repeats the reference.
    """
    scheme, colon, rest = reference.partition(":")
    if colon and scheme == "env":
        if _ENV_NAME.match(rest):
            return None
        return (
            "expected the name of an environment variable behind `env:`",
            "for example `env:OPENAI_API_KEY`",
        )
    if colon and scheme == "file":
        if rest and "\0" not in rest:
            return None
        return "expected a path behind `file:`", "for example `file:/run/secrets/openai`"
    if match := _FOREIGN.match(reference):
        return "expected a secret reference; variables are not interpolated", f"write `env:{match[1]}`"
    if colon and scheme in _FOREIGN_SCHEMES:
        return f"`{scheme}:` is not a known secret scheme", _FORM
    return "expected a secret reference; a literal secret must not stand in the file", _FORM


def resolve(secret: Secret, environ: Mapping[str, str], read_file: Callable[[str], str]) -> str:
    """The secret's value; one newline at its end is dropped.

    `read_file` returns a file's text and raises OSError or UnicodeDecodeError.

    Raises:
        ConfigError: the variable or file does not exist, cannot be read or is empty.
    """
    wrong = fault(secret.reference)
    if wrong is not None:
        raise ConfigError(wrong[0], hint=wrong[1])
    scheme, _, name = secret.reference.partition(":")
    if scheme == "env":
        value = environ.get(name)
        if value is None:
            raise ConfigError(f"the environment variable `{name}` is not set", hint=f"export {name}=...")
        what = f"the environment variable `{name}`"
    else:
        try:
            value = read_file(name)
        except OSError as error:
            raise ConfigError(f"cannot read the secret file `{name}`: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the secret file `{name}` is not UTF-8 text") from error
        what = f"the secret file `{name}`"
    value = value.removesuffix("\n").removesuffix("\r")
    if not value.strip():
        raise ConfigError(f"{what} is empty")
    if not value.isprintable():
        # A secret travels in a header; a control character there would be an injection.
        raise ConfigError(f"{what} holds more than one line or control characters")
    return value


def references(
    value: object, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Secret]]:
    """Every secret reference inside a configuration (or a part of one), with its path."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from references(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from references(item, (*path, index))

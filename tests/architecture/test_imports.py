"""The command line starts fast because it imports little. Asserted by names: times vary, names do not."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "asyncio", "concurrent", "ctypes", "email", "http", "httptools", "ipaddress", "logging", "msgspec",
    "multiprocessing", "sqlite3", "ssl", "unittest", "urllib.request", "uvloop", "xml", "yaml",
}  # fmt: skip


def _imported_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter has imported after a statement, less those it starts with."""
    script = (
        "import json, sys\nbefore = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout))


def test_the_command_lines_frame_imports_nothing_heavy() -> None:
    imported = _imported_by("import fairlead.cli.main")

    assert HEAVY & imported == set()
    assert {name for name in imported if name.startswith("fairlead")} == {
        "fairlead",
        "fairlead.cli",
        "fairlead.cli.main",
        "fairlead.errors",
    }


def test_help_of_everything_imports_no_command() -> None:
    imported = _imported_by(
        "import io, contextlib, fairlead.cli.main\n"
        "with contextlib.redirect_stdout(io.StringIO()): fairlead.cli.main.main(['--help'])"
    )

    assert HEAVY & imported == set()


def test_the_pure_contracts_import_no_io() -> None:
    imported = _imported_by(
        "import fairlead.types, fairlead.errors, fairlead.config, fairlead.providers.chat"
    )

    assert (
        imported & {"asyncio", "socket", "sqlite3", "ssl", "subprocess", "yaml", "httptools", "uvloop"}
        == set()
    )


def test_keys_and_auth_import_no_io() -> None:
    imported = _imported_by("import fairlead.gateway.keys, fairlead.gateway.auth")

    assert (
        imported & {"asyncio", "socket", "sqlite3", "ssl", "subprocess", "yaml", "httptools", "uvloop"}
        == set()
    )


def test_the_gateway_and_every_command_import_nothing_optional() -> None:
    """What only an extra brings must not be missed by a base installation."""
    optional = {
        "redis", "onnxruntime", "onnx", "tokenizers", "numpy", "usearch", "pyarrow", "opentelemetry",
        "prometheus_client", "pynvml", "cryptography", "blake3", "pkcs11", "jsonschema_rs",
        "py3langid", "asyncpg",
    }  # fmt: skip
    imported = _imported_by(
        "import importlib, pkgutil, fairlead.app, fairlead.cli\n"
        "for found in pkgutil.iter_modules(fairlead.cli.__path__):\n"
        "    importlib.import_module('fairlead.cli.' + found.name)"
    )

    assert {name.partition(".")[0] for name in imported} & optional == set()

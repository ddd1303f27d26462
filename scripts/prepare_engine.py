"""Prepares the real inference server that tests/e2e/engine drives.

    python3 scripts/prepare_engine.py
    FAIRLEAD_E2E_ENGINE=1 make test ARGS=tests/e2e/engine

Makes a virtual environment outside the repository, installs the pinned
packages of tests/e2e/engine/requirements.txt and writes tiny random models;
nothing is done again until one of those files changes. The place is
~/.cache/fairlead-e2e/engine, or what FAIRLEAD_ENGINE_VENV names.

Needs about 1.3 GB when pip finds the CPU build of PyTorch. Where the package
index only carries the one for GPUs, which is several times that, point pip at
PyTorch's own index of CPU builds with PIP_EXTRA_INDEX_URL.

Runs on the standard library alone, before anything else is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

_SOURCES = Path(__file__).resolve().parent.parent / "tests" / "e2e" / "engine"
_REQUIREMENTS = _SOURCES / "requirements.txt"
_MAKE_MODELS = _SOURCES / "make_models.py"
_OURS = ".fairlead-engine"
"""In a directory that this script made, and may therefore remove."""


def engine_home() -> Path:
    """Where the engine is installed."""
    default = Path.home() / ".cache" / "fairlead-e2e" / "engine"
    return Path(os.environ.get("FAIRLEAD_ENGINE_VENV") or default).expanduser().absolute()


def fingerprint(*files: Path) -> str:
    """Changes with the files' contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_ready(home: Path) -> bool:
    """Whether both steps were finished for the files as they are."""
    return _is_stamped(home / ".installed", _REQUIREMENTS) and _is_stamped(
        home / "models" / ".made", _REQUIREMENTS, _MAKE_MODELS
    )


def prepare(home: Path) -> None:
    """Do what is not done yet."""
    python = home / "bin" / "python"
    installed = home / ".installed"
    if not _is_stamped(installed, _REQUIREMENTS):
        shutil.rmtree(home, ignore_errors=True)  # an old environment with new pins mixes versions
        home.mkdir(parents=True)
        (home / _OURS).touch()
        venv.create(home, with_pip=True, symlinks=True)
        # Python compiles what is imported; compiling all that is installed takes longer than the tests.
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        subprocess.run([*pip, "-r", _REQUIREMENTS], check=True)  # noqa: S603  # our own words
        installed.write_text(fingerprint(_REQUIREMENTS), encoding="utf-8")
    models = home / "models"
    made = models / ".made"
    if not _is_stamped(made, _REQUIREMENTS, _MAKE_MODELS):
        shutil.rmtree(models, ignore_errors=True)
        models.mkdir()
        offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        subprocess.run([python, _MAKE_MODELS, models], check=True, env=offline)  # noqa: S603  # our own words
        made.write_text(fingerprint(_REQUIREMENTS, _MAKE_MODELS), encoding="utf-8")


def _is_stamped(stamp: Path, *files: Path) -> bool:
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint(*files)


def main() -> None:
    """Prepare it and say where it is."""
    home = engine_home()
    begun = time.monotonic()
    if home.exists() and any(home.iterdir()) and not (home / _OURS).is_file():
        sys.exit(f"prepare_engine: error: {home} holds something else; set FAIRLEAD_ENGINE_VENV")
    prepare(home)
    sys.stdout.write(f"engine ready in {time.monotonic() - begun:.0f} s: {home}\n")


if __name__ == "__main__":
    main()

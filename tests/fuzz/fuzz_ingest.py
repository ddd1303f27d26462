"""Fuzz the ingest gate: `python tests/fuzz/fuzz_ingest.py --seconds 20`.

Every input is inspected under several names. It must hold that

- nothing is raised, whatever the bytes are;
- the verdict is the same every time;
- what Python's own reader would import or call, were it given an accepted
  file, is on the list of what pickles may import;
- an accepted archive has for Python's own reader the members that were seen.

atheris guides the search by coverage where it is installed; elsewhere seeded
mutations of the corpus are tried (`--engine mutate`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

try:
    import atheris  # type: ignore[import-untyped]  # it has no stubs
except ImportError:  # no wheel for this platform
    atheris = None

_GUIDED = atheris is not None and __name__ == "__main__"
with atheris.instrument_imports(include=["fairlead.vault.ingest"]) if _GUIDED else contextlib.nullcontext():
    from tests.unit.vault.ingest.corpus import cases

    from fairlead.vault.ingest import known
    from fairlead.vault.ingest.inspection import inspect
    from fairlead.vault.ingest.limits import Limits
    from fairlead.vault.ingest.window import memory_window

_LIMITS = Limits(file_bytes=1 << 16, unpacked_bytes=1 << 20)
_MAX_BYTES = 4096
_NAMES = ("m.pkl", "m.pt", "m.npz", "m.json", "m.jinja", "m.safetensors", "m.gguf", "m.onnx", "m.yaml")
_TOKENS = (
    b"\x80\x02",
    b"\x80\x04",
    b"cposix\nsystem\n",
    b"\x93",
    b"R",
    b"b",
    b".",
    b"(",
    b"t",
    b"\x85",
    b"q\0",
    b"h\0",
    b"i",
    b"o",
    b"PK\3\4",
    b"PK\1\2",
    b"PK\5\6",
    b"PK\6\6",
    b"PK\6\7",
    b"PK\7\x08",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"GGUF",
    b"{",
    b"}",
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"__class__",
    b"['",
    b"|attr(",
    b"auto_map",
    b"_target_",
    b"!!python/object",
    b"\x93NUMPY",
    b"ustar",
    b"\x1f\x8b\x08",
    b"\n",
)
SEEDS = tuple(data for case in cases() for data in (case.bad, case.twin) if len(data) <= _MAX_BYTES)


class _Recorder(pickle.Unpickler):
    """Python's reader, which notes what it is asked to import and gives it nothing."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.asked: list[str] = []

    def find_class(self, module: str, name: str) -> object:
        self.asked.append(f"{module}.{name}")
        return lambda *_: None

    def persistent_load(self, pid: object) -> object:
        return None


def check(data: bytes, name: str) -> None:
    """Hold one input against the rules.

    Raises:
        AssertionError: a rule is broken.
    """
    verdict = inspect(memory_window(data), name, _LIMITS)
    assert verdict == inspect(memory_window(data), name, _LIMITS)
    assert (verdict.decision == "accepted") == (not verdict.findings), verdict
    if verdict.decision != "accepted":
        return
    if verdict.kind in {"pickle", "text", "json"}:
        _check_imports(data)
    if verdict.kind in {"npz", "torch"}:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            if verdict.kind == "torch":
                _check_imports(
                    archive.read(next(one for one in archive.namelist() if one.endswith("data.pkl")))
                )


def _check_imports(data: bytes) -> None:
    recorder = _Recorder(data)
    # Python's reader may stop anywhere for reasons of its own; what it asked for until then counts.
    with contextlib.suppress(Exception):
        recorder.load()
    for asked in recorder.asked:
        # Names of Python 2 are asked for by their new modules.
        old = asked.replace("builtins.", "__builtin__.").replace("builtins.range", "__builtin__.xrange")
        assert any(known.is_value(one) or known.call_of(one) for one in (asked, old)) or not _importable(
            asked
        ), asked


def _importable(name: str) -> bool:
    """A text may begin like an import by chance (`cat`, `dog` on two lines); no such module, no harm."""
    return name.partition(".")[0] in sys.stdlib_module_names


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change an input in a few places."""
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randint(0, len(data)), rng.randint(1, 12)
        match rng.randrange(6):
            case 0:
                data = data[:at] + rng.choice(_TOKENS) + data[at:]
            case 1:
                data = data[:at] + data[at + size :]
            case 2:
                data = data[:at] + data[at : at + size] + data[at:]
            case 3:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 4:
                data = data[:at] + rng.choice(_TOKENS) + data[at + size :]
            case _:
                data = data + rng.choice(SEEDS)
    return data[:_MAX_BYTES]


def run_mutations(seed: int, *, seconds: float = float("inf"), rounds: int | None = None) -> int:
    """Try mutations for so long, or so often. Return how many were tried."""
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    tried = 0
    while tried != rounds and time.monotonic() < until:
        check(mutate(rng.choice(SEEDS), rng), rng.choice(_NAMES))
        tried += 1
    return tried


def _run_atheris(folder: Path, seconds: float, seed: int) -> None:
    """Hand over to libFuzzer, which ends the process."""

    def one_input(data: bytes) -> None:
        if data:
            check(data[1:], _NAMES[data[0] % len(_NAMES)])

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(bytes([number % len(_NAMES)]) + data)
    arguments = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed}",
        f"-max_len={_MAX_BYTES}",
        f"-artifact_prefix={folder}/",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


def main() -> None:
    """Fuzz for a bounded time; the exit status is 0 when every rule held."""
    parser = argparse.ArgumentParser(description="Fuzz the ingest gate.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "atheris", "mutate"), default="auto")
    parser.add_argument(
        "--folder", type=Path, help="where atheris keeps its files; a temporary one by default"
    )
    options = parser.parse_args()
    if options.engine == "mutate" or (options.engine == "auto" and atheris is None):
        print(f"{run_mutations(options.seed, seconds=options.seconds)} inputs, every rule held")
    elif options.folder is not None:
        _run_atheris(options.folder, options.seconds, options.seed)
    else:
        # libFuzzer ends its process without a chance to tidy up, so it gets one of its own.
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", folder]
            sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()

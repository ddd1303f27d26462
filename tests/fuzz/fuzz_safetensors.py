"""Fuzz the header of safetensors files: `python tests/fuzz/fuzz_safetensors.py --seconds 20`.

It must hold that

- nothing but `InvalidRequest` is raised;
- the tensors of an accepted file cover its data exactly once;
- the reference implementation, where it is installed, accepts it too and sees the same tensors.

atheris guides the search by coverage where it is installed; elsewhere seeded mutations of known headers are
tried (`--engine mutate`).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.unit.vault.safetensors_cases import BAD, GOOD

try:
    import atheris  # type: ignore[import-untyped]  # it has no stubs
except ImportError:  # no wheel for this platform
    atheris = None
try:
    import safetensors
except ImportError:
    safetensors = None  # type: ignore[assignment]  # it is asked for below

_GUIDED = atheris is not None and __name__ == "__main__"
with atheris.instrument_imports(include=["fairlead.vault"]) if _GUIDED else contextlib.nullcontext():
    from fairlead.errors import InvalidRequest
    from fairlead.vault.tensor_header import header_length, parse_header

_TOKENS = (
    b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"', b'"F32"', b'"U8"', b'"F4"', b'{"a":',
    b"[0,1]", b"[]", b"{}", b"}", b"{", b"]", b"[", b",", b":", b'"', b"0", b"1", b"-1", b"1.0", b"1e3",
    b"true", b"null", b"NaN", b"18446744073709551616", b"9007199254740992",
    b"\\u0000", b"\\ud800", b"\0", b"\xff", b" ",
)  # fmt: skip
SEEDS = tuple(data[:2048] for data in (*GOOD.values(), *BAD.values()))


def check(data: bytes) -> None:
    """Hold one input against the rules.

    Raises:
        AssertionError: a rule is broken.
    """
    try:
        length = header_length(data[:8], len(data))
        header = parse_header(data[8 : 8 + length], len(data))
    except InvalidRequest:
        return
    at = header.data_start
    for tensor in header.tensors.values():
        assert tensor.begin == at, data
        assert tensor.end >= at, data
        at = tensor.end
    assert at == len(data), data
    if safetensors is not None:
        theirs = {name: (info["dtype"], tuple(info["shape"]), bytes(info["data"]))
                  for name, info in safetensors.deserialize(data)}  # fmt: skip
        ours = {name: (info.dtype, info.shape, data[info.begin : info.end])
                for name, info in header.tensors.items()}  # fmt: skip
        assert theirs == ours, data


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change the JSON in a few places, and mostly mend the length in front of it."""
    length = int.from_bytes(data[:8], "little")
    text, rest = data[8 : 8 + length], data[8 + length :]
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randint(0, len(text)), rng.randint(1, 12)
        match rng.randrange(5):
            case 0:
                text = text[:at] + rng.choice(_TOKENS) + text[at:]
            case 1:
                text = text[:at] + text[at + size :]
            case 2:
                text = text[:at] + text[at : at + size] + text[at:]
            case 3:
                text = text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
            case _:
                rest = rest[: rng.randint(0, len(rest))] + bytes(rng.randint(0, 8))
    if rng.random() < 0.95:
        length = len(text)
    return (length % (1 << 64)).to_bytes(8, "little") + text + rest


def run_mutations(seed: int, *, seconds: float = float("inf"), rounds: int | None = None) -> int:
    """Try mutations for so long, or so often. Return how many were tried."""
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    tried = 0
    while tried != rounds and time.monotonic() < until:
        check(mutate(rng.choice(SEEDS), rng))
        tried += 1
    return tried


def _run_atheris(folder: Path, seconds: float, seed: int) -> None:
    """Hand over to libFuzzer, which ends the process."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(data)
    tokens = folder / "tokens"
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in _TOKENS)
    tokens.write_text("".join(f'"{token}"\n' for token in escaped))
    arguments = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed}",
        "-max_len=4096",
        f"-dict={tokens}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()


def main() -> None:
    """Fuzz for a bounded time; the exit status is 0 when every rule held."""
    parser = argparse.ArgumentParser(description="Fuzz the reader of safetensors headers.")
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

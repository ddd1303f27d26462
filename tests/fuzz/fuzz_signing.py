"""Fuzz what reads signed JSON: `python tests/fuzz/fuzz_signing.py --seconds 20`.

Each input is read as a manifest, an envelope, a statement of model signing and a bundle. It must hold that

- nothing but `InvalidRequest` is raised, and `SignatureRefused` where a signature is verified;
- an accepted manifest is written again as the same bytes;
- an accepted statement's paths are safe, and no two are the same where case does not count;
- no bundle verifies but with the statement that was signed.

atheris guides the search by coverage where it is installed; elsewhere seeded mutations of known inputs are
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
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

try:
    import atheris  # type: ignore[import-untyped]  # it has no stubs
except ImportError:  # no wheel for this platform
    atheris = None

_GUIDED = atheris is not None and __name__ == "__main__"
with atheris.instrument_imports(include=["fairlead.vault"]) if _GUIDED else contextlib.nullcontext():
    from tests.unit.vault.manifest_cases import example

    from fairlead.errors import InvalidRequest, SignatureRefused
    from fairlead.vault import dsse, manifest
    from fairlead.vault.oms import decode_bundle, decode_statement, encode_bundle, encode_statement
    from fairlead.vault.oms_verify import Trust, verify_bundle
    from fairlead.vault.ref import check_file_path
    from fairlead.vault.signing_keys import SigningKey

_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
_TRUST = Trust(keys=(_KEY.public,))
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_STATEMENT = encode_statement("m", {"a/b": "0" * 64, "é.json": "a" * 64}, ignore_paths=["m.sig"])
SEEDS = (
    manifest.encode(example()),
    dsse.encode(dsse.sign("t", b"x", [_KEY])),
    _STATEMENT,
    _STATEMENT.replace(b'"files"', b'"shards","shard_size":10.0').replace(b'"a/b"', b'"a/b:0:10"'),
    encode_bundle(_STATEMENT, _KEY),
    encode_bundle(_STATEMENT, _KEY, [b"certificate"]),
)
_TOKENS = (
    b'"files"', b'"shards"', b'"path"', b'"a"', b'"A"', b'"../a"', b'"a:0:10"', b'"tensors"', b'"begin"',
    b"{}", b"[]", b"{", b"}", b"[", b"]", b",", b":", b'"', b"0", b"-1", b"10.0", b"1e3", b"true", b"null",
    b"NaN", b"QQ==", b"=",
    b"9007199254740993", b"\\u0061", b"\\ud800", b"\0", b"\xff", b" ",
)  # fmt: skip


def check(data: bytes) -> None:
    """Hold one input against the rules.

    Raises:
        AssertionError: a rule is broken.
    """
    with contextlib.suppress(InvalidRequest):
        assert manifest.encode(manifest.decode(data)) == data, data
    with contextlib.suppress(InvalidRequest):
        envelope = dsse.decode(data)
        assert dsse.decode(dsse.encode(envelope)) == envelope, data
    with contextlib.suppress(InvalidRequest):
        paths = list(decode_statement(data).files)
        assert len({check_file_path(path).casefold() for path in paths}) == len(paths), data
    with contextlib.suppress(InvalidRequest):
        decode_bundle(data)
        with contextlib.suppress(SignatureRefused):
            verified = verify_bundle(data, _TRUST, _AT)
            assert verified.statement == decode_statement(_STATEMENT), data


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change an input in a few places."""
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randint(0, len(data)), rng.randint(1, 12)
        match rng.randrange(5):
            case 0:
                data = data[:at] + rng.choice(_TOKENS) + data[at:]
            case 1:
                data = data[:at] + data[at + size :]
            case 2:
                data = data[:at] + data[at : at + size] + data[at:]
            case 3:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case _:
                data = data[:at] + rng.choice(_TOKENS) + data[at + size :]
    return data


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
    parser = argparse.ArgumentParser(description="Fuzz the readers of signed JSON.")
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

"""What else encrypts a large file, or only copies it: `cp`, age, Tink, OpenSSL.

Each gives seconds for one job on files. Programs that are not installed are left
out. Tink lives in an environment of its own: `bench/.cache/tink`.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

TINK: Final = Path(__file__).resolve().parents[1] / ".cache" / "tink" / "bin" / "python"
Job = Callable[[Path, Path], float]

_TINK_JOB: Final = """
import sys, time, tink
from tink import cleartext_keyset_handle, secret_key_access, streaming_aead
streaming_aead.register()
mode, keys, source, target = sys.argv[1:]
if mode == "new":
    handle = tink.new_keyset_handle(streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB)
    text = tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    open(keys, "w").write(text)
    raise SystemExit
handle = tink.json_proto_keyset_format.parse(open(keys).read(), secret_key_access.TOKEN)
primitive = handle.primitive(streaming_aead.StreamingAead)
begin = time.perf_counter()
if mode == "seal":
    with open(source, "rb", buffering=0) as plain:
        with primitive.new_encrypting_stream(open(target, "wb"), b"aad") as out:
            while piece := plain.read(4 << 20):
                out.write(piece)
else:
    with primitive.new_decrypting_stream(open(source, "rb"), b"aad") as sealed:
        while sealed.read(4 << 20):
            pass
print(time.perf_counter() - begin)
"""


class Peer(NamedTuple):
    """A program, its version, and what it can do. `open` decrypts and throws away."""

    name: str
    version: str
    seal: Job
    open: Job | None


def timed(*command: str | Path) -> float:
    """Run a program to its end; its seconds."""
    begin = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def find_peers(folder: Path) -> list[Peer]:
    """The programs that are installed here. Their keys are made in `folder`."""
    found = [
        Peer("cp", _version("cp", "--version"), lambda source, target: timed("cp", source, target), None)
    ]
    if shutil.which("age"):
        found.append(_age(folder))
    if TINK.exists():
        found.append(_tink(folder))
    if shutil.which("openssl"):
        found.append(_openssl(folder))
    return found


def _age(folder: Path) -> Peer:
    identity = folder / "age.key"
    subprocess.run(["age-keygen", "-o", identity], check=True, stderr=subprocess.DEVNULL)
    recipient = subprocess.run(
        ["age-keygen", "-y", identity], check=True, capture_output=True, text=True
    ).stdout.strip()
    return Peer(
        "age",
        _version("age", "--version"),
        lambda source, target: timed("age", "-r", recipient, "-o", target, source),
        lambda source, _: timed("age", "-d", "-i", identity, "-o", "/dev/null", source),
    )


def _tink(folder: Path) -> Peer:
    keys = folder / "tink.json"

    def run(mode: str, source: Path, target: Path) -> float:
        command = [str(part) for part in (TINK, "-c", _TINK_JOB, mode, keys, source, target)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout) if mode != "new" else 0.0

    run("new", keys, keys)
    version = subprocess.run(
        [TINK, "-c", "import importlib.metadata as m; print(m.version('tink'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    return Peer(
        "Tink AES256_GCM_HKDF_1MB",
        version,
        lambda source, target: run("seal", source, target),
        lambda source, target: run("open", source, target),
    )


def _openssl(folder: Path) -> Peer:
    """Encrypt, and authenticate what was encrypted, in one pass of a pipeline."""
    key, iv = "11" * 32, "22" * 16
    mac = f"openssl dgst -sha256 -mac HMAC -macopt hexkey:{key}"
    cipher = f"openssl enc -aes-256-ctr -K {key} -iv {iv}"
    quoted = folder / "openssl.mac"
    return Peer(
        "openssl enc -aes-256-ctr + HMAC",
        _version("openssl", "version"),
        lambda source, target: timed("sh", "-c", f"{cipher} -in {source} | tee {target} | {mac} > {quoted}"),
        lambda source, _: timed(
            "sh", "-c", f"{mac} {source} > {quoted} && {cipher} -d -in {source} > /dev/null"
        ),
    )


def _version(*command: str) -> str:
    """The last word of a program's first line that begins like a version."""
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    numbers = [word for word in text.split() if word.strip("v(")[:1].isdigit()]
    return numbers[0] if numbers else text

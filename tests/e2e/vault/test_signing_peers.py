"""What we sign, others verify, and what they sign, we verify: three independent implementations.

`model-signing` is the reference, `@sigstore/verify` the one of Sigstore's
JavaScript client, `securesystemslib` that of TUF and in-toto.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.unit.vault.manifest_cases import example
from tests.unit.vault.oms_cases import issue, issue_leaf

from fairlead.errors import SignatureRefused, Tampered
from fairlead.vault import dsse, sealed_manifest
from fairlead.vault.oms import encode_bundle
from fairlead.vault.oms_folder import check_folder, statement_of
from fairlead.vault.oms_verify import Trust, verify_bundle
from fairlead.vault.signing_keys import KeyKind, SigningKey

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[2] / ".venv" / "signing"
FILES = {
    "config.json": b"{}",
    "a/model.bin": bytes(range(256)) * 10,
    "a-b.txt": b"between",
    ".gitattributes": b"x",
    ".git/config": b"[core]",
    "many/é.txt": b"\xc3\xa9",
}
SIGNATURE = frozenset({"model.sig"})
AT = datetime(2026, 1, 1, tzinfo=UTC)


def tool(path: str) -> str:
    """The path of a tool; without it the test is skipped, or fails where all of them must be there."""
    found = TOOLS / path
    if not found.exists():
        why = f"{found} is absent: `make test` installs it"
        if os.environ.get("FAIRLEAD_E2E_SIGNING") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return str(found)


def reference(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [tool("bin/python"), str(HERE / "model_signing_calls.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def sigstore(bundle: Path, key: Path) -> subprocess.CompletedProcess[bytes]:
    tool("node_modules/@sigstore/verify/package.json")
    command = [tool("bin/node"), str(HERE / "sigstore_verify.cjs"), str(TOOLS), str(bundle), str(key)]
    return subprocess.run(command, capture_output=True, timeout=100, check=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def write_key(folder: Path, key: SigningKey, name: str = "key") -> tuple[Path, Path]:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.to_pem())
    public.write_bytes(key.public.pem)
    return private, public


def remove_git(model: Path) -> None:
    (model / ".gitattributes").unlink()
    (model / ".git/config").unlink()
    (model / ".git").rmdir()


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_the_reference_verifies_ours(model: Path, tmp_path: Path, kind: KeyKind) -> None:
    key = SigningKey.generate(kind)
    _, public = write_key(tmp_path, key)
    _, other = write_key(tmp_path, SigningKey.generate(kind), "other")
    signature = model / "model.sig"
    signature.write_bytes(encode_bundle(statement_of(model, signatures=SIGNATURE), key))

    good = reference("verify-all", public, model, signature)
    assert good.returncode == 0, good.stderr
    assert "Key mismatch" in reference("verify-all", other, model, signature).stderr
    (model / ".git/config").write_bytes(b"[evil]")
    changed = reference("verify-all", public, model, signature)
    assert changed.returncode != 0
    assert "Signature mismatch" in changed.stderr
    assert ".git/config" in changed.stderr


def test_the_reference_verifies_ours_as_it_does_by_default(model: Path, tmp_path: Path) -> None:
    key = SigningKey.generate("p256")
    _, public = write_key(tmp_path, key)
    signature = model / "model.sig"
    signature.write_bytes(encode_bundle(statement_of(model, signatures=SIGNATURE), key))

    # It never looks at these; ours lists them, and the two agree only where there are none.
    with_git = reference("verify", public, model, signature)
    assert "Missing files in model 'model': .git/config, .gitattributes" in with_git.stderr
    remove_git(model)
    signature.write_bytes(encode_bundle(statement_of(model, signatures=SIGNATURE), key))
    good = reference("verify", public, model, signature)
    assert good.returncode == 0, good.stderr


@pytest.mark.parametrize(
    ("method", "algorithm"),
    [
        ("files", "sha256"),
        ("files", "blake2"),
        ("files", "blake3"),
        ("shards", "sha256"),
        ("shards", "blake2"),
    ],
)
def test_ours_verifies_the_reference(model: Path, tmp_path: Path, method: str, algorithm: str) -> None:
    key = SigningKey.generate("p256")
    private, _ = write_key(tmp_path, key)
    made = reference("sign", private, model, model / "model.sig", method, algorithm)
    assert made.returncode == 0, made.stderr

    verified = verify_bundle((model / "model.sig").read_bytes(), Trust(keys=(key.public,)), AT)
    check_folder(model, verified.statement, signatures=SIGNATURE)
    assert set(verified.statement.files) == set(FILES)
    with pytest.raises(SignatureRefused):
        verify_bundle((model / "model.sig").read_bytes(), Trust(keys=(SigningKey.generate().public,)), AT)
    (model / "a/model.bin").write_bytes(FILES["a/model.bin"][::-1])
    with pytest.raises(Tampered):
        check_folder(model, verified.statement, signatures=SIGNATURE)


def test_certificates_verify_both_ways(model: Path, tmp_path: Path) -> None:
    root = issue("root")
    middle = issue("middle", root)
    leaf = issue_leaf(middle)
    private, _ = write_key(tmp_path, leaf.signer)
    files = [tmp_path / f"{name}.crt" for name in ("leaf", "middle", "root", "other")]
    for file, issued in zip(files, (leaf, middle, root, issue("root")), strict=True):
        file.write_bytes(pem(issued.certificate))
    signature = model / "model.sig"
    remove_git(model)

    payload = statement_of(model, signatures=SIGNATURE)
    signature.write_bytes(encode_bundle(payload, leaf.signer, [leaf.der, middle.der]))
    good = reference("verify-certificate", files[2], model, signature)
    assert good.returncode == 0, good.stderr
    assert reference("verify-certificate", files[3], model, signature).returncode != 0

    made = reference("sign", private, model, signature, "files", "sha256", files[0], files[1])
    assert made.returncode == 0, made.stderr
    verified = verify_bundle(signature.read_bytes(), Trust(roots=(root.certificate,)), AT)
    check_folder(model, verified.statement, signatures=SIGNATURE)


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_sigstore_verifies_ours(model: Path, tmp_path: Path, kind: KeyKind) -> None:
    key = SigningKey.generate(kind)
    _, public = write_key(tmp_path, key)
    _, other = write_key(tmp_path, SigningKey.generate(kind), "other")
    payload = statement_of(model)
    bundle = tmp_path / "bundle.json"
    bundle.write_bytes(encode_bundle(payload, key))

    good = sigstore(bundle, public)
    assert good.returncode == 0, good.stderr
    assert good.stdout == payload
    assert b"SIGNATURE_ERROR" in sigstore(bundle, other).stderr

    value = json.loads(bundle.read_bytes())
    value["dsseEnvelope"]["payload"] = base64.b64encode(payload + b" ").decode()
    bundle.write_text(json.dumps(value))
    assert b"SIGNATURE_ERROR" in sigstore(bundle, public).stderr


def test_sigstore_verifies_the_reference_as_ours_does(model: Path, tmp_path: Path) -> None:
    key = SigningKey.generate("p256")
    private, public = write_key(tmp_path, key)
    bundle = tmp_path / "model.sig"
    assert reference("sign", private, model, bundle, "files", "sha256").returncode == 0

    theirs = sigstore(bundle, public)
    assert theirs.returncode == 0, theirs.stderr
    assert verify_bundle(bundle.read_bytes(), Trust(keys=(key.public,)), AT).signers == (key.public,)


def test_securesystemslib_verifies_our_signed_manifests(tmp_path: Path) -> None:
    signers = [SigningKey.generate("p256"), SigningKey.generate("ed25519")]
    stranger = SigningKey.generate("p256")
    path = tmp_path / "envelope.json"
    path.write_bytes(dsse.encode(sealed_manifest.sign(example(), signers)))
    keys = []
    for number, key in enumerate([*signers, stranger]):
        _, public = write_key(tmp_path, key, f"key{number}")
        keys.append(f"{key.public.fingerprint}={public}")

    good = reference("envelope", path, 2, *keys)
    assert good.returncode == 0, good.stderr
    assert good.stdout.split() == sorted(key.public.fingerprint for key in signers)
    assert reference("envelope", path, 2, keys[0], keys[2]).returncode != 0

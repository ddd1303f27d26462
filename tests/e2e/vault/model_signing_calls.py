"""Sign and verify with the reference implementation; runs in the environment that has it.

model_signing_calls.py sign KEY MODEL SIGNATURE METHOD HASH [CERTIFICATE CHAIN]
model_signing_calls.py verify KEY MODEL SIGNATURE
model_signing_calls.py verify-all KEY MODEL SIGNATURE
model_signing_calls.py verify-certificate ROOT MODEL SIGNATURE
model_signing_calls.py envelope KEY ENVELOPE THRESHOLD KEY...
"""

from __future__ import annotations

import sys
from pathlib import Path


def sign(key: str, model: str, signature: str, method: str, algorithm: str, *certificates: str) -> None:
    """Sign everything but the signature itself, `.git` included. It records which other files to ignore."""
    from model_signing import hashing, signing

    config = hashing.Config()
    if method == "shards":
        config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=1000)
    else:
        config.use_file_serialization(hashing_algorithm=algorithm)
    config.set_ignored_paths(paths=[signature], ignore_git_paths=False)
    signer = signing.Config()
    if certificates:
        signer.use_certificate_signer(
            private_key=key, signing_certificate=certificates[0], certificate_chain=list(certificates[1:])
        )
    else:
        signer.use_elliptic_key_signer(private_key=key)
    signer.set_hashing_config(config).sign(model, signature)


def verify(key: str, model: str, signature: str) -> None:
    """Verify as `model_signing verify key` does."""
    from model_signing import verifying

    verifying.Config().use_elliptic_key_verifier(public_key=key).verify(model, signature)


def verify_all(key: str, model: str, signature: str) -> None:
    """Verify as `model_signing verify key --no-ignore-git-paths` does."""
    from model_signing import hashing, verifying

    config = hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    verifier.set_hashing_config(config).verify(model, signature)


def verify_certificate(root: str, model: str, signature: str) -> None:
    """Verify as `model_signing verify certificate` does."""
    from model_signing import verifying

    verifying.Config().use_certificate_verifier(certificate_chain=[root]).verify(model, signature)


def envelope(path: str, threshold: str, *keys: str) -> None:
    """Verify a DSSE envelope with securesystemslib."""
    import json

    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    read = Envelope.from_dict(json.loads(Path(path).read_text()))
    trusted = []
    for given in keys:
        keyid, _, file = given.partition("=")
        trusted.append(SSlibKey.from_crypto(load_pem_public_key(Path(file).read_bytes()), keyid))
    accepted = read.verify(trusted, int(threshold))
    sys.stdout.write("\n".join(sorted(accepted)))


CALLS = {
    "sign": sign,
    "verify": verify,
    "verify-all": verify_all,
    "verify-certificate": verify_certificate,
    "envelope": envelope,
}

if __name__ == "__main__":
    CALLS[sys.argv[1]](*sys.argv[2:])

"""A strict Google Cloud KMS: symmetric keys, additional authenticated data, checksums that are checked."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlead.testing_keys.server import FakeServer, Refused, Seen
from fairlead.vault.keys.crc32c import crc32c

_PREFIX: Final = "/v1/"
_TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105  a path


class GcpKey:
    """One key with its versions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions = [secrets.token_bytes(32)]
        self.states = ["ENABLED"]
        """Of each version: `ENABLED`, `DISABLED`, `DESTROY_SCHEDULED` or `DESTROYED`."""

    def rotate(self) -> None:
        """Add a version, which becomes the primary one."""
        self.versions.append(secrets.token_bytes(32))
        self.states.append("ENABLED")


class FakeGcpKms(FakeServer):
    """KMS, and the metadata service that gives its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "ya29." + secrets.token_urlsafe(18)
        self.keys: dict[str, GcpKey] = {}
        self.denied: set[str] = set()
        """`encrypt` or `decrypt`."""
        self.answers: bytes | None = None
        """Decrypts everything that opens to this instead, with its right checksum."""
        self.flips_answers = False
        """A bit of each answer's bytes changes after its checksum was made."""
        self.flips_requests = False
        """A bit of each request's bytes changes before it is checked."""
        self.verifies = True
        """Says that it has verified the request's checksums."""
        self.names_key: str | None = None
        """Answers name this key instead."""

    def create_key(self, name: str = "models") -> GcpKey:
        """Make a key."""
        full = f"projects/acme/locations/global/keyRings/vault/cryptoKeys/{name}"
        self.keys[full] = GcpKey(full)
        return self.keys[full]

    def reply(self, seen: Seen) -> dict[str, Any]:
        """Answer one request."""
        if seen.target == _TOKEN_PATH:
            if seen.headers.get(b"metadata-flavor") != b"Google":
                raise _refused(403, "PERMISSION_DENIED")
            return {"access_token": self.token, "expires_in": 3599, "token_type": "Bearer"}
        if seen.headers.get(b"authorization") != b"Bearer " + self.token.encode():
            raise _refused(401, "UNAUTHENTICATED")
        name, _, operation = seen.target.removeprefix(_PREFIX).partition(":")
        key = self.keys.get(name)
        if key is None:
            raise _refused(404, "NOT_FOUND")
        if operation in self.denied:
            raise _refused(403, "PERMISSION_DENIED")
        if seen.method == "GET" and not operation:
            primary = {"name": f"{name}/cryptoKeyVersions/{len(key.versions)}", "state": key.states[-1]}
            return {"name": name, "purpose": "ENCRYPT_DECRYPT", "primary": primary}
        body = json.loads(seen.body)
        if seen.method == "POST" and operation == "encrypt":
            return self._encrypt(key, body)
        if seen.method == "POST" and operation == "decrypt":
            return self._decrypt(key, body)
        raise _refused(404, "NOT_FOUND")

    def _encrypt(self, key: GcpKey, body: dict[str, Any]) -> dict[str, Any]:
        plain, aad = self._received(body, "plaintext"), self._received(body, "additionalAuthenticatedData")
        if key.states[-1] != "ENABLED":
            raise _refused(400, "FAILED_PRECONDITION")
        nonce = secrets.token_bytes(12)
        number = len(key.versions)
        sealed = bytes([number]) + nonce + AESGCM(key.versions[-1]).encrypt(nonce, plain, aad)
        return {
            "name": f"{self.names_key or key.name}/cryptoKeyVersions/{number}",
            **self._sent("ciphertext", sealed),
            "verifiedPlaintextCrc32c": self.verifies and "plaintextCrc32c" in body,
            "verifiedAdditionalAuthenticatedDataCrc32c": self.verifies
            and "additionalAuthenticatedDataCrc32c" in body,
            "protectionLevel": "SOFTWARE",
        }

    def _decrypt(self, key: GcpKey, body: dict[str, Any]) -> dict[str, Any]:
        sealed, aad = self._received(body, "ciphertext"), self._received(body, "additionalAuthenticatedData")
        number = sealed[0] if sealed else 0
        if not 0 < number <= len(key.versions):
            raise _refused(400, "INVALID_ARGUMENT")
        if key.states[number - 1] != "ENABLED":
            raise _refused(400, "FAILED_PRECONDITION")
        try:
            plain = AESGCM(key.versions[number - 1]).decrypt(sealed[1:13], sealed[13:], aad)
        except (InvalidTag, ValueError):
            raise _refused(400, "INVALID_ARGUMENT") from None
        return self._sent("plaintext", plain if self.answers is None else self.answers)

    def _received(self, body: dict[str, Any], field: str) -> bytes:
        try:
            data = base64.b64decode(str(body.get(field, "")), validate=True)
        except ValueError:
            raise _refused(400, "INVALID_ARGUMENT") from None
        if self.flips_requests and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        given = body.get(field + "Crc32c")
        if given is not None and int(given) != crc32c(data):
            raise _refused(400, "INVALID_ARGUMENT")
        return data

    def _sent(self, field: str, data: bytes) -> dict[str, Any]:
        sum_ = str(crc32c(data))
        if self.flips_answers:
            data = bytes([data[0] ^ 1]) + data[1:]
        return {field: base64.b64encode(data).decode(), field + "Crc32c": sum_}


def _refused(code: int, status: str) -> Refused:
    return Refused(
        code, {"error": {"code": code, "status": status, "message": "as the real service says it"}}
    )

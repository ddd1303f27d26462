"""A strict Azure Key Vault: RSA keys with versions, and the metadata service that gives tokens."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fairlead.testing_keys.server import FakeServer, Refused, Seen


class AzureKey:
    """One key with its versions, newest last."""

    def __init__(self) -> None:
        self.versions: dict[str, rsa.RSAPrivateKey] = {}
        self.disabled: set[str] = set()
        self.rotate()

    @property
    def latest(self) -> str:
        return list(self.versions)[-1]

    def rotate(self) -> None:
        """Add a version."""
        self.versions[secrets.token_hex(16)] = rsa.generate_private_key(65537, 2048)


class FakeAzureKeyVault(FakeServer):
    """One vault."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "eyJ." + secrets.token_urlsafe(18)
        self.keys: dict[str, AzureKey] = {}
        self.denied: set[str] = set()
        """`wrapkey` or `unwrapkey`."""
        self.answers: bytes | None = None
        """Unwraps everything that opens to this instead."""
        self.names_version: str | None = None
        """Answers name this version instead."""

    def create_key(self, name: str = "models") -> AzureKey:
        """Make a key."""
        self.keys[name] = AzureKey()
        return self.keys[name]

    def reply(self, seen: Seen) -> dict[str, Any]:
        """Answer one request."""
        path, _, query = seen.target.partition("?")
        if path == "/metadata/identity/oauth2/token":
            if seen.headers.get(b"metadata") != b"true" or "resource" not in parse_qs(query):
                raise _refused(400, "BadRequest")
            return {"access_token": self.token, "expires_in": "3599", "token_type": "Bearer"}
        if seen.headers.get(b"authorization") != b"Bearer " + self.token.encode():
            raise _refused(401, "Unauthorized")
        if parse_qs(query).get("api-version") != ["7.4"]:
            raise _refused(400, "BadParameter")
        words = path.strip("/").split("/")
        key = self.keys.get(words[1]) if len(words) >= 2 and words[0] == "keys" else None
        if key is None:
            raise _refused(404, "KeyNotFound")
        name = words[1]
        if seen.method == "GET" and len(words) == 2:
            enabled = key.latest not in key.disabled
            return {"key": {"kid": self._kid(name, key.latest)}, "attributes": {"enabled": enabled}}
        if seen.method != "POST" or len(words) != 4 or words[2] not in key.versions:
            raise _refused(404, "KeyNotFound")
        return self._operate(name, key, words[2], words[3], json.loads(seen.body))

    def _operate(
        self, name: str, key: AzureKey, version: str, operation: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        if operation in self.denied or version in key.disabled:
            raise _refused(403, "Forbidden")
        if body.get("alg") != "RSA-OAEP-256":
            raise _refused(400, "BadParameter")
        text = str(body.get("value", ""))
        try:
            value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if operation == "wrapkey":
                result = key.versions[version].public_key().encrypt(value, _oaep())
            elif operation == "unwrapkey":
                result = key.versions[version].decrypt(value, _oaep())
                result = result if self.answers is None else self.answers
            else:
                raise _refused(404, "NotFound")
        except ValueError:
            raise _refused(400, "BadParameter") from None
        return {
            "kid": self._kid(name, self.names_version or version),
            "value": base64.urlsafe_b64encode(result).decode().rstrip("="),
        }

    def _kid(self, name: str, version: str) -> str:
        return f"{self.url}/keys/{name}/{version}"


def _oaep() -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def _refused(status: int, code: str) -> Refused:
    return Refused(status, {"error": {"code": code, "message": "as the real service says it"}})

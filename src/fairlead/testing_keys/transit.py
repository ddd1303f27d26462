"""A strict transit engine, as HashiCorp Vault and OpenBao have it.

What is easily got wrong is as in the real one: a context given to a key that is
not derived is ignored; `rewrap` knows no associated data, so what was encrypted
with some cannot be rewrapped; a version below `min_decryption_version` does not
decrypt; `encrypt` makes no key unless `allows_upsert`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from typing import Any, Final
from urllib.parse import unquote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlead.testing_keys.server import FakeServer, Refused, Seen

_BLOB: Final = re.compile(r"vault:v([1-9][0-9]*):(.+)")


class TransitKey:
    """One key of the engine."""

    def __init__(self, *, derived: bool = False, exportable: bool = False) -> None:
        self.versions = {1: secrets.token_bytes(32)}
        self.derived = derived
        self.exportable = exportable
        self.deletion_allowed = False
        self.min_decryption_version = 1
        self.min_encryption_version = 0

    @property
    def latest(self) -> int:
        return max(self.versions)


class FakeTransit(FakeServer):
    """One engine at `mount`, in one namespace."""

    def __init__(self, *, mount: str = "transit", namespace: str | None = None) -> None:
        super().__init__()
        self.mount = mount
        self.namespace = namespace
        self.token = "hvs." + secrets.token_urlsafe(18)
        """The token that may do everything."""
        self.tokens: dict[str, frozenset[str] | None] = {self.token: None}
        """Tokens, and the operations that each may do; None for all."""
        self.keys: dict[str, TransitKey] = {}
        self.roles: dict[str, str] = {}
        """Kubernetes roles and the ServiceAccount token that each accepts."""
        self.lease_s = 3600
        self.allows_upsert = False
        self.ignores_associated_data = False
        """As engines before associated data was known."""
        self.answers: bytes | None = None
        """Decrypts everything that opens to this instead."""

    def create_key(self, name: str, *, derived: bool = False, exportable: bool = False) -> TransitKey:
        """Make a key."""
        self.keys[name] = TransitKey(derived=derived, exportable=exportable)
        return self.keys[name]

    def delete_key(self, name: str) -> None:
        """Delete a key for good."""
        del self.keys[name]

    def rotate_key(self, name: str) -> None:
        """Add a version."""
        key = self.keys[name]
        key.versions[key.latest + 1] = secrets.token_bytes(32)

    def reply(self, seen: Seen) -> dict[str, Any]:
        """Answer one request."""
        if seen.headers.get(b"x-vault-namespace", b"").decode() != (self.namespace or ""):
            raise _refused(404)
        path = unquote(seen.target.partition("?")[0])
        body = _body(seen)
        if path.startswith("/v1/auth/"):
            return self._login(path, body)
        prefix = f"/v1/{self.mount}/"
        if not path.startswith(prefix):
            raise _refused(404)
        words = path.removeprefix(prefix).split("/")
        if words[0] == "keys" and len(words) == 3 and words[2] == "rotate":
            operation, name = "rotate", words[1]
        elif len(words) == 2:
            operation, name = words
        else:
            raise _refused(404)
        self._authorize(seen, operation)
        return self._operation(seen.method, operation, name, body)

    def _operation(self, method: str, operation: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if operation == "encrypt" and name not in self.keys and self.allows_upsert:
            self.create_key(name)
        key = self.keys.get(name)
        if key is None:
            raise _refused(404 if method == "GET" else 400, "encryption key not found")
        if (operation == "keys") != (method == "GET"):
            raise _refused(405, "unsupported operation")
        match operation:
            case "encrypt":
                plain = _decoded(body.get("plaintext"))
                return {"data": self._encrypt(key, plain, body, self._associated(body))}
            case "decrypt":
                plain = self._decrypt(key, body, self._associated(body))
                answer = plain if self.answers is None else self.answers
                return {"data": {"plaintext": base64.b64encode(answer).decode()}}
            case "rewrap":
                return {"data": self._encrypt(key, self._decrypt(key, body, b""), body, b"")}
            case "rotate":
                self.rotate_key(name)
                return {"data": None}
            case "keys":
                return {"data": _described(name, key)}
        raise _refused(404, "unsupported path")

    def _authorize(self, seen: Seen, operation: str) -> None:
        token = seen.headers.get(b"x-vault-token", b"").decode()
        if token not in self.tokens:
            raise _refused(403, "permission denied")
        allowed = self.tokens[token]
        if allowed is not None and operation not in allowed:
            raise _refused(403, "permission denied")

    def _login(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path != "/v1/auth/kubernetes/login":
            raise _refused(404)
        if not body.get("jwt") or self.roles.get(body.get("role", "")) != body["jwt"]:
            raise _refused(403, "permission denied")
        token = "hvs." + secrets.token_urlsafe(18)
        self.tokens[token] = None
        return {"auth": {"client_token": token, "lease_duration": self.lease_s, "renewable": True}}

    def _associated(self, body: dict[str, Any]) -> bytes:
        return b"" if self.ignores_associated_data else _decoded(body.get("associated_data", ""))

    def _encrypt(self, key: TransitKey, plain: bytes, body: dict[str, Any], aad: bytes) -> dict[str, Any]:
        version = body.get("key_version") or key.latest
        if version not in key.versions or version < key.min_encryption_version:
            raise _refused(400, "requested version is not allowed")
        nonce = secrets.token_bytes(12)
        sealed = nonce + AESGCM(_kek(key, version, body)).encrypt(nonce, plain, aad)
        text = base64.b64encode(sealed).decode()
        return {"ciphertext": f"vault:v{version}:{text}", "key_version": version}

    def _decrypt(self, key: TransitKey, body: dict[str, Any], aad: bytes) -> bytes:
        found = _BLOB.fullmatch(str(body.get("ciphertext", "")))
        if found is None:
            raise _refused(400, "invalid ciphertext: no prefix")
        version = int(found[1])
        if version < key.min_decryption_version:
            raise _refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        if version not in key.versions:
            raise _refused(400, "invalid ciphertext: version is too new")
        sealed = _decoded(found[2])
        try:
            return AESGCM(_kek(key, version, body)).decrypt(sealed[:12], sealed[12:], aad)
        except (InvalidTag, ValueError):
            raise _refused(400, "cipher: message authentication failed") from None


def _kek(key: TransitKey, version: int, body: dict[str, Any]) -> bytes:
    if not key.derived:
        return key.versions[version]  # a context is ignored, as in the real engine
    context = _decoded(body.get("context", ""))
    if not context:
        raise _refused(400, "missing 'context' for key derivation")
    return hmac.new(key.versions[version], context, hashlib.sha256).digest()


def _described(name: str, key: TransitKey) -> dict[str, Any]:
    return {
        "name": name,
        "type": "aes256-gcm96",
        "derived": key.derived,
        "exportable": key.exportable,
        "allow_plaintext_backup": False,
        "deletion_allowed": key.deletion_allowed,
        "latest_version": key.latest,
        "min_decryption_version": key.min_decryption_version,
        "min_encryption_version": key.min_encryption_version,
        "supports_encryption": True,
        "supports_decryption": True,
    }


def _body(seen: Seen) -> dict[str, Any]:
    if not seen.body:
        return {}
    try:
        body = json.loads(seen.body)
    except ValueError:
        raise _refused(400, "failed to parse JSON input") from None
    if not isinstance(body, dict):
        raise _refused(400, "failed to parse JSON input")
    return body


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        raise _refused(400, "failed to base64-decode") from None


def _refused(status: int, *errors: str) -> Refused:
    return Refused(status, {"errors": list(errors)})

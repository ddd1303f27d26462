"""A strict AWS KMS: one region, one account, real encryption.

It checks Signature Version 4, the caller's permissions, the key's state and the
encryption context, and answers with KMS's own error codes.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import time
from calendar import timegm
from typing import Any, Final
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlead.net.sigv4 import Credentials, sign
from fairlead.testing_keys.server import FakeServer, Refused, Seen

ACCOUNT: Final = "111122223333"
_SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/[0-9]{8}/([^/]+)/kms/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)
_MAX_SKEW_S: Final = 300


class KmsKey:
    """One symmetric key."""

    def __init__(self, arn: str) -> None:
        self.arn = arn
        self.id = arn.rpartition("/")[2]
        self.state = "Enabled"
        """Or `Disabled`, `PendingDeletion`, `PendingImport`."""
        self.material = [secrets.token_bytes(32)]


class FakeAwsKms(FakeServer):
    """KMS in one region."""

    def __init__(self, region: str = "eu-central-1") -> None:
        super().__init__()
        self.region = region
        self.credentials = Credentials(
            access_key_id="AKIA" + secrets.token_hex(8).upper(), secret_access_key=secrets.token_urlsafe(30)
        )
        self.keys: dict[str, KmsKey] = {}
        """Keys by ARN."""
        self.denied: set[str] = set()
        """Operations that the caller's policy does not allow, such as `Decrypt`."""
        self.throttles = 0
        """So many requests are throttled."""
        self.answers: bytes | None = None
        """Decrypts everything that opens to this instead."""
        self.names_key: str | None = None
        """Answers name this key instead of the one that was used."""
        self.now: float | None = None
        """The service's clock; this machine's when None."""

    def create_key(self) -> KmsKey:
        """Make a key."""
        arn = f"arn:aws:kms:{self.region}:{ACCOUNT}:key/{uuid4()}"
        self.keys[arn] = KmsKey(arn)
        return self.keys[arn]

    def reply(self, seen: Seen) -> dict[str, Any]:
        """Answer one request."""
        self._authenticate(seen)
        operation = seen.headers.get(b"x-amz-target", b"").decode().removeprefix("TrentService.")
        if self.throttles:
            self.throttles -= 1
            raise _refused("ThrottlingException")
        try:
            body = json.loads(seen.body)
        except ValueError:
            raise _refused("SerializationException") from None
        if operation in self.denied:
            raise _refused("AccessDeniedException")
        match operation:
            case "GenerateDataKey":
                key = self._usable(self._key(body.get("KeyId")))
                if body.get("KeySpec") != "AES_256":
                    raise _refused("ValidationException")
                plain = secrets.token_bytes(32)
                return {**_encrypted(key, plain, body, "EncryptionContext"), "Plaintext": _text(plain)} | (
                    self._named(key)
                )
            case "Encrypt":
                key = self._usable(self._key(body.get("KeyId")))
                plain = _bytes(body.get("Plaintext"))
                return {**_encrypted(key, plain, body, "EncryptionContext"), **self._named(key)}
            case "Decrypt":
                key, plain = self._decrypt(body, "KeyId", "EncryptionContext")
                answer = plain if self.answers is None else self.answers
                return {"Plaintext": _text(answer), **self._named(key)}
            case "ReEncrypt":
                source, plain = self._decrypt(body, "SourceKeyId", "SourceEncryptionContext")
                target = self._usable(self._key(body.get("DestinationKeyId")))
                made = _encrypted(target, plain, body, "DestinationEncryptionContext")
                return {**made, "SourceKeyId": source.arn, **self._named(target)}
            case "DescribeKey":
                key = self._key(body.get("KeyId"))
                return {"KeyMetadata": _metadata(key)}
            case "RotateKeyOnDemand":
                key = self._usable(self._key(body.get("KeyId")))
                key.material.append(secrets.token_bytes(32))
                return {"KeyId": key.arn}
        raise _refused("UnknownOperationException")

    def _authenticate(self, seen: Seen) -> None:
        found = _SIGNED.fullmatch(seen.headers.get(b"authorization", b"").decode())
        if found is None:
            raise _refused("MissingAuthenticationTokenException")
        access_key_id, region, names, signature = found.groups()
        stamp = seen.headers.get(b"x-amz-date", b"").decode()
        try:
            signed_at = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise _refused("IncompleteSignatureException") from None
        if access_key_id != self.credentials.access_key_id:
            raise _refused("UnrecognizedClientException")
        now = time.time() if self.now is None else self.now
        if region != self.region or abs(now - signed_at) > _MAX_SKEW_S:
            raise _refused("InvalidSignatureException")
        if not {"host", "x-amz-date", "x-amz-target"} <= set(names.split(";")):
            raise _refused("InvalidSignatureException")
        own = {"host", "x-amz-date", "x-amz-security-token"}
        headers = tuple(
            (name.encode(), seen.headers.get(name.encode(), b""))
            for name in names.split(";")
            if name not in own
        )
        again = sign(
            method=seen.method,
            host=seen.headers.get(b"host", b"").decode(),
            target=seen.target,
            headers=headers,
            body=seen.body,
            credentials=self.credentials,
            region=self.region,
            service="kms",
            now=signed_at,
        )
        wanted = dict(again)[b"authorization"].decode().rpartition("Signature=")[2]
        if not hmac.compare_digest(wanted, signature):
            raise _refused("InvalidSignatureException")

    def _key(self, name: object) -> KmsKey:
        for key in self.keys.values():
            if name in (key.arn, key.id):
                return key
        raise _refused("NotFoundException")

    def _usable(self, key: KmsKey) -> KmsKey:
        if key.state == "Disabled":
            raise _refused("DisabledException")
        if key.state != "Enabled":
            raise _refused("KMSInvalidStateException")
        return key

    def _decrypt(self, body: dict[str, Any], key_field: str, context_field: str) -> tuple[KmsKey, bytes]:
        blob = _bytes(body.get("CiphertextBlob"))
        id_, generation, nonce, sealed = blob[:36], blob[36:37], blob[37:49], blob[49:]
        key = next((each for each in self.keys.values() if each.id.encode() == id_), None)
        if key is None:
            raise _refused("InvalidCiphertextException")
        if body.get(key_field) is not None and self._key(body[key_field]) is not key:
            raise _refused("IncorrectKeyException")
        self._usable(key)
        try:
            material = key.material[generation[0]]
            plain = AESGCM(material).decrypt(nonce, sealed, _context(body.get(context_field)))
        except (InvalidTag, IndexError, ValueError):
            raise _refused("InvalidCiphertextException") from None
        return key, plain

    def _named(self, key: KmsKey) -> dict[str, Any]:
        return {"KeyId": self.names_key or key.arn}


def _encrypted(key: KmsKey, plain: bytes, body: dict[str, Any], context_field: str) -> dict[str, Any]:
    nonce = secrets.token_bytes(12)
    generation = len(key.material) - 1
    sealed = AESGCM(key.material[-1]).encrypt(nonce, plain, _context(body.get(context_field)))
    return {"CiphertextBlob": _text(key.id.encode() + bytes([generation]) + nonce + sealed)}


def _metadata(key: KmsKey) -> dict[str, Any]:
    return {
        "Arn": key.arn,
        "KeyId": key.id,
        "KeyState": key.state,
        "Enabled": key.state == "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeySpec": "SYMMETRIC_DEFAULT",
    }


def _context(given: object) -> bytes:
    if given is None:
        return b""
    if not isinstance(given, dict) or not all(isinstance(each, str) for each in given.values()):
        raise _refused("SerializationException")
    return json.dumps(given, sort_keys=True).encode()


def _bytes(text: object) -> bytes:
    try:
        data = base64.b64decode(str(text), validate=True)
    except ValueError:
        raise _refused("SerializationException") from None
    if not 0 < len(data) <= 6144:
        raise _refused("ValidationException")
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _refused(code: str) -> Refused:
    return Refused(400, {"__type": code, "message": "as the real service says it"})

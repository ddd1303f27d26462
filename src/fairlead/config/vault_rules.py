"""What the types of the section `vault` cannot say.

Each type of key service has options of its own; a key must be named so that it
cannot be pointed elsewhere; certificates are verified in any case. Pure, as
`rules` is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from fairlead.config import secrets, vault_policy_rules
from fairlead.config.fault import Fault, Path, nearest
from fairlead.config.vault_options import KeyServiceOptions, Vault, VaultKeys

AWS_KEY: Final = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]{1,40}):[0-9]{12}:key/[A-Za-z0-9-]{1,64}\Z")
GCP_KEY: Final = re.compile(
    r"projects/[a-z0-9:.-]{1,63}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}"
    r"/cryptoKeys/[A-Za-z0-9_-]{1,63}\Z"
)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_RESERVED: Final = "recovery"
_KEYS: Final = {
    "aws-kms": (AWS_KEY, "an ARN such as `arn:aws:kms:eu-central-1:111122223333:key/1234abcd-...`"),
    "gcp-kms": (GCP_KEY, "`projects/P/locations/L/keyRings/R/cryptoKeys/K`, without a version"),
    "azure-key-vault": (re.compile(r"[A-Za-z0-9-]{1,127}\Z"), "letters, digits and `-`"),
    "transit": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"), "letters, digits, `.`, `_` and `-`"),
    "pkcs11": (re.compile(r"[ -~]{1,64}\Z"), "the label of an AES key"),
}
_REMOTE: Final = ("transit", "aws-kms", "gcp-kms", "azure-key-vault")
_TOKENS: Final = ("transit", "gcp-kms", "azure-key-vault")
_ONLY_FOR: Final = {
    "path": ("local",),
    "passphrase": ("local",),
    "module": ("pkcs11",),
    "token_label": ("pkcs11",),
    "pin": ("pkcs11",),
    "url": _REMOTE,
    "mount": ("transit",),
    "namespace": ("transit",),
    "binding": ("transit",),
    "auth": _TOKENS,
    "token": _TOKENS,
    "role": ("transit", "azure-key-vault"),
    "jwt": ("transit",),
    "auth_mount": ("transit",),
    "access_key_id": ("aws-kms",),
    "secret_access_key": ("aws-kms",),
    "session_token": ("aws-kms",),
    "tls": _REMOTE,
    "proxy": _REMOTE,
}
_NEEDS: Final = {
    "local": (),
    "pkcs11": ("key", "module", "token_label", "pin"),
    "transit": ("key", "url"),
    "aws-kms": ("key", "access_key_id", "secret_access_key"),
    "gcp-kms": ("key",),
    "azure-key-vault": ("key", "url"),
}
_AUTHS: Final = {
    "transit": ("token", "kubernetes"),
    "gcp-kms": ("token", "metadata"),
    "azure-key-vault": ("token", "metadata"),
}

UrlFault = Callable[[str], str | None]


def faults(vault: Vault, url_fault: UrlFault) -> Iterator[Fault]:
    """Every broken rule of the section; `url_fault` says why a text is no URL."""
    yield from vault_policy_rules.faults(vault.access)
    yield from _default(vault.keys)
    for index, path in enumerate(vault.keys.recovery):
        if not path or path in vault.keys.recovery[:index]:
            yield Fault(("vault", "keys", "recovery", index), "expected the path of a PEM file, each once")
    for name, service in vault.keys.services.items():
        where: Path = ("vault", "keys", "services", name)
        if not _NAME.match(name) or name == _RESERVED:
            message = "a key service's name is a-z, 0-9, `.`, `_` and `-`, at most 63, and not `recovery`"
            yield Fault(where, message)
        yield from _service(where, service)
        yield from _login(where, service)
        yield from _address(where, service, url_fault)


def _default(keys: VaultKeys) -> Iterator[Fault]:
    where: Path = ("vault", "keys", "default")
    if keys.default is None:
        if len(keys.services) > 1:
            yield Fault(where, "which of the services wraps new keys is not said")
    elif keys.default not in keys.services:
        hint = nearest(keys.default, keys.services) or "add it under `services`"
        yield Fault(where, f"no key service is named `{keys.default}`", hint)


def _service(where: Path, service: KeyServiceOptions) -> Iterator[Fault]:
    kind = service.type
    for option, kinds in _ONLY_FOR.items():
        if getattr(service, option) is not None and kind not in kinds:
            meant = " and ".join(f"`{each}`" for each in kinds)
            yield Fault((*where, option), f"has no meaning for type `{kind}`, only for {meant}")
    for option in _NEEDS[kind]:
        if getattr(service, option) is None:
            yield Fault(where, f"`{option}` is missing; type `{kind}` needs it")
    if kind == "local" and (service.key is not None or service.previous_keys):
        yield Fault(where, "type `local` has one key file and no named keys; leave `key` out")
    elif kind == "pkcs11" and service.previous_keys:
        yield Fault((*where, "previous_keys"), "has no meaning for type `pkcs11`: labels tell the versions")
    elif kind in _KEYS:
        form, meant = _KEYS[kind]
        if service.key is not None and not form.match(service.key):
            yield Fault((*where, "key"), "not the name of a key of this type", meant)
        for index, key in enumerate(service.previous_keys):
            if not form.match(key):
                yield Fault((*where, "previous_keys", index), "not the name of a key of this type", meant)
            elif key == service.key or key in service.previous_keys[:index]:
                yield Fault((*where, "previous_keys", index), "this key is named already")
    for path, secret in secrets.references(service, where):
        if wrong := secrets.fault(secret.reference):
            yield Fault(path, *wrong)


def _login(where: Path, service: KeyServiceOptions) -> Iterator[Fault]:
    allowed = _AUTHS.get(service.type)
    if allowed is None:
        return
    auth = service.auth or "token"
    if auth not in allowed:
        meant = " and ".join(f"`{each}`" for each in allowed)
        yield Fault((*where, "auth"), f"has no meaning for type `{service.type}`, only {meant}")
        return
    if (service.token is None) == (auth == "token"):
        what = (
            "is missing; `auth: token` needs it" if auth == "token" else f"has no effect with `auth: {auth}`"
        )
        yield Fault(where, f"`token` {what}")
    if auth == "kubernetes" and service.role is None:
        yield Fault(where, "`role` is missing; `auth: kubernetes` needs it")
    if auth == "token" and (service.role or service.jwt or service.auth_mount):
        yield Fault(where, "`role`, `jwt` and `auth_mount` have no effect with `auth: token`")


def _address(where: Path, service: KeyServiceOptions, url_fault: UrlFault) -> Iterator[Fault]:
    if service.url is not None:
        if wrong := url_fault(service.url):
            yield Fault((*where, "url"), wrong.replace("; use `api_key`", ""))
        elif urlsplit(service.url).scheme == "http" and not _is_loopback(service.url):
            hint = "use `https://`; plain HTTP is for an agent on this machine"
            yield Fault((*where, "url"), "keys must not travel in the clear", hint)
    for option in ("mount", "auth_mount"):
        value = getattr(service, option)
        if value is not None and not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", value
        ):
            yield Fault((*where, option), "a mount is words of letters, digits, `.`, `_`, `-` between `/`")
    if service.namespace is not None and not re.fullmatch(r"[!-~]{1,256}", service.namespace):
        yield Fault((*where, "namespace"), "a namespace is printable ASCII without spaces")
    if service.proxy is not None and service.proxy != "none" and (wrong := url_fault(service.proxy)):
        yield Fault((*where, "proxy"), wrong.replace("; use `api_key`", ""))
    tls = service.tls
    if tls is not None:
        if not tls.verify:
            yield Fault((*where, "tls", "verify"), "a key service's certificate is always verified")
        if (tls.cert is None) != (tls.key is None):
            missing = "key" if tls.key is None else "cert"
            yield Fault((*where, "tls"), f"`cert` and `key` go together; `{missing}` is missing")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

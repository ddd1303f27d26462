"""The options of `vault`: who keeps its keys."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.config.kinds import Seconds, Secret, Section, UpstreamTls
from fairlead.config.vault_policy_options import VaultAccess

KeyServiceType = Literal["local", "pkcs11", "transit", "aws-kms", "gcp-kms", "azure-key-vault"]


class KeyServiceOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One key service. Which options it has depends on its type."""

    type: Annotated[
        KeyServiceType,
        Meta(description="What keeps the key; `transit` is HashiCorp Vault's and OpenBao's engine."),
    ]
    key: Annotated[
        str | None,
        Meta(
            description="The key: a label (`pkcs11`), a name (`transit`, `azure-key-vault`), an ARN "
            "(`aws-kms`) or a resource's full name (`gcp-kms`).",
        ),
    ] = None
    previous_keys: Annotated[
        list[str],
        Meta(description="Older keys, written as `key` is, that still unwrap but wrap nothing new."),
    ] = []
    timeout_s: Annotated[Seconds, Meta(description="Longest wait for one call, repetitions included.")] = 5.0
    path: Annotated[str | None, Meta(description="`local`: the key file; `~` is expanded.")] = None
    passphrase: Annotated[Secret | None, Meta(description="`local`: what the key file is sealed with.")] = (
        None
    )
    module: Annotated[str | None, Meta(description="`pkcs11`: path of the token's PKCS#11 library.")] = None
    token_label: Annotated[str | None, Meta(description="`pkcs11`: label of the token.")] = None
    pin: Annotated[Secret | None, Meta(description="`pkcs11`: the user's PIN.")] = None
    url: Annotated[
        str | None,
        Meta(
            description="Address of the server (`transit`) or of the vault (`azure-key-vault`); with "
            "`aws-kms` and `gcp-kms` another endpoint than the public one."
        ),
    ] = None
    mount: Annotated[
        str | None, Meta(description="`transit`: the engine's mount; `transit` when left out.")
    ] = None
    namespace: Annotated[str | None, Meta(description="`transit`: the namespace.")] = None
    binding: Annotated[
        Literal["associated-data", "derived-key"] | None,
        Meta(
            description="`transit`: how a key is bound to its version. `associated-data` when left out; "
            "`derived-key` needs a key made with `derived=true` and rewraps inside the engine."
        ),
    ] = None
    auth: Annotated[
        Literal["token", "kubernetes", "metadata"] | None,
        Meta(
            description="How to log in: with `token`; as a Kubernetes ServiceAccount (`transit`); or with "
            "what the machine's own identity gives (`gcp-kms`, `azure-key-vault`). `token` when left out."
        ),
    ] = None
    token: Annotated[
        Secret | None,
        Meta(description="`transit`, `gcp-kms`, `azure-key-vault`: the token, read again at each call."),
    ] = None
    role: Annotated[
        str | None,
        Meta(
            description="`auth: kubernetes`: the role. `auth: metadata`: the client id of an Azure identity."
        ),
    ] = None
    jwt: Annotated[
        Secret | None,
        Meta(description="`auth: kubernetes`: the ServiceAccount's token; the pod's own when left out."),
    ] = None
    auth_mount: Annotated[
        str | None, Meta(description="`auth: kubernetes`: the method's mount; `kubernetes` when left out.")
    ] = None
    access_key_id: Annotated[Secret | None, Meta(description="`aws-kms`: the access key's id.")] = None
    secret_access_key: Annotated[Secret | None, Meta(description="`aws-kms`: the access key.")] = None
    session_token: Annotated[
        Secret | None,
        Meta(description="`aws-kms`: of temporary credentials; all three are read at each call."),
    ] = None
    tls: Annotated[UpstreamTls | None, Meta(description="TLS towards the service.")] = None
    proxy: Annotated[
        str | None,
        Meta(description="HTTP proxy URL; the HTTP(S)_PROXY variables apply when left out, `none` disables."),
    ] = None


class VaultKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who wraps the keys of versions."""

    default: Annotated[
        str | None,
        Meta(description="The service that wraps new keys; may be left out when there is only one."),
    ] = None
    services: Annotated[
        dict[str, KeyServiceOptions],
        Meta(description="Key services by name; a key file in the state directory when there is none."),
    ] = {}
    recovery: Annotated[
        list[str],
        Meta(
            description="PEM files with X25519 public keys; each new version can be opened with their "
            "private halves as well, offline."
        ),
    ] = []


class Vault(Section, frozen=True, kw_only=True):
    """Encrypted models and datasets."""

    keys: Annotated[VaultKeys, Meta(description="Who wraps the keys of versions.")] = VaultKeys()
    access: Annotated[VaultAccess, Meta(description="Who may have what.")] = VaultAccess()

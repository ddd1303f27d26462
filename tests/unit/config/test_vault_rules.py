from __future__ import annotations

import pytest

from fairlead.config.parse import parse
from fairlead.errors import ConfigError

GOOD = """
vault:
  keys:
    default: prod
    recovery: [/etc/fairlead/recovery.pub]
    services:
      prod: {type: transit, url: "https://vault.example:8200", key: models, token: "file:/run/token"}
      cluster: {type: transit, url: "https://vault.example", key: models, auth: kubernetes, role: fairlead}
      laptop: {type: local, path: ~/keys.json, passphrase: "env:PASS"}
      hsm: {type: pkcs11, module: /usr/lib/x.so, token_label: t, key: models, pin: "env:PIN"}
      aws:
        type: aws-kms
        key: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        previous_keys: ["arn:aws:kms:eu-central-1:111122223333:key/mrk-0"]
        access_key_id: "env:A"
        secret_access_key: "env:B"
      google: {type: gcp-kms, key: projects/p/locations/l/keyRings/r/cryptoKeys/k, auth: metadata}
      azure: {type: azure-key-vault, url: "https://v.vault.azure.net", key: models, auth: metadata}
      agent: {type: transit, url: "http://127.0.0.1:8100", key: models, token: "env:T"}
"""


def test_every_kind_of_service_can_be_configured() -> None:
    keys = parse(GOOD, "test").vault.keys

    assert keys.default == "prod"
    assert set(keys.services) == {"prod", "cluster", "laptop", "hsm", "aws", "google", "azure", "agent"}


def test_nothing_need_be_configured() -> None:
    assert parse("{}", "test").vault.keys.services == {}


TRANSIT = 'type: transit, url: "https://v.example", key: k, token: "env:T"'
AWS = 'type: aws-kms, access_key_id: "env:A", secret_access_key: "env:B"'


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ('type: transit, key: k, token: "env:T"', "`url` is missing"),
        ('type: transit, url: "https://v.example", key: k', "`token` is missing"),
        ('type: transit, url: "http://v.example", key: k, token: "env:T"', "in the clear"),
        ('type: transit, url: "https://u:p@v.example", key: k, token: "env:T"', "credentials"),
        ('type: transit, url: "https://v.example", key: k, token: "hvs.literal"', "secret"),
        ('type: transit, url: "https://v.example", key: "../sys", token: "env:T"', "not the name of a key"),
        (TRANSIT + ", mount: ../sys", "a mount is"),
        (TRANSIT + ', namespace: "a b"', "a namespace is"),
        (TRANSIT + ", tls: {verify: false}", "always verified"),
        (TRANSIT + ", tls: {cert: /c}", "`key` is missing"),
        (TRANSIT + ", auth: metadata", "has no meaning for type `transit`"),
        (TRANSIT + ", auth: kubernetes, role: r", "has no effect with `auth: kubernetes`"),
        ('type: transit, url: "https://v.example", key: k, auth: kubernetes', "`role` is missing"),
        (TRANSIT + ", role: r", "have no effect with `auth: token`"),
        (TRANSIT + ", previous_keys: [k]", "named already"),
        (TRANSIT + ", path: /x", "has no meaning for type `transit`"),
        (AWS, "`key` is missing"),
        (AWS + ', key: "alias/models"', "not the name of a key of this type"),
        (AWS + ', key: "arn:aws:kms:eu-central-1:111122223333:alias/models"', "not the name of a key"),
        ('type: aws-kms, key: "arn:aws:kms:eu-central-1:111122223333:key/k"', "`access_key_id` is missing"),
        ('type: gcp-kms, key: models, token: "env:T"', "not the name of a key"),
        (
            'type: azure-key-vault, url: "https://v.example", key: a_b, token: "env:T"',
            "not the name of a key",
        ),
        ("type: pkcs11, module: /x.so, token_label: t, key: k", "`pin` is missing"),
        ("type: local, key: k", "leave `key` out"),
        ("type: local, url: https://v.example", "has no meaning for type `local`"),
        ("type: vault", "type"),
    ],
)
def test_broken_services(service: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"vault: {{keys: {{services: {{one: {{{service}}}}}}}}}", "test")

    assert expected in raised.value.message
    assert "hvs.literal" not in raised.value.message


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("{services: {a: {type: local}, b: {type: local, path: /x}}}", "which of the services"),
        ("{default: c, services: {a: {type: local}}}", "no key service is named `c`"),
        ("{services: {recovery: {type: local}}}", "not `recovery`"),
        ("{services: {Bad Name: {type: local}}}", "a key service's name"),
        ("{recovery: [/a, /a]}", "each once"),
    ],
)
def test_broken_sections(keys: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"vault: {{keys: {keys}}}", "test")

    assert expected in raised.value.message

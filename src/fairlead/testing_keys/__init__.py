"""Strict fakes of key services that ship, for the product's own tests and for those of its users.

`FakeTransit`, `FakeAwsKms`, `FakeGcpKms` and `FakeAzureKeyVault` are servers on
127.0.0.1 that encrypt for real and refuse what the real services refuse:
disabled keys, keys that wait for their deletion, another context, another
key, wrong checksums, wrong signatures, callers without permission. Common
stand-ins accept some of these, so a test that passes with them proves little.
Each can also be down, slow, broken, or answer with what was not asked for.

`FakeKeyService` is a key service in memory.

    async with FakeTransit() as transit:
        transit.create_key("models")
        ...                                  # talk to transit.url with transit.token
        transit.keys["models"].min_decryption_version = 2
"""

from fairlead.testing_keys.aws import FakeAwsKms
from fairlead.testing_keys.azure import FakeAzureKeyVault
from fairlead.testing_keys.gcp import FakeGcpKms
from fairlead.testing_keys.memory import FakeKeyService
from fairlead.testing_keys.server import Outage
from fairlead.testing_keys.transit import FakeTransit

__all__ = [
    "FakeAwsKms",
    "FakeAzureKeyVault",
    "FakeGcpKms",
    "FakeKeyService",
    "FakeTransit",
    "Outage",
]

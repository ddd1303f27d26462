"""What a ciphertext is bound to: tenant, name, version, file and purpose.

The same five facts are authenticated with every sealed file (`Context.aad`)
and with every wrapped key (`Context.mapping`, the encryption context of key
services), so that bytes or keys moved to another place do not open there.

`aad` is injective: each field is preceded by its length, so no two contexts
have the same bytes. docs/vault-format.md specifies them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from fairlead.vault.ref import Ref, check_file_path

DOMAIN: Final = b"fairlead.dev/vault/v1"


class Purpose(StrEnum):
    """What is sealed or wrapped. Something sealed for one purpose never opens for another."""

    FILE = "file"
    MANIFEST = "manifest"
    KEY = "key"
    CHUNK_INDEX = "chunk-index"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The place of one sealed thing. `file` is empty for what belongs to a version as a whole.

    Raises:
        InvalidRequest: a part is not a valid name or path.
    """

    tenant: str
    name: str
    version: str
    file: str = ""
    purpose: Purpose = Purpose.FILE

    def __post_init__(self) -> None:
        """Check the parts: an unchecked name would be bound just as firmly as a right one."""
        _ = self.ref
        if self.file:
            check_file_path(self.file)

    @classmethod
    def of(cls, ref: Ref, file: str = "", purpose: Purpose = Purpose.FILE) -> Context:
        """The context of a file, or of the version itself, of a reference."""
        return cls(tenant=ref.tenant, name=ref.name, version=ref.version, file=file, purpose=purpose)

    @property
    def ref(self) -> Ref:
        """The version that this belongs to."""
        return Ref(tenant=self.tenant, name=self.name, version=self.version)

    def aad(self, size_bytes: int) -> bytes:
        """The additional data of a sealed file whose plaintext has `size_bytes`.

        With the size inside, a file that was cut or extended fails at the
        header, before anything of it is read; a reader computes the size from
        the sealed length and needs nobody to tell it.
        """
        if not 0 <= size_bytes < 1 << 64:
            raise ValueError("the plaintext's size is outside 64 bits")
        fields = (self.purpose.value, self.tenant, self.name, self.version, self.file)
        encoded = (field.encode() for field in fields)
        prefixed = b"".join(len(field).to_bytes(4, "big") + field for field in encoded)
        return DOMAIN + prefixed + size_bytes.to_bytes(8, "big")

    def mapping(self) -> dict[str, str]:
        """The encryption context for key services, which take flat strings and refuse empty ones."""
        fields = {
            "fairlead:purpose": self.purpose.value,
            "fairlead:tenant": self.tenant,
            "fairlead:model": self.name,
            "fairlead:version": self.version,
        }
        if self.file:
            fields["fairlead:file"] = self.file
        return fields

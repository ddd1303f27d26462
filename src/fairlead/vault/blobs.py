"""Named, immutable objects: the little that the chunk store needs of a storage."""

from __future__ import annotations

from typing import Protocol

from fairlead.errors import NotFound


class BlobStore(Protocol):
    """Objects by name. An object never changes once it is there."""

    async def put_new(self, name: str, data: bytes) -> bool:
        """Store an object, durably when this returns; False, and nothing done, when the name is taken."""
        ...

    async def get(self, name: str) -> bytes:
        """All of an object.

        Raises:
            NotFound: there is none of this name.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove an object; not an error when there is none."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """The names that begin so, sorted."""
        ...


class MemoryBlobs:
    """Objects in this process's memory: for tests, and to try things."""

    def __init__(self) -> None:
        """Begin empty."""
        self.objects: dict[str, bytes] = {}

    async def put_new(self, name: str, data: bytes) -> bool:
        """Store an object unless the name is taken."""
        if name in self.objects:
            return False
        self.objects[name] = bytes(data)
        return True

    async def get(self, name: str) -> bytes:
        """All of an object."""
        try:
            return self.objects[name]
        except KeyError:
            raise NotFound(f"there is no object {name}") from None

    async def delete(self, name: str) -> None:
        """Remove an object."""
        self.objects.pop(name, None)

    async def names(self, prefix: str) -> list[str]:
        """The names that begin so, sorted."""
        return sorted(name for name in self.objects if name.startswith(prefix))

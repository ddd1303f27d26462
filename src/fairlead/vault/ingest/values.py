"""What a pickle's instructions would build, as data: nothing is imported, called or instantiated.

Plain values (None, bool, int, float, complex, str, bytes, tuple) stand for
themselves; everything else is one of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Value = object
"""Any of the above or below. Structures may contain themselves."""


@dataclass(frozen=True, slots=True)
class Global:
    """An importable name."""

    module: str
    name: str

    def __str__(self) -> str:
        """As one dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that stay in the file."""

    at: int
    size: int


@dataclass(eq=False, slots=True)
class Listing:
    """A list."""

    items: list[Value] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Mapping:
    """A dict, OrderedDict, defaultdict or Counter: pairs in the order they were set."""

    pairs: list[tuple[Value, Value]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Group:
    """A set or frozenset."""

    items: list[Value] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dtype:
    """A numpy type; `code` is such as `f4`."""

    code: str


@dataclass(eq=False, slots=True)
class Order:
    """A numpy type's byte order as a BUILD instruction sets it. Kept apart: memo entries share the type."""

    dtype: Dtype
    order: str = "="


@dataclass(eq=False, slots=True)
class Array:
    """A numpy array."""

    order: Order | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: Value = None


@dataclass(frozen=True, slots=True)
class Storage:
    """A torch storage, by the key under which its bytes lie elsewhere in the file."""

    key: str
    kind: str
    """The name of its class, such as `FloatStorage`."""
    numel: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view on a torch storage. Offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str = ""
    """Set where the storage has no type of its own."""


@dataclass(eq=False, slots=True)
class Made:
    """What an allowed or quarantined callable would return, where nobody looks inside."""

    maker: Global
    args: Value = ()
    state: Value = None
    items: list[Value] = field(default_factory=list)


def children(value: Value) -> Iterator[Value]:
    """The values directly inside one."""
    match value:
        case tuple():
            yield from value
        case Listing(items=items) | Group(items=items):
            yield from items
        case Mapping(pairs=pairs):
            for key, item in pairs:
                yield key
                yield item
        case Made(args=args, state=state, items=items):
            yield args
            yield state
            yield from items
        case Array(data=data):
            yield data
        case _:
            return


def is_plain(value: Value, depth: int = 8) -> bool:
    """Whether there is nothing importable in a value, a few levels deep; deeper is not plain."""
    if isinstance(value, Global | Made) or depth == 0:
        return False
    return all(is_plain(child, depth - 1) for child in children(value))

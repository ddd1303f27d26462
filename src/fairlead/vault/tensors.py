"""Tensors out of a sealed safetensors file, each decrypted alone.

Reads the header and then only the segments that hold the tensor asked for.
numpy and torch are imported when a tensor is asked for as one of theirs.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from fairlead.errors import NotFound, VaultError
from fairlead.vault.tensor_header import TensorHeader, TensorInfo, header_length, parse_header

if TYPE_CHECKING:
    import numpy as np

_NUMPY: Final = {
    "BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_TORCH: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
    "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


class Readable(Protocol):
    """A plaintext that can be read anywhere; `opening.Reader` is one."""

    size_bytes: int

    def read_at(self, offset: int, buffer: memoryview | bytearray, *, threads: int = 1) -> int:
        """Fill a buffer, or raise and leave nothing in it."""
        ...


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated tensor. `data` is little-endian, in row-major order."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


class TensorFile:
    """The tensors of one safetensors file."""

    def __init__(self, reader: Readable) -> None:
        """Read and check the header.

        Raises:
            InvalidRequest: it is not a valid safetensors file.
            Tampered: it is not what was sealed.
        """
        first = bytearray(min(8, reader.size_bytes))
        reader.read_at(0, first)
        text = bytearray(header_length(bytes(first), reader.size_bytes))
        reader.read_at(8, text)
        self.header: TensorHeader = parse_header(bytes(text), reader.size_bytes)
        self._reader = reader

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the tensors' bytes: reading in this order decrypts no segment twice."""
        return iter(self.header.tensors)

    def __len__(self) -> int:
        """How many tensors there are."""
        return len(self.header.tensors)

    def info(self, name: str) -> TensorInfo:
        """What the header says of a tensor.

        Raises:
            NotFound: there is no tensor of this name.
        """
        try:
            return self.header.tensors[name]
        except KeyError:
            raise NotFound(f"there is no tensor {ascii(name)[:200]}") from None

    def tensor(self, name: str, buffer: memoryview | bytearray | None = None, *, threads: int = 1) -> Tensor:
        """Decrypt one tensor.

        Args:
            name: as in the header.
            buffer: memory to use again, at least as long as the tensor; fresh memory when None.
            threads: how many segments to decrypt at once.

        Raises:
            NotFound: there is no tensor of this name.
            Tampered: it is not what was sealed; the buffer is wiped.
        """
        info = self.info(name)
        length = info.end - info.begin
        data = memoryview(bytearray(length) if buffer is None else buffer).cast("B")
        if len(data) < length:
            raise ValueError(f"the tensor has {length} bytes, the buffer {len(data)}")
        data = data[:length]
        self._reader.read_at(info.begin, data, threads=threads)
        return Tensor(dtype=info.dtype, shape=info.shape, data=data)

    def numpy(self, name: str, *, threads: int = 1) -> np.ndarray[Any, np.dtype[Any]]:
        """One tensor as an array of numpy.

        Raises:
            VaultError: numpy is not installed, or has no such dtype (bfloat16, the 8-bit floats).
        """
        try:
            import numpy as np
        except ImportError as missing:
            raise VaultError("arrays need the package `numpy`", hint="pip install numpy") from missing
        info = self.info(name)
        if info.dtype not in _NUMPY:
            raise VaultError(f"numpy has no {info.dtype}", hint="use `torch`, or `tensor` for the bytes")
        array = np.empty(info.shape, _NUMPY[info.dtype])  # not zeroed: every byte is written or wiped
        if array.size:
            self.tensor(name, array.reshape(-1).view(np.uint8).data, threads=threads)
        return array

    def torch(self, name: str, *, threads: int = 1) -> Any:
        """One tensor as a tensor of torch, in main memory.

        Raises:
            VaultError: torch is not installed, or has no such dtype.
        """
        try:
            torch = importlib.import_module("torch")  # by name: its types are no part of ours
        except ImportError as missing:
            raise VaultError("tensors of torch need the package `torch`") from missing
        info = self.info(name)
        dtype = getattr(torch, _TORCH.get(info.dtype, ""), None)
        if dtype is None:
            raise VaultError(f"this torch has no {info.dtype}", hint="use `tensor` for the bytes")
        if math.prod(info.shape) == 0:
            return torch.empty(info.shape, dtype=dtype)
        made = self.tensor(name, threads=threads)
        return torch.frombuffer(made.data, dtype=dtype).reshape(info.shape)

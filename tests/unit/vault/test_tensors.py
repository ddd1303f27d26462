from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
from tests.unit.vault.safetensors_cases import entry, file_of

from fairlead.errors import InvalidRequest, NotFound, Tampered, VaultError
from fairlead.vault.context import Context
from fairlead.vault.floe import HEADER_BYTES, Params
from fairlead.vault.opening import Reader
from fairlead.vault.sealing import seal_bytes
from fairlead.vault.sources import MemorySource
from fairlead.vault.tensors import TensorFile

KEY = bytes(range(32))
PLACE = Context(tenant="acme", name="fraud", version="7", file="model.safetensors")
SMALL = Params(segment_bytes=48)
A, B = bytes(range(24)), bytes(range(100, 140))
PLAIN = file_of(
    {
        "a": entry("F32", [2, 3], 0, 24),
        "b": entry("U8", [40], 24, 64),
        "c": entry("BF16", [0], 64, 64),
        "d": entry("F8_E4M3", [2], 64, 66),
    },
    A + B + b"zz",
)
SEALED = seal_bytes(KEY, PLACE, PLAIN, params=SMALL)


def tensors(sealed: bytes = SEALED) -> TensorFile:
    return TensorFile(Reader(KEY, PLACE, MemorySource(sealed), params=SMALL))


def test_each_tensor_is_what_was_sealed() -> None:
    file = tensors()

    assert list(file) == ["a", "b", "c", "d"]
    assert len(file) == 4
    tensor = file.tensor("b")
    assert (tensor.dtype, tensor.shape, bytes(tensor.data)) == ("U8", (40,), B)
    assert bytes(file.tensor("a", threads=2).data) == A
    assert bytes(file.tensor("c").data) == b""


def test_only_the_segments_of_the_tensor_are_decrypted() -> None:
    """So damage elsewhere in the file does not matter, and damage in the tensor is refused."""
    damaged = bytearray(SEALED)
    damaged[-1] ^= 1  # in the last segment, where `d` ends
    file = tensors(bytes(damaged))

    assert bytes(file.tensor("a").data) == A
    with pytest.raises(Tampered):
        file.tensor("d")


def test_a_buffer_is_used_again_and_wiped_when_the_check_fails() -> None:
    buffer = bytearray(b"\xff" * 50)
    assert bytes(tensors().tensor("b", buffer).data) == B
    assert buffer[40:] == b"\xff" * 10

    damaged = bytearray(SEALED)
    first = HEADER_BYTES + (len(PLAIN) - 42) // 16 * 48
    damaged[first + 20] ^= 1
    with pytest.raises(Tampered):
        tensors(bytes(damaged)).tensor("b", buffer)
    assert buffer == bytes(40) + b"\xff" * 10

    with pytest.raises(ValueError, match="40 bytes"):
        tensors().tensor("b", bytearray(39))


def test_arrays_have_the_right_values_and_shapes() -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    file = tensors()

    assert file.numpy("a").tolist() == np.frombuffer(A, "<f4").reshape(2, 3).tolist()
    assert file.numpy("b").tolist() == list(B)
    with pytest.raises(VaultError, match="numpy has no F8_E4M3"):
        file.numpy("d")


def test_tensors_of_torch_have_the_right_values_and_shapes() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    file = tensors()

    assert file.torch("b").tolist() == list(B)
    assert file.torch("a").shape == (2, 3)
    assert file.torch("c").dtype is torch.bfloat16


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_missing_library_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == library:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(VaultError, match=library):
        getattr(tensors(), library)("a")


def test_a_name_that_is_not_there_is_said_without_control_characters() -> None:
    with pytest.raises(NotFound, match=r"'\\x1b'"):
        tensors().info("\x1b")


@pytest.mark.parametrize("plain", [b"", b"\1", b"GGUF" * 10, file_of(b"{}", b"rest")])
def test_other_files_are_refused(plain: bytes) -> None:
    sealed = seal_bytes(KEY, PLACE, plain, params=SMALL)

    with pytest.raises(InvalidRequest):
        tensors(sealed)

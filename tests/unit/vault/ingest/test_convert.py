"""Conversion gives the bytes that PyTorch would have loaded, for every view of a storage."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vault.ingest.made import FLOATS, name, state_dict, tensor, text, torch_legacy, torch_zip

from fairlead.vault.ingest import convert
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.safetensors import read_header
from fairlead.vault.ingest.values import Storage, Tensor
from fairlead.vault.ingest.verdict import Approval
from fairlead.vault.ingest.window import memory_window


def _convert(tmp_path: Path, data: bytes, *approvals: Approval) -> tuple[convert.Converted, dict[str, bytes]]:
    descriptor = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        done = convert.run(memory_window(data), descriptor, "m.pt", Limits(), approvals)
    finally:
        os.close(descriptor)
    if done.refused:
        return done, {}
    raw = (tmp_path / "out").read_bytes()
    header = read_header(memory_window(raw))
    return done, {
        one.name: raw[header.data_at + one.start : header.data_at + one.end] for one in header.tensors
    }


@pytest.mark.parametrize("form", [torch_zip, torch_legacy])
def test_both_forms_of_checkpoints(tmp_path: Path, form: object) -> None:
    done, tensors = _convert(
        tmp_path, form(state_dict(w=tensor(), b=tensor(offset=2, shape=(2,), stride=(1,))))
    )  # type: ignore[operator]  # one of two functions

    assert (done.tensors, done.left_out) == (2, ())
    assert tensors == {"w": FLOATS, "b": FLOATS[8:]}


def test_transposed_stepped_and_expanded_views_become_contiguous(tmp_path: Path) -> None:
    body = state_dict(
        t=tensor(shape=(2, 2), stride=(1, 2)), s=tensor(shape=(2,), stride=(3,)),
        e=tensor(shape=(3,), stride=(0,)),
        z=tensor(shape=(0, 5), stride=(5, 1)), n=tensor(shape=(), stride=(), offset=1),
    )  # fmt: skip

    _, tensors = _convert(tmp_path, torch_zip(body))

    assert struct.unpack("<4f", tensors["t"]) == (1, 3, 2, 4)
    assert struct.unpack("<2f", tensors["s"]) == (1, 4)
    assert struct.unpack("<3f", tensors["e"]) == (1, 1, 1)
    assert (tensors["z"], struct.unpack("<f", tensors["n"])) == (b"", (2.0,))


@given(data=st.data())
def test_any_view_is_what_numpy_makes_of_it(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=4)))
    stride = tuple(data.draw(st.integers(0, 6)) for _ in shape)
    offset = data.draw(st.integers(0, 5))
    numel = offset + sum(max(0, n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1
    storage = np.arange(numel, dtype="<i2")
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, [2 * step for step in stride])

    found = b"".join(
        convert.pieces(
            Tensor(Storage("0", "ShortStorage", numel), offset, shape, stride),
            2,
            memory_window(storage.tobytes()),
        )
    )

    assert found == np.ascontiguousarray(view).tobytes()
    assert len(found) == 2 * math.prod(shape)


def test_nested_mappings_are_joined_and_the_rest_is_named(tmp_path: Path) -> None:
    inner = state_dict(w=tensor())
    done, tensors = _convert(
        tmp_path, torch_zip(b"}(" + text("model") + inner + text("epoch") + b"K\3" + b"u")
    )

    assert set(tensors) == {"model.w"}
    assert done.left_out == ("epoch",)


def test_two_names_of_one_tensor_are_two_tensors(tmp_path: Path) -> None:
    _, tensors = _convert(tmp_path, torch_zip(state_dict(a=tensor(), b=tensor())))

    assert tensors == {"a": FLOATS, "b": FLOATS}


def test_wide_types_come_first_so_that_all_are_aligned(tmp_path: Path) -> None:
    body = state_dict(a=tensor("1", 3, (3,), (1,), kind="ByteStorage"), b=tensor())

    _, tensors = _convert(tmp_path, torch_zip(body, {"0": FLOATS, "1": b"abc"}))

    assert list(tensors) == ["b", "a"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (torch_zip(state_dict(w=name("__main__", "Net") + b")\x81")), "refused"),
        (torch_zip(state_dict(epoch=b"K\1")), "no tensors"),
        (torch_zip(state_dict(w=tensor("0", 1, (1,), (1,), kind="ComplexDoubleStorage"))), "no form"),
        (torch_zip(tensor()), "no name"),
        (torch_zip(state_dict(w=tensor())).replace(b"archive/byteorder", b"archive/byteorder"), ""),
        (b"{}", "quarantined"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(tmp_path: Path, data: bytes, why: str) -> None:
    done, _ = _convert(tmp_path, data)

    assert why in done.refused
    assert bool(done.refused) == bool(why)


def test_an_approval_opens_a_quarantined_checkpoint(tmp_path: Path) -> None:
    data = torch_zip(state_dict(w=tensor(function="_rebuild_tensor_v3", rest=name("torch", "int32"))))
    refused, _ = _convert(tmp_path, data)
    sha256 = __import__("hashlib").sha256(data).hexdigest()

    done, tensors = _convert(
        tmp_path, data, Approval(rule="pickle-torch-rare", sha256=sha256, by="ann", reason="ints")
    )

    assert "pickle-torch-rare" in refused.refused
    assert (done.tensors, tensors["w"]) == (1, FLOATS)

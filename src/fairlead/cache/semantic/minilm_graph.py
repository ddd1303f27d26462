"""The graph of a BERT sentence encoder in ONNX, from its safetensors, without torch.

Encoder layers, mean over the tokens that count, and scaling to length one.
Sizes are read from the weights; only the number of heads has to be told.
Needs `onnx` and `numpy`, from the extra `fairlead[embed]`.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, Final

_OPSET: Final = 17
_MASKED: Final = -1e4
_MOST_HEADER: Final = 10_000_000


def read_safetensors(path: Path) -> dict[str, Any]:
    """The float32 tensors of a file, by name.

    Raises:
        ValueError: it is no such file, or cut short.
    """
    np = importlib.import_module("numpy")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _MOST_HEADER):
        raise ValueError(f"{path.name}: no safetensors")
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__" or about["dtype"] != "F32":
            continue
        first, last = about["data_offsets"]
        if not 0 <= first <= last <= len(data) - 8 - length:
            raise ValueError(f"{path.name}: {name} lies outside the file")
        part = memoryview(data)[8 + length + first : 8 + length + last]
        tensors[name] = np.frombuffer(part, dtype="<f4").reshape(about["shape"])
    return tensors


def build(tensors: dict[str, Any], heads: int) -> Any:
    """An ONNX model: `input_ids` and `attention_mask` in, `vectors` out."""
    return _Graph(tensors, heads).model()


class _Graph:
    """Nodes and weights as they are put together."""

    def __init__(self, tensors: dict[str, Any], heads: int) -> None:
        self.onnx = importlib.import_module("onnx")
        self.np = importlib.import_module("numpy")
        self.tensors = tensors
        self.heads = heads
        self.hidden = tensors["embeddings.word_embeddings.weight"].shape[1]
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.count = 0

    def model(self) -> Any:
        """The whole."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto
        text = self._embedded()
        mask = self._node("Cast", "attention_mask", to=kind.FLOAT)
        hidden = self._node("Sub", self._constant(1.0), mask)
        hidden = self._node("Mul", hidden, self._constant(_MASKED))
        hidden = self._node("Unsqueeze", hidden, self._integers([1, 2]))
        layer = 0
        while f"encoder.layer.{layer}.output.dense.weight" in self.tensors:
            text = self._layer(text, hidden, f"encoder.layer.{layer}.")
            layer += 1
        counted = self._node("Unsqueeze", mask, self._integers([2]))
        total = self._node("ReduceSum", self._node("Mul", text, counted), self._integers([1]), keepdims=0)
        number = self._node("ReduceSum", mask, self._integers([1]), keepdims=1)
        mean = self._node("Div", total, number)
        length = self._node("ReduceL2", mean, axes=[1], keepdims=1)
        length = self._node("Max", length, self._constant(1e-12))
        self.nodes.append(helper.make_node("Div", [mean, length], ["vectors"]))
        graph = helper.make_graph(
            self.nodes,
            "sentence-encoder",
            [
                helper.make_tensor_value_info(name, kind.INT64, ["texts", "tokens"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("vectors", kind.FLOAT, ["texts", self.hidden])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        # What every runtime of the last years reads; the library would write its own newest.
        model.ir_version = 8
        return model

    def _embedded(self) -> str:
        words = self._node("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        # Every token is of the first type, so its vector joins the positions'.
        positions = (
            self.tensors["embeddings.position_embeddings.weight"]
            + self.tensors["embeddings.token_type_embeddings.weight"][0]
        )
        shape = self._node("Shape", "input_ids")
        tokens = self._node("Gather", shape, self._integers([1]))
        there = self._node("Slice", self._tensor(positions), self._integers([0]), tokens, self._integers([0]))
        return self._normalised(self._node("Add", words, there), "embeddings.LayerNorm.")

    def _layer(self, text: str, hidden: str, name: str) -> str:
        own = f"{name}attention.self."
        query = self._split(self._linear(text, f"{own}query."), [0, 2, 1, 3])
        key = self._split(self._linear(text, f"{own}key."), [0, 2, 3, 1])
        value = self._split(self._linear(text, f"{own}value."), [0, 2, 1, 3])
        scale = self._constant((self.hidden // self.heads) ** -0.5)
        scores = self._node("Mul", self._node("MatMul", query, key), scale)
        shares = self._node("Softmax", self._node("Add", scores, hidden), axis=-1)
        seen = self._node("Transpose", self._node("MatMul", shares, value), perm=[0, 2, 1, 3])
        seen = self._node("Reshape", seen, self._integers([0, 0, self.hidden]))
        seen = self._linear(seen, f"{name}attention.output.dense.")
        text = self._normalised(self._node("Add", seen, text), f"{name}attention.output.LayerNorm.")
        wide = self._gelu(self._linear(text, f"{name}intermediate.dense."))
        narrow = self._linear(wide, f"{name}output.dense.")
        return self._normalised(self._node("Add", narrow, text), f"{name}output.LayerNorm.")

    def _split(self, text: str, order: list[int]) -> str:
        shape = self._integers([0, 0, self.heads, self.hidden // self.heads])
        return self._node("Transpose", self._node("Reshape", text, shape), perm=order)

    def _gelu(self, text: str) -> str:
        error = self._node("Erf", self._node("Mul", text, self._constant(2.0**-0.5)))
        half = self._node("Mul", text, self._constant(0.5))
        return self._node("Mul", half, self._node("Add", error, self._constant(1.0)))

    def _linear(self, text: str, name: str) -> str:
        weight = self._tensor(self.np.ascontiguousarray(self.tensors[f"{name}weight"].T))
        return self._node("Add", self._node("MatMul", text, weight), self._weight(f"{name}bias"))

    def _normalised(self, text: str, name: str) -> str:
        scale, bias = self._weight(f"{name}weight"), self._weight(f"{name}bias")
        return self._node("LayerNormalization", text, scale, bias, axis=-1, epsilon=1e-12)

    def _node(self, what: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        name = f"n{self.count}"
        self.nodes.append(self.onnx.helper.make_node(what, list(inputs), [name], **attributes))
        return name

    def _weight(self, name: str) -> str:
        return self._tensor(self.tensors[name])

    def _constant(self, value: float) -> str:
        return self._tensor(self.np.array(value, dtype="float32"))

    def _integers(self, values: list[int]) -> str:
        return self._tensor(self.np.array(values, dtype="int64"))

    def _tensor(self, value: Any) -> str:
        self.count += 1
        name = f"w{self.count}"
        self.weights.append(self.onnx.numpy_helper.from_array(value, name))
        return name

"""MiniLM's loader on a small encoder of random weights: against numpy, by digest, without telemetry."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from array import array
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from fairlead.cache.semantic import minilm_graph
from fairlead.cache.semantic.embed import cosine
from fairlead.cache.semantic.minilm import MiniLM
from fairlead.errors import UsageError

HIDDEN, HEADS, LAYERS, WIDE = 32, 4, 2, 48
WORDS = ["[UNK]", "how", "do", "can", "i", "sort", "paint", "wash", "it", "them"]


def weights() -> dict[str, Any]:
    random = np.random.default_rng(3)

    def some(*shape: int) -> Any:
        return (random.normal(size=shape) * 0.3).astype("float32")

    made = {
        "embeddings.word_embeddings.weight": some(len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": some(64, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm."]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        norms += [f"{name}attention.output.LayerNorm.", f"{name}output.LayerNorm."]
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            made[f"{name}attention.{part}.weight"] = some(HIDDEN, HIDDEN)
            made[f"{name}attention.{part}.bias"] = some(HIDDEN)
        made |= {
            f"{name}intermediate.dense.weight": some(WIDE, HIDDEN),
            f"{name}intermediate.dense.bias": some(WIDE),
        }
        made |= {f"{name}output.dense.weight": some(HIDDEN, WIDE), f"{name}output.dense.bias": some(HIDDEN)}
    for name in norms:
        made |= {f"{name}weight": 1 + some(HIDDEN), f"{name}bias": some(HIDDEN)}
    return made


def save(tensors: dict[str, Any], path: Path) -> None:
    header, at, parts = {}, 0, []
    for name, tensor in tensors.items():
        data = tensor.tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
        parts.append(data)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def expected(tensors: dict[str, Any], ids: list[int]) -> Any:
    """The encoder once more, in numpy."""

    def linear(x: Any, name: str) -> Any:
        return x @ tensors[f"{name}weight"].T + tensors[f"{name}bias"]

    def norm(x: Any, name: str) -> Any:
        spread = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
        return (x - x.mean(axis=-1, keepdims=True)) / spread * tensors[f"{name}weight"] + tensors[
            f"{name}bias"
        ]

    x = tensors["embeddings.word_embeddings.weight"][ids]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm.")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        parts = [linear(x, f"{name}attention.self.{part}.") for part in ("query", "key", "value")]
        q, k, v = (part.reshape(len(ids), HEADS, -1).transpose(1, 0, 2) for part in parts)
        scores = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(HIDDEN // HEADS))
        seen = (scores / scores.sum(axis=-1, keepdims=True)) @ v
        seen = linear(seen.transpose(1, 0, 2).reshape(len(ids), HIDDEN), f"{name}attention.output.dense.")
        x = norm(seen + x, f"{name}attention.output.LayerNorm.")
        wide = linear(x, f"{name}intermediate.dense.")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(linear(wide, f"{name}output.dense.") + x, f"{name}output.LayerNorm.")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    save(weights(), directory / "model.safetensors")
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def digest(model: Path) -> str:
    return sha256((model / "model.safetensors").read_bytes()).hexdigest()


def test_the_graph_computes_what_the_encoder_does(model: Path) -> None:
    tensors = minilm_graph.read_safetensors(model / "model.safetensors")
    session = onnxruntime.InferenceSession(
        minilm_graph.build(tensors, HEADS).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ids = [1, 2, 4, 5, 8]
    padded = {
        "input_ids": np.array([[*ids, 0, 0], [3] * 7], dtype="int64"),
        "attention_mask": np.array([[1] * 5 + [0] * 2, [1] * 7], dtype="int64"),
    }
    first, second = session.run(None, padded)[0]

    np.testing.assert_allclose(first, expected(weights(), ids), atol=1e-5)
    np.testing.assert_allclose(second, expected(weights(), [3] * 7), atol=1e-5)


def test_the_model_is_built_once_and_gives_the_same_vectors_in_any_company(
    model: Path, tmp_path: Path
) -> None:
    opened = MiniLM.open(tmp_path / "cache", model=model, digest=digest(model), heads=HEADS)
    (graph,) = (tmp_path / "cache").iterdir()
    built_at = graph.stat().st_mtime_ns
    alone = opened.vectors(["how do i sort it"])[0]
    together = asyncio.run(opened.embed(["can i wash them", "how do i sort it", "paint it"]))
    opened.close()
    again = MiniLM.open(tmp_path / "cache", model=model, digest=digest(model), heads=HEADS)

    assert graph.stat().st_mtime_ns == built_at
    assert opened.dimensions == len(alone) == HIDDEN
    assert list(alone) == list(together[1]) == list(again.vectors(["how do i sort it"])[0])
    assert cosine(alone, array("f", expected(weights(), [1, 2, 4, 5, 8]))) > 0.98
    assert opened.id == again.id
    assert "int8" in opened.id
    again.close()


def test_other_weights_are_refused_and_leave_nothing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not the one expected"):
        MiniLM.open(tmp_path / "cache", model=model, digest="0" * 64, heads=HEADS)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("cut", [0, 4, 20, 2000])
def test_a_cut_file_is_no_model(model: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "m").write_bytes((model / "model.safetensors").read_bytes()[:cut])

    with pytest.raises(ValueError, match=r"no safetensors|outside the file"):
        minilm_graph.read_safetensors(tmp_path / "m")


def test_the_runtime_leaves_no_trace_of_telemetry(model: Path, tmp_path: Path) -> None:
    """Run in an empty home: the import alone would write an identifier there."""
    script = (
        "import sys; from pathlib import Path; from fairlead.cache.semantic.minilm import MiniLM\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "opened = MiniLM.open(Path(sys.argv[1]), model=Path(sys.argv[2]), digest=sys.argv[3], heads=4)\n"
        "opened.vectors(['sort it']); opened.close()"
    )
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environ = {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), str(model), digest(model)]
    subprocess.run(command, env=environ, check=True, timeout=60, capture_output=True)

    assert list(home.rglob("*")) == []

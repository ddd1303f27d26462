"""ONNX models: every message of the format, no field outside of it.

Operators come from the domains that runtimes ship; any other is native code
that somebody loads beside the model. External tensors lie in files beside the
model and nowhere else.
"""

from __future__ import annotations

from typing import Final

from fairlead.vault.ingest import names, protobuf
from fairlead.vault.ingest.protobuf import Field, Message
from fairlead.vault.ingest.verdict import Report, Stopped, shown
from fairlead.vault.ingest.window import Window

_RULE: Final = "onnx-field"
_MAX_DEPTH: Final = 48
_MAX_TEXT_BYTES: Final = 1 << 20
_DOMAINS: Final = frozenset(
    {
        "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft",
        "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc",
        "pkg.onnxscript.torch_lib",
        "pkg.onnxscript.torch_lib.common", "pkg.torch.__subgraph__", "pkg.torch", "local",
    }
)  # fmt: skip
_MESSAGES: Final = {
    "model": Message({1: "varint", 2: "text", 3: "text", 4: "text", 5: "varint", 6: "text", 7: "graph",
    8: "opset",
                      14: "entry", 20: "training", 25: "function", 26: "device"}),
    "device": Message({1: "text", 2: "varint", 3: "text"}),
    "node_device": Message({1: "text", 2: "sharding", 3: "varint"}),
    "sharding": Message({1: "text", 2: "varint", 3: "bytes", 4: "bytes"}, frozenset({2})),
    "opset": Message({1: "text", 2: "varint"}),
    "entry": Message({1: "text", 2: "text"}),
    "training": Message({1: "graph", 2: "graph", 3: "entry", 4: "entry"}),
    "function": Message({1: "text", 4: "text", 5: "text", 6: "text", 7: "node", 8: "text", 9: "opset",
    10: "text",
                         11: "attribute", 12: "info", 13: "text", 14: "entry"}),
    "graph": Message({1: "node", 2: "text", 5: "tensor", 10: "text", 11: "info", 12: "info", 13: "info",
                      14: "annotation", 15: "sparse", 16: "entry"}),
    "node": Message({1: "text", 2: "text", 3: "text", 4: "text", 5: "attribute", 6: "text", 7: "text",
    8: "text",
                     9: "entry", 10: "node_device"}),
    "attribute": Message({1: "text", 2: "fixed32", 3: "varint", 4: "bytes", 5: "tensor", 6: "graph",
    7: "fixed32",
                          8: "varint", 9: "bytes", 10: "tensor", 11: "graph", 13: "text", 14: "type",
                          15: "type",
                          20: "varint", 21: "text", 22: "sparse", 23: "sparse"}, frozenset({7, 8})),
    "tensor": Message({1: "varint", 2: "varint", 3: "segment", 4: "fixed32", 5: "varint", 6: "bytes",
    7: "varint",
                       8: "text", 9: "bytes", 10: "fixed64", 11: "varint", 12: "text", 13: "external",
                       14: "varint",
                       16: "entry"}, frozenset({1, 4, 5, 7, 10, 11})),
    "segment": Message({1: "varint", 2: "varint"}),
    "external": Message({1: "text", 2: "text"}),
    "sparse": Message({1: "tensor", 2: "tensor", 3: "varint"}, frozenset({3})),
    "annotation": Message({1: "text", 2: "entry"}),
    "info": Message({1: "text", 2: "type", 3: "text", 4: "entry"}),
    "type": Message({1: "tensor_type", 4: "sequence", 5: "map", 6: "text", 7: "opaque", 8: "tensor_type",
                     9: "sequence"}),
    "tensor_type": Message({1: "varint", 2: "shape"}),
    "sequence": Message({1: "type"}),
    "map": Message({1: "varint", 2: "type"}),
    "opaque": Message({1: "text", 2: "text"}),
    "shape": Message({1: "dimension"}),
    "dimension": Message({1: "varint", 2: "text", 3: "text"}),
}  # fmt: skip
_NODE_DOMAIN: Final = 7


def is_onnx(window: Window) -> bool:
    """Whether a file is a model by its outermost message: a version, a graph, operator sets, nothing else."""
    seen = set()
    try:
        for found in protobuf.fields(window, _MESSAGES["model"], _RULE, "model"):
            seen.add(found.number)
    except Stopped:
        return False
    return {1, 7, 8} <= seen


def read(window: Window, report: Report) -> None:
    """Check a model.

    Raises:
        Stopped: it is not made of what the format has.
    """
    _walk(window, "model", "model", report, 0)


def _walk(window: Window, name: str, where: str, report: Report, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Stopped("limits", where, f"nested deeper than {_MAX_DEPTH}")
    external: dict[str, str] = {}
    for found in protobuf.fields(window, _MESSAGES[name], _RULE, where):
        if found.kind == "external":
            key, value = _entry(found, where)
            if key in external:
                raise Stopped("onnx-external", where, f"{shown(key)} occurs twice")
            external[key] = value
        elif found.kind in _MESSAGES:
            assert found.window is not None
            _walk(found.window, found.kind, _inside(where, found), report, depth + 1)
        elif found.kind == "text":
            _check_text(name, found, where, report)
    if external:
        _check_external(external, where, report)


def _inside(where: str, found: Field) -> str:
    return f"{where}/{found.kind}" if len(where) < 200 else where


def _entry(found: Field, where: str) -> tuple[str, str]:
    assert found.window is not None
    values = {1: "", 2: ""}
    for part in protobuf.fields(found.window, _MESSAGES["external"], _RULE, where):
        values[part.number] = protobuf.text(part, 4096, _RULE, where)
    return values[1], values[2]


def _check_text(message: str, found: Field, where: str, report: Report) -> None:
    value = protobuf.text(found, _MAX_TEXT_BYTES, _RULE, where)
    is_domain = (message == "node" and found.number == _NODE_DOMAIN) or (
        message == "opset" and found.number == 1
    )
    if is_domain and value not in _DOMAINS:
        report.add(
            "onnx-domain", f"{where} {shown(value)}", "operators of a domain that runtimes do not ship"
        )


def _check_external(external: dict[str, str], where: str, report: Report) -> None:
    location = external.get("location", "")
    why = names.unsafe(location) or ("/" in location and "it is in another folder") or ""
    if not location or why:
        raise Stopped(
            "onnx-external", f"{where} {shown(location)}", f"a tensor outside the file: {why or 'no name'}"
        )
    for key in ("offset", "length"):
        if key in external and not (
            external[key].isascii() and external[key].isdigit() and len(external[key]) < 18
        ):
            raise Stopped("onnx-external", f"{where} {shown(location)}", f"{key} is no number")
    if set(external) - {"location", "offset", "length", "checksum"}:
        raise Stopped("onnx-external", f"{where} {shown(location)}", "a property that is not known")
    if location not in report.refers_to:
        report.refers_to.append(location)

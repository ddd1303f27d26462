"""One file: its kind, the reader of that kind, and the verdict.

Runs inside the subprocess of `worker`. A compressed file is unpacked and its
content inspected as a file of its own, once; an archive in an archive is not
opened.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Final

import msgspec

from fairlead.vault.ingest import (
    archives,
    configs,
    gguf,
    joblib,
    npy,
    onnx,
    safetensors,
    sentencepiece,
    sniff,
    templates,
    torchfile,
    zips,
)
from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.verdict import Report, Stopped, Verdict
from fairlead.vault.ingest.window import Window, memory_window

_MAX_STACKED: Final = 1000
_JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})
_TEMPLATES: Final = frozenset({".jinja", ".jinja2", ".j2"})


def inspect(window: Window, name: str, limits: Limits) -> Verdict:
    """The verdict on a file; `name` is its path in its folder, or its own name."""
    report = Report()
    kind = _judge(window, name, limits, report, nested=False)
    digest = hashlib.sha256()
    try:
        for piece in window.pieces():
            digest.update(piece)
    except Stopped as stopped:
        report.add_finding(stopped.finding)
        return _verdict(kind, report, window.size, "")
    return _verdict(kind, report, window.size, digest.hexdigest())


def _verdict(kind: str, report: Report, size: int, sha256: str) -> Verdict:
    return Verdict(
        kind=kind,
        decision=report.decision,
        findings=tuple(report.findings),
        size_bytes=size,
        sha256=sha256,
        refers_to=tuple(report.refers_to),
    )


def _judge(window: Window, name: str, limits: Limits, report: Report, *, nested: bool) -> str:
    """Add every finding of a file. Return its kind."""
    own_name = PurePosixPath(name).name
    kind = "unknown"
    try:
        if window.size > limits.file_bytes:
            raise Stopped("limits", "", f"larger than {limits.file_bytes} bytes")
        if not window.size:
            report.add("empty", "", "the file has no content")
            return "empty"
        kind = sniff.kind_of(window)
        if other := sniff.hides_another(window, kind):
            report.add("polyglot", kind, f"the file is also {other}")
        kind = _read(window, kind, own_name, limits, report, nested=nested)
    except Stopped as stopped:
        report.add_finding(stopped.finding)
    if kind != "unknown" and (fault := sniff.name_fault(kind, own_name)):
        report.add(fault[0], own_name, fault[1])
    return kind


def _read(window: Window, kind: str, name: str, limits: Limits, report: Report, *, nested: bool) -> str:
    """Give a file to its reader. Return the kind more exactly."""
    match kind:
        case "zip":
            return _read_zip(window, limits, report)
        case "pickle":
            return _read_pickle(window, report)
        case "text":
            return _read_text(window, name, report)
        case "safetensors":
            _check_metadata(safetensors.read_header(window), report)
        case "gguf":
            gguf.read(window, report)
        case "npy":
            npy.read_array(window, report)
        case "onnx":
            onnx.read(window, report)
        case "sentencepiece":
            sentencepiece.read(window)
        case "png" | "jpeg" | "gif":
            sniff.check_image(window, kind)
        case "hdf5":
            report.add("hdf5", "", "its content is not read")
        case "parquet" | "arrow":
            _check_columnar(window, kind, report)
        case "gzip" | "bzip2" | "xz" | "lzma" | "zlib":
            _read_compressed(window, kind, name, limits, report, nested=nested)
        case "tar" | "unopened":
            report.add("archive-unread", "", "an archive that the gate does not open")
        case _:
            report.add("unknown-content", "", "no kind that the gate knows")
    return kind


def _check_metadata(header: safetensors.Header, report: Report) -> None:
    for key, text in header.metadata.items():
        if "template" in key and ("{{" in text or "{%" in text):
            templates.check(text, f"__metadata__.{key}"[:120], report)


def _read_zip(window: Window, limits: Limits, report: Report) -> str:
    members = zips.read(window, limits.unpacked_bytes)
    names = {member.name for member in members}
    if npy.is_npz(members):
        kind = "npz"
    elif torchfile.is_torch(members):
        kind = "torch"
    elif {"config.json", "metadata.json"} <= names and any(name.endswith(".h5") for name in names):
        report.add("keras", "", "a Keras model, whose layers may hold code")
        return "keras"
    else:
        raise Stopped("archive-unread", "", "an archive that is neither arrays nor a checkpoint")
    for member in members:
        zips.verify(member)
    if kind == "npz":
        npy.read_npz(members, report)
        return kind
    torchfile.read_zip(members, report)
    return "torchscript" if any(one.rule == "torchscript" for one in report.findings) else kind


def _read_pickle(window: Window, report: Report) -> str:
    """Every pickle of a file, to its last byte."""
    at = 0
    for number in range(_MAX_STACKED):
        pickle = joblib.walk(window, at, report, f"pickle {number + 1}" if number else "")
        value = pickle.walk()
        at = pickle.end
        if number == 0 and value == torchfile.MAGIC:
            torchfile.read_legacy(window, at, report)
            return "torch-legacy"
        if at == window.size:
            return "pickle"
        if number == 0:
            if sniff.OPENS_PICKLE.match(window.read(at, min(2, window.size - at))) is None:
                raise Stopped(
                    "pickle-trailing", f"byte {at}", "bytes that are no pickle follow the end of the pickle"
                )
            report.add("pickle-stacked", f"byte {at}", "another pickle follows")
    raise Stopped("limits", "", f"more than {_MAX_STACKED} pickles in one file")


def _read_text(window: Window, name: str, report: Report) -> str:
    extension = PurePosixPath(name).suffix.lower()
    if extension in _JSON_LINES:
        configs.read_lines(window, name, report)
        return "json"
    if window.size > configs.MAX_PARSED_BYTES:
        if extension in {".json", ".yaml", ".yml", *_TEMPLATES}:
            raise Stopped("limits", "", f"a document of more than {configs.MAX_PARSED_BYTES} bytes")
        return "text"
    raw = window.read(0, window.size)
    if extension == ".json" or _is_json(raw):
        configs.read_json(raw, name, report)
        return "json"
    if raw[:2] == b"#!":
        report.add("code", "line 1", "a script")
    if extension in _TEMPLATES:
        templates.check(raw.decode("utf-8"), name, report)
    if extension in {".yaml", ".yml"}:
        configs.check_yaml(raw, report)
    return "text"


def _is_json(raw: bytes) -> bool:
    """Whether a text under another name is JSON all the same: loaders look for keys, not for names."""
    if raw.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _check_columnar(window: Window, kind: str, report: Report) -> None:
    magic = b"PAR1" if kind == "parquet" else b"ARROW1"
    end = window.size - len(magic)
    if end < 12 or window.read(end, len(magic)) != magic:
        raise Stopped("truncated", "end", "the file does not end as its kind does")
    length = int.from_bytes(window.read(end - 4, 4), "little")
    if length > end - 8:
        raise Stopped("truncated", "end", "the footer is longer than the file")
    report.add("columnar", "", "only the frame is checked")


def _read_compressed(
    window: Window, kind: str, name: str, limits: Limits, report: Report, *, nested: bool
) -> None:
    if nested:
        raise Stopped("archive-unread", kind, "compressed more than once")
    inner = memory_window(archives.unpack(window, kind))
    inside = Report()
    found = _judge(inner, _inner_name(name), limits, inside, nested=True)
    for one in inside.findings:
        if one.rule != "extension":
            report.add_finding(msgspec.structs.replace(one, where=f"inside: {one.where}"[:300]))
    report.add("archive", kind, f"its content is {found}")


def _inner_name(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in {".gz", ".bz2", ".xz", ".lzma", ".z"} and path.stem else name

"""What a file is, by its bytes, and which names such a file may have.

The name never decides the kind: it is compared with it afterwards, and a name
that promises something else is a finding.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from fairlead.vault.ingest import archives, gguf, npy, onnx, safetensors, sentencepiece
from fairlead.vault.ingest.probe import probe
from fairlead.vault.ingest.verdict import Stopped
from fairlead.vault.ingest.window import Window

_MAGIC: Final = (
    (b"PK\3\4", "zip"), (b"PK\5\6", "zip"), (gguf.MAGIC, "gguf"), (npy.MAGIC, "npy"), (b"\x89HDF\r\n\x1a\n",
    "hdf5"),
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"),
    (b"PAR1", "parquet"),
    (b"ARROW1\0\0", "arrow"),
)  # fmt: skip
_UNOPENED: Final = (
    b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x1f\x9d",
    b"\x1f\xa0", b"LZIP",
    b"!<arch>\n", b"\xed\xab\xee\xdb", b"MSCF", b"ZF",
)  # fmt: skip
_CHECKPOINT: Final = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".p", ".t7", ".tar"})
_EXTENSIONS: Final = {
    "safetensors": frozenset({".safetensors"}),
    "gguf": frozenset({".gguf"}),
    "npy": frozenset({".npy"}),
    "npz": frozenset({".npz"}),
    "onnx": frozenset({".onnx"}),
    "torch": _CHECKPOINT - {".tar"},
    "torch-legacy": _CHECKPOINT,
    "torchscript": _CHECKPOINT | {".torchscript", ".ptl", ".jit"},
    "pickle": _CHECKPOINT - {".tar"} | {".joblib", ".sav"},
    "hdf5": frozenset({".h5", ".hdf5", ".keras", ".hdf"}),
    "keras": frozenset({".keras"}),
    "json": frozenset({".json", ".jsonl", ".ndjson", ".webmanifest"}),
    "sentencepiece": frozenset({".model", ".spm", ".bpe", ".vocab"}),
    "text": frozenset(
        {".txt", ".md", ".markdown", ".rst", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".ini", ".cfg",
         ".jinja", ".jinja2", ".j2",
         ".vocab", ".merges", ".bpe", ".tiktoken", ".model", ".license", ".cff", ".bib", ".template", ".tex",
         ".log", ".dict",
         ".labels", ".names", ".codes"}
    ),
    "png": frozenset({".png"}),
    "jpeg": frozenset({".jpg", ".jpeg"}),
    "gif": frozenset({".gif"}),
    "parquet": frozenset({".parquet"}),
    "arrow": frozenset({".arrow", ".feather"}),
    "gzip": frozenset({".gz", ".tgz", ".joblib", ".pkl"}),
    "bzip2": frozenset({".bz2", ".joblib", ".pkl"}),
    "xz": frozenset({".xz", ".joblib", ".pkl"}),
    "lzma": frozenset({".lzma", ".joblib", ".pkl"}),
    "zlib": frozenset({".zlib", ".z", ".joblib", ".pkl"}),
}  # fmt: skip
_BARE_NAMES: Final = re.compile(
    r"(licen[sc]e|notice|readme|copying|authors|contributors|changelog|version|use_policy|acceptable_use_policy|model_card"
    r"|citation|vocab|merges|labels|third_party_notices?)([-_. ].*)?|\.gitattributes|\.gitignore|modelfile",
    re.IGNORECASE,
)
_CODE: Final = frozenset(
    {".py", ".pyi", ".pyw", ".ipynb", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".js", ".mjs", ".ts", ".c",
     ".cc", ".cpp", ".cu",
     ".cuh", ".h", ".hpp", ".rs", ".go", ".java", ".lua", ".pl", ".rb", ".r", ".jl", ".html", ".htm", ".svg",
     ".xml", ".cmake",
     ".pth.py", ".service", ".desktop", ".sql"}
)  # fmt: skip
OPENS_PICKLE: Final = re.compile(rb"\x80[\0-\5]|[(\]}cN)KMJGICXUSVLF]", re.DOTALL)
"""How a further pickle in a file begins; anything else behind a pickle is not one."""
_TAR_SIZE: Final = 512
_EOCD_REACH: Final = 65_557


def kind_of(window: Window) -> str:
    """The kind of a file: those above, `zip`, `tar`, `pickle`, `text` (JSON too), `unopened`, `unknown`."""
    head = window.head(_TAR_SIZE)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if safetensors.is_safetensors(head, window.size):
        return "safetensors"
    if head.startswith(_UNOPENED):
        return "unopened"
    if is_tar(head):
        return "tar"
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        return "pickle"
    if is_text(window):
        return "pickle" if probe(window) != "nothing" else "text"
    if probe(window) != "nothing":
        return "pickle"
    if compressed := archives.kind_of(head):
        return compressed
    if onnx.is_onnx(window):
        return "onnx"
    return "sentencepiece" if sentencepiece.is_sentencepiece(window) else "unknown"


def is_tar(head: bytes) -> bool:
    """Whether the first bytes are a tar header, by its checksum: old archives have no other mark."""
    if len(head) < _TAR_SIZE or not head[0]:
        return False
    try:
        announced = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return announced in (
        256 + sum(head[:148]) + sum(head[156:]),
        256 + sum(byte - 256 * (byte > 127) for byte in head[:148] + head[156:]),
    )


def is_text(window: Window) -> bool:
    """Whether all of a file is UTF-8 without control characters."""
    left = b""
    allowed = bytes(sorted({9, 10, 12, 13, *range(32, 127), *range(128, 256)}))
    for piece in window.pieces():
        if piece.translate(None, allowed):
            return False
        data = left + piece
        # A character may be cut at the end of a piece.
        for cut in range(4):
            try:
                data[: len(data) - cut].decode("utf-8")
            except UnicodeDecodeError:
                continue
            left = data[len(data) - cut :]
            break
        else:
            return False
    return not left and window.size > 0


def hides_another(window: Window, kind: str) -> str:
    """What else a file of this kind is to another reader; "" for nothing."""
    if kind != "zip":
        tail = window.part(max(0, window.size - _EOCD_REACH), min(window.size, _EOCD_REACH))
        data = tail.read(0, tail.size)
        at = data.rfind(b"PK\5\6")
        while at >= 0:
            if at + 22 <= len(data) and at + 22 + int.from_bytes(data[at + 20 : at + 22], "little") <= len(
                data
            ):
                return "an archive, whose directory is at its end"
            at = data.rfind(b"PK\5\6", 0, at)
    if kind != "tar" and is_tar(window.head(_TAR_SIZE)):
        return "a tar archive, by its first 512 bytes"
    if kind not in {"pickle", "text"} and probe(window) != "nothing":
        return "a pickle, by its first instructions"
    return ""


def name_fault(kind: str, name: str) -> tuple[str, str] | None:
    """The rule and the reason when a file's own name does not go with its kind."""
    path = PurePosixPath(name)
    extension = path.suffix.lower()
    if kind in {"text", "json"} and (extension in _CODE or name.lower() in {"dockerfile", "makefile"}):
        return "code", "source code"
    if extension in _EXTENSIONS.get(kind, frozenset()) | (
        _EXTENSIONS["text"] if kind == "json" else frozenset()
    ):
        return None
    if kind in {"text", "json"} and _BARE_NAMES.fullmatch(name):
        return None
    promised = next((other for other, known in _EXTENSIONS.items() if extension in known), "")
    return (
        "extension",
        f"the content is {kind}, the name {('promises ' + promised) if promised else 'says nothing of it'}",
    )


def check_image(window: Window, kind: str) -> None:
    """An image of which nothing lies behind its end.

    Raises:
        Stopped: it is cut, or goes on.
    """
    if kind == "png":
        at = 8
        while at < window.size:
            size = int.from_bytes(window.read(at, 4), "big")
            name = window.read(at + 4, 4)
            at += 12 + size
            if name == b"IEND":
                if at == window.size:
                    return
                break
    elif window.size > 16 and window.read(
        window.size - (2 if kind == "jpeg" else 1), 2 if kind == "jpeg" else 1
    ) in (b"\xff\xd9", b"\x3b"):
        return
    raise Stopped("image", "end", "the image is cut, or something follows its end")

"""The rules of the gate: what each stops, whether it is final, and what to do about it.

docs/vault-ingest.md is generated from this table (`scripts/ingest_page.py`).
A rule that refuses cannot be approved; one that does not holds the file until
somebody approves it by the rule's name and the file's digest.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Rule(NamedTuple):
    """One rule."""

    refuses: bool
    stops: str
    remedy: str


_CONVERT: Final = "save the weights alone as safetensors, where they were made"
_AGAIN: Final = "fetch the file again from its source; if it is the same there, its author must write it anew"
_READ: Final = "read what it does and approve it by this rule's name, or have the author leave it out"

RULES: Final[dict[str, Rule]] = {
    "unknown-content": Rule(
        True,
        "Content of no known kind, or a program.",
        "store it elsewhere, or in a kind that the gate knows",
    ),
    "extension": Rule(
        False,
        "A name that promises another kind than the content is.",
        "rename the file to what it is, or approve it",
    ),
    "polyglot": Rule(
        True, "A file that is something else as well: a pickle, an archive behind an image.", _AGAIN
    ),
    "truncated": Rule(True, "A file that ends before it should, or announces more than it has.", _AGAIN),
    "limits": Rule(
        True,
        "More members, bytes, values or depth than any real model has.",
        "split it, or raise the limits of the gate",
    ),
    "empty": Rule(False, "A file without content.", "leave it out, or approve it"),
    "scanner-failed": Rule(
        True,
        "The inspection crashed, was killed or answered nonsense.",
        "try once more; then keep the file out and report it",
    ),
    "scanner-timeout": Rule(
        True,
        "The inspection did not end in time.",
        "raise the time limit if the file is large; else keep it out",
    ),
    "pickle-opcode": Rule(
        True,
        "A pickle instruction that data do not need: INST, OBJ, EXT, DUP, POP, out-of-band buffers.",
        _CONVERT,
    ),
    "pickle-global": Rule(True, "A pickle that imports a name which is not on the list.", _CONVERT),
    "pickle-call": Rule(
        True,
        "A listed name called with arguments that are not those of data, or anything else called.",
        _CONVERT,
    ),
    "pickle-build": Rule(True, "State, items or attributes set on what should have none.", _CONVERT),
    "pickle-shape": Rule(
        True, "Instructions that contradict each other: an empty stack, an unset memo, wrong numbers.", _AGAIN
    ),
    "pickle-persistent": Rule(
        True, "A pickle that asks for data outside of it, other than a checkpoint's storages.", _CONVERT
    ),
    "pickle-trailing": Rule(True, "Bytes after the end of a pickle.", _AGAIN),
    "pickle-stacked": Rule(
        False,
        "Several pickles in one file, all of them plain data.",
        "approve it if its reader reads them all, or " + _CONVERT,
    ),
    "pickle-object-array": Rule(
        False,
        "An array of Python objects: its readers must allow pickles.",
        "store numbers or texts of fixed length, or approve it",
    ),
    "pickle-object": Rule(
        False,
        "Objects of the standard library that do nothing but hold values, such as argparse.Namespace.",
        _READ,
    ),
    "pickle-module": Rule(
        False,
        "A whole PyTorch module: loading it runs the code of its class.",
        "save its `state_dict()` as safetensors, or approve it",
    ),
    "pickle-sklearn": Rule(
        False,
        "A scikit-learn estimator: loading it runs the code of its class.",
        "approve it, if its origin is known",
    ),
    "pickle-torch-rare": Rule(
        False,
        "Rarer functions of PyTorch: sparse, quantised, nested or untyped tensors, subclasses.",
        "approve it, or " + _CONVERT,
    ),
    "joblib": Rule(
        False,
        "A joblib file: a pickle with arrays between its instructions.",
        "approve it, if its origin is known",
    ),
    "torchscript": Rule(
        False,
        "A TorchScript program.",
        "export it as ONNX, or save its weights as safetensors, or approve it",
    ),
    "torch-member": Rule(True, "A checkpoint with a member that PyTorch does not write.", _AGAIN),
    "torch-storage": Rule(
        True,
        "A checkpoint whose storages are missing, shared with another type, or of another length.",
        _AGAIN,
    ),
    "zip-layout": Rule(
        True,
        "An archive that readers read differently: gaps, overlaps, two directories, headers that differ.",
        _AGAIN,
    ),
    "zip-feature": Rule(
        True, "Encrypted members, rare compression, compressed storages.", "pack it anew without"
    ),
    "zip-name": Rule(
        True,
        "Member names that lead elsewhere or occur twice, in letter case or Unicode form too.",
        "pack it anew with plain names",
    ),
    "zip-checksum": Rule(True, "A member whose data are not what its checksum says.", _AGAIN),
    "zip-bomb": Rule(
        True, "An archive that unpacks to far more than it should.", "store large arrays uncompressed"
    ),
    "archive": Rule(
        False,
        "A compressed file or an archive whose content the gate has looked at and found plain.",
        "unpack it and store the files, or approve it",
    ),
    "archive-unread": Rule(
        True,
        "An archive of a kind that the gate does not open, or that holds another archive.",
        "unpack it and store the files",
    ),
    "npy-header": Rule(True, "An array header that numpy does not write.", _AGAIN),
    "npy-size": Rule(True, "An array whose data are longer or shorter than its header says.", _AGAIN),
    "safetensors-header": Rule(True, "A safetensors header that breaks the format.", _AGAIN),
    "safetensors-layout": Rule(True, "Tensors that overlap or leave gaps, or bytes after the last.", _AGAIN),
    "gguf-header": Rule(True, "A GGUF header that breaks the format or its bounds.", _AGAIN),
    "gguf-layout": Rule(True, "GGUF tensors outside the file, over each other, or of unknown types.", _AGAIN),
    "protobuf": Rule(True, "A malformed protocol buffer.", _AGAIN),
    "onnx-field": Rule(True, "A field that ONNX does not have.", _AGAIN),
    "onnx-domain": Rule(
        False,
        "Operators of a domain that runtimes do not ship: native code beside the model.",
        "export it with standard operators, or approve it",
    ),
    "onnx-external": Rule(
        True, "External tensors outside the model's own folder.", "store the data beside the model"
    ),
    "sentencepiece": Rule(True, "A vocabulary with pieces that are none.", _AGAIN),
    "hdf5": Rule(
        False,
        "HDF5, which may hold Keras layers with code, and links to other files.",
        "save the weights as safetensors, or approve it",
    ),
    "keras": Rule(
        False, "A Keras model, whose layers may hold code.", "save the weights as safetensors, or approve it"
    ),
    "columnar": Rule(
        False,
        "Parquet or Arrow, of which only the frame is checked; old readers unpickle extension types.",
        "approve it, and read it with pyarrow 14.0.1 or later",
    ),
    "code": Rule(False, "Source code in a model's folder.", _READ),
    "json": Rule(True, "JSON that is malformed, too deep, or has a key twice.", "write it anew"),
    "text": Rule(True, "A text that is not UTF-8, or holds control characters.", "write it anew as UTF-8"),
    "remote-code": Rule(
        False,
        "`auto_map`, `trust_remote_code`, `custom_pipelines`: a loader would run the model's own Python.",
        _READ,
    ),
    "instantiate": Rule(
        True,
        "Keys that make a loader import and call any name: `_target_`, `py/object`.",
        "have the author leave it out",
    ),
    "class-path": Rule(False, "A class given as a path where a plain name is expected.", _READ),
    "yaml-tag": Rule(True, "YAML tags: readers make objects of them.", "write plain YAML"),
    "template-python": Rule(
        True,
        "A chat template that reaches for Python: underscored names, escapes in texts, imports.",
        "have the author mend the template",
    ),
    "template-unknown": Rule(
        False,
        "A chat template that uses something which templates usually do not.",
        "read the template and approve it by this rule's name",
    ),
    "template-unreadable": Rule(
        True, "A chat template that is not the Jinja of chat templates.", "have the author mend the template"
    ),
    "image": Rule(True, "An image that is damaged or goes on after its end.", "save the image anew"),
    "outside": Rule(True, "A file that refers to files outside of its folder.", "store them beside it"),
    "missing": Rule(True, "A file that refers to one which is not in the folder.", "add the file"),
    "tree-name": Rule(
        True,
        "A path that is not plain, or collides with another where letter case does not count.",
        "rename the file",
    ),
    "tree-link": Rule(True, "A symbolic link.", "store the file itself"),
    "tree-special": Rule(True, "A device, socket or pipe.", "leave it out"),
    "tree-hidden": Rule(False, "A hidden file or folder.", "leave it out, or approve it"),
    "tree-git": Rule(
        True,
        "A repository's own folder: hooks and settings that run programs.",
        "store the files without `.git`",
    ),
}

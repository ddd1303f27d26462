"""The malicious corpus: every attack beside a harmless file that differs from it as little as may be.

The shapes are those of public reports: calls that deny lists forget, names put
together from the memo, archives that one reader takes for broken and another
loads, headers that lie, templates and configurations that run code.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import struct
import zlib
from typing import NamedTuple

from tests.unit.vault.ingest.made import (
    FLOATS,
    Lie,
    call,
    dumps,
    field,
    gguf,
    gguf_text,
    name,
    npy,
    numpy_array,
    onnx,
    onnx_external,
    pickled,
    png,
    safetensors,
    sentencepiece,
    state_dict,
    tar_head,
    tensor,
    text,
    torch_legacy,
    torch_zip,
    zip_of,
)


class Case(NamedTuple):
    """An attack, the rule that must stop it, and its twin."""

    id: str
    file: str
    bad: bytes
    rule: str
    twin: bytes
    twin_file: str = ""
    """Its name, where it is another."""
    twin_decision: str = "accepted"


COMMAND = text("echo pwned")
LIST = b"](K\1K\2e."


def _global(module: str, attribute: str, *args: bytes, protocol: int = 2) -> bytes:
    return pickled(call(module, attribute, *(args or (COMMAND,))), protocol)


def _stack_global(module: bytes, attribute: bytes) -> bytes:
    return module + attribute + b"\x93"


def _system(protocol: int) -> bytes:
    """`os.system` in the instructions of a protocol."""
    if protocol == 0:
        return b"cposix\nsystem\np0\n(Vecho pwned\np1\ntp2\nRp3\n."
    if protocol == 1:
        return b"cposix\nsystem\nq\0(X\n\0\0\0echo pwnedq\1tq\2Rq\3."
    if protocol < 4:
        return pickled(name("posix", "system") + b"q\0" + COMMAND + b"q\1\x85q\2Rq\3", protocol)
    return pickled(
        _stack_global(text("posix") + b"\x94", text("system") + b"\x94") + b"\x94" + COMMAND + b"\x85R",
        protocol,
    )


_GADGETS = {
    "collect-env": ("torch.utils.collect_env", "run"),
    "pydoc-pipepager": ("pydoc", "pipepager"),
    "timeit": ("timeit", "timeit"),
    "idlelib-runcode": ("idlelib.run", "Executive.runcode"),
    "asyncio-transport": ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    "spawnv-passfds": ("multiprocessing.util", "spawnv_passfds"),
    "torch-hub-load": ("torch.hub", "load"),
    "pandas-read-pickle": ("pandas", "read_pickle"),
    "pandas-read-csv": ("pandas.io.parsers.readers", "read_csv"),
    "linecache": ("linecache", "getlines"),
    "mlflow-entry-point": ("mlflow.projects.backend.local", "_run_entry_point"),
    "importlib": ("importlib", "import_module"),
    "pkgutil-resolve": ("pkgutil", "resolve_name"),
    "marshal": ("marshal", "loads"),
    "runpy": ("runpy", "run_path"),
    "operator-methodcaller": ("operator", "methodcaller"),
    "functools-partial": ("functools", "partial"),
    "logging-filehandler": ("logging", "FileHandler"),
    "distutils-write-file": ("distutils.file_util", "write_file"),
    "lib2to3-grammar": ("lib2to3.pgen2.grammar", "Grammar.loads"),
    "doctest": ("doctest", "debug_script"),
    "cprofile": ("cProfile", "runctx"),
    "ensurepip": ("ensurepip", "_run_pip"),
    "pip-main": ("pip", "main"),
    "numpy-f2py": ("numpy.f2py.crackfortran", "getlincoef"),
    "numpy-load": ("numpy", "load"),
    "numpy-runstring": ("numpy.testing._private.utils", "runstring"),
    "torch-load": ("torch.serialization", "load"),
    "torch-load-from-bytes": ("torch.storage", "_load_from_bytes"),
    "torch-jit-unsupported": ("torch.jit.unsupported_tensor_ops", "execWrapper"),
    "torch-bottleneck": ("torch.utils.bottleneck.__main__", "run_autograd_prof"),
    "sklearn-datasets": ("sklearn.datasets", "fetch_file"),
    "sklearn-joblib": ("sklearn.externals.joblib", "load"),
    "joblib-load": ("joblib", "load"),
    "nested-pickle": ("pickle", "loads"),
    "nested-cpickle": ("_pickle", "loads"),
    "eval": ("builtins", "eval"),
    "exec-python2": ("__builtin__", "execfile"),
    "ctypes": ("ctypes", "CDLL"),
    "webbrowser": ("webbrowser", "open"),
    "socket": ("socket", "create_connection"),
    "sys-modules": ("sys", "setprofile"),
    "types-code": ("types", "CodeType"),
    "copyreg-extension": ("copyreg", "add_extension"),
    "codecs-open": ("codecs", "open"),
    "io-fileio": ("_io", "FileIO"),
    "ordered-dict-attribute": ("collections", "OrderedDict.fromkeys"),
    "namedtuple": ("collections", "namedtuple"),
    "module-prefix": ("torch.nn.modules.os", "system"),
    "look-alike": ("cоllections", "OrderedDict"),  # noqa: RUF001  # the Cyrillic letter is the attack
}
_PLAIN = pickled(call("collections", "OrderedDict"))
_WEIGHTS = state_dict(w=tensor())
_ATTACK = _WEIGHTS + b"0" + call("posix", "system", COMMAND)

_TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m.content | trim }}{% endfor %}"


def _template(expression: str) -> str:
    return _TEMPLATE + "{{ " + expression + " }}"


def _tokenizer(template: str) -> bytes:
    return json.dumps({"tokenizer_class": "LlamaTokenizer", "chat_template": template}).encode()


def _pickles() -> list[Case]:
    cases = [
        Case(f"system-protocol-{p}", "m.pkl", _system(p), "pickle-global", dumps({"a": [1]}, p))
        for p in range(6)
    ]
    cases += [
        Case(f"gadget-{label}", "m.pkl", _global(*found), "pickle-global", _PLAIN)
        for label, found in _GADGETS.items()
    ]
    chain = (
        call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system"))
        + COMMAND
        + b"\x85R"
    )
    stored = b"".join(text(word) + b"\x94" for word in ("system", "posix", "OrderedDict", "collections"))
    memo = stored + b"000" + b"0h\1h\0\x93" + COMMAND + b"\x85R"
    memo_plain = b"](" + text("OrderedDict") + b"\x94" + text("collections") + b"\x94h\0h\1e"
    joined = call("builtins", "getattr", text(""), text("join"))
    return [
        *cases,
        Case("getattr-chain", "m.pkl", pickled(chain), "pickle-global", pickled(text("builtins.getattr"))),
        Case("memo-stack-global", "m.pkl", pickled(memo, 4), "pickle-opcode", pickled(memo_plain, 4)),
        Case(
            "memo-stack-global-no-pop",
            "m.pkl",
            pickled(
                b"]("
                + text("posix")
                + b"\x94"
                + text("system")
                + b"\x94eh\1h\2\x93"
                + COMMAND
                + b"\x85R\x86",
                4,
            ).replace(b"h\1h\2", b"h\0h\1"),
            "pickle-global",
            pickled(b"](" + text("posix") + b"\x94" + text("system") + b"\x94eh\0h\1\x87", 4),
        ),
        Case(
            "computed-name",
            "m.pkl",
            pickled(joined + b"](" + text("o") + text("s") + b"e\x85R" + text("x") + b"\x93", 4),
            "pickle-global",
            pickled(b"](" + text("o") + text("s") + b"e", 4),
        ),
        Case("inst", "m.pkl", b"(Vecho pwned\niposix\nsystem\n.", "pickle-opcode", b"(Vecho pwned\nl."),
        Case("obj", "m.pkl", b"(cposix\nsystem\nVecho\no.", "pickle-global", b"(Vecho\nVposix\nl."),
        Case(
            "newobj",
            "m.pkl",
            pickled(name("subprocess", "Popen") + COMMAND + b"\x85\x81"),
            "pickle-global",
            pickled(text("subprocess") + COMMAND + b"\x86"),
        ),
        Case(
            "newobj-listed",
            "m.pkl",
            pickled(name("collections", "OrderedDict") + b")\x81"),
            "pickle-call",
            _PLAIN,
        ),
        Case("extension-registry", "m.pkl", pickled(b"\x82\1"), "pickle-opcode", pickled(b"K\1")),
        Case(
            "import-only",
            "m.pkl",
            pickled(name("antigravity", "fly")),
            "pickle-global",
            pickled(text("antigravity")),
        ),
        Case(
            "class-state",
            "m.pkl",
            pickled(name("numpy", "ndarray") + b"}" + text("shape") + text("x") + b"sb"),
            "pickle-build",
            pickled(call("collections", "OrderedDict") + b"}" + text("_metadata") + b"}sb"),
        ),
        Case(
            "dunder-state",
            "m.pkl",
            pickled(call("collections", "OrderedDict") + b"}" + text("__class__") + b"}sb"),
            "pickle-build",
            pickled(call("collections", "OrderedDict") + b"}" + text("klass") + b"}sb"),
        ),
        Case(
            "slot-state",
            "m.pkl",
            pickled(call("collections", "OrderedDict") + b"N}\x86b"),
            "pickle-build",
            pickled(call("collections", "OrderedDict") + b"}b"),
        ),
        Case(
            "append-to-object",
            "m.pkl",
            pickled(call("collections", "OrderedDict") + b"K\1a"),
            "pickle-build",
            pickled(b"]K\1a"),
        ),
        Case(
            "stacked",
            "m.pkl",
            pickle.dumps([1]) + _system(2),
            "pickle-global",
            pickle.dumps([1]) + pickle.dumps([2]),
            twin_decision="quarantined",
        ),
        Case("truncated", "m.pkl", _system(2)[:-1], "pickle-global", dumps([1], 2)),
        Case("truncated-after-call", "m.bin", _system(0)[:-2], "pickle-global", dumps([1], 2)),
        Case("trailing-bytes", "m.pkl", dumps([1], 2) + b"\xff\xfe\xfd", "pickle-trailing", dumps([1], 2)),
        Case(
            "persistent-id",
            "m.pkl",
            pickled(text("http://attacker") + b"Q"),
            "pickle-persistent",
            pickled(text("http://attacker")),
        ),
        Case(
            "text-persistent-id", "m.pkl", b"\x80\x02Pattacker\n.", "pickle-opcode", b"\x80\x02Vattacker\n."
        ),
        Case(
            "out-of-band-buffer",
            "m.pkl",
            pickled(b"\x97\x98", 5),
            "pickle-opcode",
            pickled(b"\x96" + struct.pack("<Q", 2) + b"ab", 5),
        ),
        Case(
            "text-pickle-as-txt",
            "notes.txt",
            _system(0),
            "pickle-global",
            b"composix\nsystem\nof equations\n",
        ),
        Case("no-extension", "model", _system(4), "pickle-global", b"a model\n", twin_file="README"),
        Case("as-json", "config.json", _system(2), "pickle-global", b"{}"),
        Case("as-safetensors", "model.safetensors", _system(2), "pickle-global", safetensors()),
        Case("text-pickle-as-bin", "pytorch_model.bin", _system(1), "pickle-global", torch_zip(_WEIGHTS)),
        Case(
            "codecs-decode",
            "m.pkl",
            _global("_codecs", "decode", text("x"), text("zlib")),
            "pickle-global",
            _global("_codecs", "encode", text("x"), text("latin1")),
        ),
        Case(
            "codecs-registry",
            "m.pkl",
            _global("_codecs", "encode", text("x"), text("idna")),
            "pickle-call",
            _global("_codecs", "encode", text("x"), text("latin1")),
        ),
        Case(
            "default-factory",
            "m.pkl",
            pickled(name("collections", "defaultdict") + name("collections", "OrderedDict") + b"\x85R"),
            "pickle-call",
            pickled(name("collections", "defaultdict") + name("builtins", "list") + b"\x85R"),
        ),
        Case(
            "sklearn-mixed",
            "m.pkl",
            pickled(
                b"("
                + name("sklearn.svm._classes", "SVC")
                + b")\x81"
                + call("posix", "system", COMMAND)
                + b"t"
            ),
            "pickle-global",
            pickled(name("sklearn.svm._classes", "SVC") + b")\x81}b"),
            twin_decision="quarantined",
        ),
        Case(
            "reconstructor",
            "m.pkl",
            _global(
                "copy_reg", "_reconstructor", name("os", "_wrap_close"), name("__builtin__", "object"), b"N"
            ),
            "pickle-global",
            pickled(text("copy_reg")),
        ),
        Case(
            "memo-bomb",
            "m.pkl",
            pickled(b"r\xff\xff\xff\xff"),
            "pickle-shape",
            pickled(b"K\1r\xff\xff\xff\x7f"),
        ),
        Case(
            "huge-text",
            "m.pkl",
            pickled(b"\x8d" + struct.pack("<Q", 1 << 40), 4),
            "pickle-shape",
            pickled(b"\x8d" + struct.pack("<Q", 1) + b"a", 4),
        ),
        Case("future-protocol", "m.pkl", b"\x80\x06K\1.", "unknown-content", b"\x80\x05K\1."),
    ]


def _numpy() -> list[Case]:
    objects = numpy_array("O8", b"](K\1K\2e", b"K\2\x85")
    lying = numpy_array("O8", b"B" + struct.pack("<I", 16) + b"A" * 16, b"K\2\x85")
    flags = numpy_array(state=b"(K\3X\1\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft")
    evil = call("numpy.core.multiarray", "_reconstruct", name("posix", "system"), b"K\0\x85", b"C\1b")
    return [
        Case(
            "object-npy",
            "m.npy",
            npy("'|O'", "(1,)", _system(4)),
            "pickle-global",
            npy("'|O'", "(2,)", pickled(objects)),
            twin_decision="quarantined",
        ),
        Case(
            "object-npz",
            "m.npz",
            zip_of([("a.npy", npy("'|O'", "(1,)", _system(2)))]),
            "pickle-global",
            zip_of([("a.npy", npy())]),
        ),
        Case(
            "object-array-of-pointers",
            "m.pkl",
            pickled(lying),
            "pickle-call",
            pickled(objects),
            twin_decision="quarantined",
        ),
        Case("dtype-flags", "m.pkl", pickled(flags), "pickle-build", pickled(numpy_array())),
        Case(
            "array-short-data",
            "m.pkl",
            pickled(numpy_array(data=FLOATS[:8])),
            "pickle-call",
            pickled(numpy_array()),
        ),
        Case("reconstruct-other", "m.pkl", pickled(evil), "pickle-global", pickled(numpy_array())),
        Case("npy-header-code", "m.npy", npy("__import__('os')"), "npy-header", npy()),
        Case("npy-shape-lie", "m.npy", npy(shape="(400000000000,)"), "npy-size", npy()),
        Case("npy-extra-key", "m.npy", npy(also="'x': 1"), "npy-header", npy()),
        Case("npy-trailing", "m.npy", npy() + _system(2), "npy-size", npy()),
    ]


def _torch() -> list[Case]:
    good = torch_zip(_WEIGHTS)
    return [
        Case("torch-zip-system", "m.pt", torch_zip(_ATTACK), "pickle-opcode", good),
        Case(
            "torch-zip-reduce",
            "m.pt",
            torch_zip(state_dict(w=tensor(), x=call("posix", "system", COMMAND))),
            "pickle-global",
            good,
        ),
        Case(
            "torch-legacy-system",
            "m.bin",
            torch_legacy(state_dict(w=tensor(), x=call("os", "popen", COMMAND))),
            "pickle-global",
            torch_legacy(_WEIGHTS),
        ),
        Case(
            "torch-legacy-magic",
            "m.bin",
            torch_legacy(_WEIGHTS).replace(pickle.dumps(1001, 2), _system(2), 1),
            "pickle-global",
            torch_legacy(_WEIGHTS),
        ),
        Case(
            "torch-legacy-trailing",
            "m.bin",
            torch_legacy(_WEIGHTS) + _system(2),
            "pickle-trailing",
            torch_legacy(_WEIGHTS),
        ),
        Case(
            "torch-hidden-member",
            "m.pt",
            torch_zip(_WEIGHTS, **{"evil.pkl": _system(2)}),
            "torch-member",
            good,
        ),
        Case(
            "torch-text-member",
            "m.pt",
            torch_zip(_WEIGHTS, **{"notes.txt": _system(0)}),
            "torch-member",
            good,
        ),
        Case(
            "torch-version-pickle",
            "m.pt",
            torch_zip(_WEIGHTS, **{".format_version": _system(0)}),
            "torch-member",
            torch_zip(_WEIGHTS, **{".format_version": b"1"}),
        ),
        Case(
            "torch-outside-storage",
            "m.pt",
            torch_zip(state_dict(w=tensor(shape=(9, 9), stride=(9, 1)))),
            "pickle-call",
            good,
        ),
        Case(
            "torch-negative-offset",
            "m.pt",
            torch_zip(state_dict(w=tensor(offset=-4))),
            "pickle-call",
            torch_zip(state_dict(w=tensor(offset=0))),
        ),
        Case("torch-missing-storage", "m.pt", torch_zip(state_dict(w=tensor("7"))), "torch-storage", good),
        Case("torch-short-storage", "m.pt", torch_zip(_WEIGHTS, {"0": FLOATS[:4]}), "torch-storage", good),
        Case(
            "torch-type-confusion",
            "m.pt",
            torch_zip(state_dict(a=tensor(), b=tensor(kind="LongStorage"))),
            "torch-storage",
            torch_zip(state_dict(a=tensor(), b=tensor())),
        ),
        Case("torch-hooks", "m.pt", torch_zip(state_dict(w=tensor(hooks=b"}K\1K\2s"))), "pickle-call", good),
        Case(
            "torch-location",
            "m.pt",
            torch_zip(state_dict(w=tensor(location="cpu; rm"))),
            "pickle-persistent",
            torch_zip(state_dict(w=tensor(location="cuda:0"))),
        ),
        Case(
            "torch-rebuild-v3",
            "m.pt",
            torch_zip(state_dict(w=tensor(function="_rebuild_tensor_v3", rest=name("torch", "float32")))),
            "pickle-torch-rare",
            good,
        ),
        Case(
            "torch-module",
            "m.pt",
            torch_zip(name("torch.nn.modules.linear", "Linear") + b")\x81}b"),
            "pickle-module",
            good,
        ),
        Case(
            "torch-user-class", "m.pt", torch_zip(name("__main__", "Net") + b")\x81}b"), "pickle-global", good
        ),
        Case(
            "torchscript-system",
            "m.pt",
            torch_zip(_global("posix", "system")[2:-1], **{"code/__torch__.py": b"x"}),
            "pickle-global",
            torch_zip(name("__torch__", "Net") + b")\x81}b", **{"code/__torch__.py": b"x"}),
            twin_decision="quarantined",
        ),
    ]


def _zips() -> list[Case]:
    body, good = pickled(_WEIGHTS), torch_zip(_WEIGHTS)

    def lying(
        member: str = "a/data.pkl",
        lie: Lie | None = None,
        members: list[tuple[str, bytes]] | None = None,
        **more: object,
    ) -> bytes:
        default = [("a/data.pkl", body), ("a/data/0", FLOATS), ("a/version", b"3\n")]
        return zip_of(members or default, {member: lie} if lie else None, **more)  # type: ignore[arg-type]  # passed on

    stuffed = [("a/data.pkl", body), ("a/data/0", FLOATS)]
    bomb = zip_of([("a.npy", npy("'|u1'", "(104857600,)", b"\0" * 104857600))], {"a.npy": Lie(method=8)})
    small = zip_of([("a.npy", npy("'|u1'", "(4096,)", b"\0" * 4096))], {"a.npy": Lie(method=8)})
    return [
        Case("zip-wrong-crc", "m.pt", lying(lie=Lie(crc=1)), "zip-checksum", good),
        Case("zip-local-crc", "m.pt", lying(lie=Lie(local_crc=1)), "zip-layout", good),
        Case("zip-flag-encrypted", "m.pt", lying(lie=Lie(flags=1)), "zip-feature", good),
        Case("zip-flag-local", "m.pt", lying(lie=Lie(local_flags=0x20)), "zip-layout", good),
        Case("zip-method", "m.pt", lying(lie=Lie(method=99)), "zip-feature", good),
        Case("zip-local-method", "m.pt", lying(lie=Lie(local_method=8)), "zip-layout", good),
        Case("zip-local-name", "m.pt", lying(lie=Lie(local_name=b"a/data.txt")), "zip-layout", good),
        Case("zip-txt-member", "m.pt", lying(members=[("a/data.txt", _system(2))]), "archive-unread", good),
        Case(
            "zip-bin-member",
            "m.bin",
            lying(members=[("a/data.bin", _system(2)), *stuffed]),
            "torch-member",
            good,
        ),
        Case("zip-traversal", "m.pt", lying(members=[("a/../../etc/x", b"x"), *stuffed]), "zip-name", good),
        Case("zip-absolute", "m.pt", lying(members=[("/etc/x", b"x"), *stuffed]), "zip-name", good),
        Case(
            "zip-backslash", "m.npz", zip_of([("..\\a.npy", npy())]), "zip-name", zip_of([("a.npy", npy())])
        ),
        Case(
            "zip-duplicate", "m.pt", lying(members=[("a/data.pkl", _system(2)), *stuffed]), "zip-name", good
        ),
        Case(
            "zip-case-collision",
            "m.npz",
            zip_of([("a.npy", npy()), ("A.npy", npy())]),
            "zip-name",
            zip_of([("a.npy", npy()), ("b.npy", npy())]),
        ),
        Case(
            "zip-unicode-collision",
            "m.npz",
            zip_of([("é.npy", npy()), ("e\u0301.npy", npy())]),
            "zip-name",
            zip_of([("é.npy", npy())]),
        ),
        Case("zip-prefix", "m.pt", lying(before=b"MZ" + b"\0" * 30), "unknown-content", good),
        Case("zip-pickle-prefix", "m.pt", _system(2) + good, "pickle-global", good),
        Case("zip-plain-pickle-prefix", "m.pkl", pickle.dumps([1]) + good, "polyglot", pickle.dumps([1])),
        Case("zip-comment", "m.pt", lying(comment=b"c" * 40), "zip-layout", good),
        Case("zip-trailing", "m.pt", good + _system(2), "zip-layout", good),
        Case("zip-gap", "m.pt", lying(lie=Lie(between=_system(2))), "zip-layout", good),
        Case(
            "zip-overlap",
            "m.npz",
            zip_of([("a.npy", npy()), ("b.npy", npy())], {"b.npy": Lie(offset=0, local_name=b"a.npy")}),
            "zip-layout",
            zip_of([("a.npy", npy()), ("b.npy", npy())]),
        ),
        Case("zip-count", "m.pt", lying(count=2), "zip-layout", good),
        Case("zip64-lie", "m.pt", lying(lie=Lie(extra=struct.pack("<HHQ", 1, 8, 5))), "zip-layout", good),
        Case(
            "zip64-locator",
            "m.pt",
            lying(zip64=struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)),
            "zip-layout",
            good,
        ),
        Case(
            "zip-unicode-path-extra",
            "m.pt",
            lying(lie=Lie(extra=struct.pack("<HHBL", 0x7075, 5, 1, 0))),
            "zip-name",
            good,
        ),
        Case("zip-packed-storage", "m.pt", lying("a/data/0", Lie(method=8)), "zip-feature", good),
        Case(
            "zip-size-lie",
            "m.npz",
            zip_of([("a.npy", npy())], {"a.npy": Lie(method=8, size=9)}),
            "zip-bomb",
            zip_of([("a.npy", npy())], {"a.npy": Lie(method=8)}),
        ),
        Case("zip-bomb", "m.npz", bomb, "zip-bomb", small),
        Case(
            "zip-nested",
            "m.zip",
            zip_of([("m.pt", torch_zip(_ATTACK))]),
            "archive-unread",
            torch_zip(_WEIGHTS),
            twin_file="m.pt",
        ),
        Case(
            "zip-object-member",
            "m.npz",
            zip_of([("a.npy", npy()), ("b.pkl", _system(2))]),
            "archive-unread",
            zip_of([("a.npy", npy()), ("b.npy", npy())]),
        ),
    ]


def _weights() -> list[Case]:
    one = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = json.dumps({"w": one})
    jinja = {"tokenizer.chat_template": _template("''.__class__.__mro__")}
    return [
        Case(
            "safetensors-length",
            "m.safetensors",
            safetensors(length=1 << 40),
            "unknown-content",
            safetensors(),
        ),
        Case(
            "safetensors-overlap",
            "m.safetensors",
            safetensors({"a": one, "b": one}),
            "safetensors-layout",
            safetensors({"a": one, "b": one | {"data_offsets": [16, 32]}}, FLOATS * 2),
        ),
        Case(
            "safetensors-gap",
            "m.safetensors",
            safetensors({"a": one | {"data_offsets": [16, 32]}}, FLOATS * 2),
            "safetensors-layout",
            safetensors(),
        ),
        Case(
            "safetensors-trailing",
            "m.safetensors",
            safetensors() + _system(2),
            "safetensors-layout",
            safetensors(),
        ),
        Case(
            "safetensors-overflow",
            "m.safetensors",
            safetensors({"a": one | {"shape": [1 << 62, 4]}}),
            "safetensors-header",
            safetensors(),
        ),
        Case(
            "safetensors-duplicate-key",
            "m.safetensors",
            safetensors(f'{{"w": {json.dumps(one)}, "w": {json.dumps(one)}}}'.encode()),
            "safetensors-header",
            safetensors(header.encode()),
        ),
        Case(
            "safetensors-deep",
            "m.safetensors",
            safetensors(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
            "safetensors-header",
            safetensors(),
        ),
        Case(
            "safetensors-metadata",
            "m.safetensors",
            safetensors({"__metadata__": {"a": {"b": 1}}, "w": one}),
            "safetensors-header",
            safetensors({"__metadata__": {"a": "b"}, "w": one}),
        ),
        Case(
            "gguf-template",
            "m.gguf",
            gguf(jinja),
            "template-python",
            gguf({"tokenizer.chat_template": _TEMPLATE}),
        ),
        Case(
            "gguf-second-template",
            "m.gguf",
            gguf(
                {
                    "tokenizer.chat_template.tool_use": _template(
                        "cycler.__init__.__globals__.os.popen('id').read()"
                    )
                }
            ),
            "template-python",
            gguf({"tokenizer.chat_template.tool_use": _TEMPLATE}),
        ),
        Case("gguf-tensor-count", "m.gguf", gguf(count=1 << 60), "gguf-header", gguf()),
        Case(
            "gguf-array-count",
            "m.gguf",
            gguf(raw_keys=gguf_text("a") + struct.pack("<IIQ", 9, 4, 1 << 61), raw_count=1),
            "gguf-header",
            gguf(raw_keys=gguf_text("a") + struct.pack("<IIQI", 9, 4, 1, 7), raw_count=1),
        ),
        Case(
            "gguf-text-length",
            "m.gguf",
            gguf(raw_keys=gguf_text("a") + struct.pack("<IQ", 8, 1 << 63), raw_count=1),
            "gguf-header",
            gguf(),
        ),
        Case(
            "gguf-nested-array",
            "m.gguf",
            gguf(raw_keys=gguf_text("a") + struct.pack("<IIQ", 9, 9, 1), raw_count=1),
            "gguf-header",
            gguf(),
        ),
        Case(
            "gguf-overlap",
            "m.gguf",
            gguf(tensors=[("a", (4,), 0, 0), ("b", (4,), 0, 0)]),
            "gguf-layout",
            gguf(),
        ),
        Case(
            "gguf-outside",
            "m.gguf",
            gguf(tensors=[("a", (4096,), 0, 0)]),
            "gguf-layout",
            gguf(tensors=[("a", (4,), 0, 0)]),
        ),
        Case(
            "gguf-overflow", "m.gguf", gguf(tensors=[("a", (1 << 32, 1 << 32), 0, 0)]), "gguf-layout", gguf()
        ),
        Case("gguf-type", "m.gguf", gguf(tensors=[("a", (4,), 200, 0)]), "gguf-layout", gguf()),
        Case(
            "onnx-traversal",
            "m.onnx",
            onnx(tensors=onnx_external("../../etc/passwd")),
            "onnx-external",
            onnx(tensors=onnx_external("m.data")),
        ),
        Case(
            "onnx-absolute",
            "m.onnx",
            onnx(tensors=onnx_external("/etc/passwd")),
            "onnx-external",
            onnx(tensors=onnx_external("weights.bin")),
        ),
        Case(
            "onnx-custom-domain",
            "m.onnx",
            onnx(domain="ai.onnx.contrib"),
            "onnx-domain",
            onnx(domain="ai.onnx.ml"),
        ),
        Case(
            "onnx-unknown-field", "m.onnx", onnx(node=field(15, "x")), "onnx-field", onnx(node=field(3, "x"))
        ),
        Case(
            "onnx-model-field",
            "m.onnx",
            onnx(model=field(99, "x")),
            "unknown-content",
            onnx(model=field(6, "x")),
        ),
        Case(
            "sentencepiece-field",
            "tokenizer.model",
            sentencepiece() + field(1, field(9, "x")),
            "sentencepiece",
            sentencepiece(),
        ),
    ]


def _settings() -> list[Case]:
    def config(value: dict[str, object], base: dict[str, object] | None = None) -> bytes:
        return json.dumps({"model_type": "llama", **(base or {}), **value}).encode()

    cases = [
        Case(
            f"template-{label}",
            "tokenizer_config.json",
            _tokenizer(_template(bad)),
            rule,
            _tokenizer(_template(good)),
        )
        for label, bad, rule, good in (
            ("class", "''.__class__", "template-python", "'class'"),
            ("subscript", "''['__class__']", "template-python", "m['class']"),
            ("escape", "''['\\x5f\\x5fclass\\x5f\\x5f']", "template-python", "m['class']"),
            ("attr-filter", "''|attr('class')", "template-python", "''|trim"),
            ("concatenated", "m['_' ~ '_class_' ~ '_']", "template-unknown", "m['class'] ~ '_'"),
            ("lipsum", "lipsum.globals", "template-python", "bos_token"),
            ("cycler", "cycler", "template-python", "eos_token"),
            ("mro", "''.mro()", "template-python", "''.strip()"),
            ("format", "'{0.x}'.format(m)", "template-python", "'{0.x}'.replace('0', m.role)"),
            ("generator-frame", "m.gi_frame", "template-python", "m.name"),
            ("unknown-call", "launch('x')", "template-unknown", "raise_exception('x')"),
            ("self", "self", "template-python", "system_message"),
        )
    ]
    joined = "{% set k = '_' ~ '_class_' ~ '_' %}{{ messages[k] }}"
    code = json.dumps({"auto_map": {"AutoModel": "modeling.Net"}}).encode()
    return [
        *cases,
        Case(
            "template-import",
            "chat_template.jinja",
            b"{% import 'os' as os %}",
            "template-python",
            _TEMPLATE.encode(),
        ),
        Case(
            "template-include",
            "chat_template.jinja",
            b"{% include '/etc/passwd' %}",
            "template-python",
            _TEMPLATE.encode(),
        ),
        Case(
            "template-set-key",
            "chat_template.jinja",
            joined.encode(),
            "template-unknown",
            b"{% set k = 'role' %}{{ messages[k] }}",
        ),
        Case("template-open", "chat_template.jinja", b"{{ ''.__class__ ", "template-unreadable", b"{{ '' }}"),
        Case(
            "template-in-quotes",
            "chat_template.jinja",
            b"{{ '}}' + ''.__class__ }}",
            "template-python",
            b"{{ '}}' + '' }}",
        ),
        Case(
            "auto-map",
            "config.json",
            config({"auto_map": {"AutoModel": "modeling.Net"}}),
            "remote-code",
            config({"auto_map": {}}),
        ),
        Case(
            "auto-map-remote",
            "config.json",
            config({"text_config": {"auto_map": {"AutoConfig": "other/repo--c.C"}}}),
            "remote-code",
            config({"text_config": {}}),
        ),
        Case("auto-map-other-name", "config.txt", code, "remote-code", json.dumps({"map": 1}).encode()),
        Case(
            "trust-remote-code",
            "config.json",
            config({"trust_remote_code": True}),
            "remote-code",
            config({"trust_remote_code": False}),
        ),
        Case(
            "custom-pipelines",
            "config.json",
            config({"custom_pipelines": {"x": {"impl": "x.P"}}}),
            "remote-code",
            config({"pipelines": {}}),
        ),
        Case(
            "duplicate-key",
            "config.json",
            b'{"model_type": "llama", "a": 1, "a": {}}',
            "json",
            b'{"model_type": "llama", "a": 1}',
        ),
        Case(
            "hydra-target",
            "config.json",
            config({"opt": {"_target_": "os.system"}}),
            "instantiate",
            config({"opt": {"target": "x"}}),
        ),
        Case(
            "jsonpickle",
            "config.json",
            config({"py/reduce": [{"py/function": "os.system"}]}),
            "instantiate",
            config({"reduce": []}),
        ),
        Case(
            "tokenizer-class-path",
            "tokenizer_config.json",
            config({"tokenizer_class": "evil.module.Tok"}),
            "class-path",
            config({"tokenizer_class": "LlamaTokenizer"}),
        ),
        Case(
            "pipeline-library",
            "model_index.json",
            json.dumps({"_class_name": "P", "unet": ["evil", "Net"]}).encode(),
            "class-path",
            json.dumps({"_class_name": "P", "unet": ["diffusers", "Net"]}).encode(),
        ),
        Case(
            "sentence-transformers-type",
            "modules.json",
            b'[{"type": "os.system"}]',
            "class-path",
            b'[{"type": "sentence_transformers.models.Transformer"}]',
        ),
        Case(
            "shard-outside",
            "model.safetensors.index.json",
            json.dumps({"weight_map": {"w": "../../x.bin"}}).encode(),
            "outside",
            json.dumps({"weight_map": {}}).encode(),
        ),
        Case(
            "yaml-object",
            "config.yaml",
            b"a: !!python/object/apply:os.system ['id']\n",
            "yaml-tag",
            b"a: 'hello! world'\n",
        ),
        Case(
            "yaml-target",
            "config.yaml",
            b"opt:\n  _target_: os.system\n",
            "instantiate",
            b"opt:\n  target: x\n",
        ),
        Case("deep-json", "config.json", b"[" * 200_000 + b"]" * 200_000, "json", b"[[]]"),
        Case("python-file", "modeling_net.py", b"import os\n", "code", b"import os\n", twin_file="README.md"),
        Case("shebang", "LICENSE", b"#!/bin/sh\nid\n", "code", b"MIT\n"),
        Case(
            "keras-lambda",
            "config.json",
            b'{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}',
            "keras",
            b'{"class": "Sequential"}',
        ),
        Case("elf", "model.bin", b"\x7fELF" + b"\0" * 60, "unknown-content", torch_zip(_WEIGHTS)),
        Case("control-characters", "README.md", b"# Hi\x1b[2J\n", "unknown-content", b"# Hi [2J\n"),
        Case(
            "hdf5",
            "m.h5",
            b"\x89HDF\r\n\x1a\n" + b"\0" * 40,
            "hdf5",
            safetensors(),
            twin_file="m.safetensors",
        ),
        Case("png-with-zip", "x.png", png(zip_of([("a.pkl", _system(2))])), "polyglot", png()),
        Case("png-trailing", "x.png", png(_system(2)), "image", png()),
    ]


def _archives() -> list[Case]:
    hidden = tar_head(b"\x80\x02B\x00\x04\0\0x", 0) + b"\0" * (7 + 0x400 - 512) + b"."
    plain = b"\x80\x02B\x00\x04\0\0" + b"y" * 0x400 + b"."
    return [
        Case(
            "gz-joblib",
            "m.joblib",
            gzip.compress(_system(4)),
            "pickle-global",
            gzip.compress(dumps([1], 4)),
            twin_decision="quarantined",
        ),
        Case(
            "zlib-joblib",
            "m.joblib",
            zlib.compress(_system(3)),
            "pickle-global",
            zlib.compress(dumps([1], 3)),
            twin_decision="quarantined",
        ),
        Case(
            "bz2-pickle",
            "m.pkl",
            bz2.compress(_system(3)),
            "pickle-global",
            bz2.compress(dumps([1], 3)),
            twin_decision="quarantined",
        ),
        Case(
            "xz-pickle",
            "m.pkl",
            lzma.compress(_system(3)),
            "pickle-global",
            lzma.compress(dumps([1], 3)),
            twin_decision="quarantined",
        ),
        Case(
            "gz-twice",
            "m.txt.gz",
            gzip.compress(gzip.compress(b"x\n")),
            "archive-unread",
            gzip.compress(b"x\n"),
            twin_decision="quarantined",
        ),
        Case(
            "gz-trailing",
            "m.txt.gz",
            gzip.compress(b"x\n") + _system(2),
            "polyglot",
            gzip.compress(b"x\n"),
            twin_decision="quarantined",
        ),
        Case(
            "gz-bomb",
            "m.txt.gz",
            gzip.compress(b"\0" * (64 << 20)),
            "zip-bomb",
            gzip.compress(b"x\n" * 100),
            twin_decision="quarantined",
        ),
        Case("tar", "m.tar", tar_head() + b"\0" * 1024, "archive-unread", b"pickle\n", twin_file="m.txt"),
        Case("tar-in-pickle", "m.pt", hidden, "polyglot", plain),
        Case(
            "seven-zip",
            "m.7z",
            b"7z\xbc\xaf\x27\x1c" + b"\0" * 40,
            "archive-unread",
            b"7z\n",
            twin_file="m.txt",
        ),
    ]


def cases() -> list[Case]:
    """The whole corpus."""
    return [*_pickles(), *_numpy(), *_torch(), *_zips(), *_weights(), *_settings(), *_archives()]

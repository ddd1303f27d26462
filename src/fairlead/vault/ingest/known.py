"""The importable names that a pickle may use, and how.

A name is listed with its one allowed use: as a value (a dtype, a storage
class), or as something that is called, with a check of the arguments that
returns what the call would give. A module that is not listed is not even
imported by a reader of the pickle: importing runs code too. Names of scikit-learn,
whole torch modules and rarer torch functions belong to families that quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from fairlead.vault.ingest.values import (
    Array,
    Blob,
    Dtype,
    Global,
    Group,
    Listing,
    Made,
    Mapping,
    Order,
    Storage,
    Tensor,
    Value,
    is_plain,
)
from fairlead.vault.ingest.verdict import Stopped, shown

Call = Callable[[tuple[Value, ...]], Value]

STORAGES: Final = {
    "DoubleStorage": ("F64", 8), "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8), "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1), "ComplexFloatStorage": ("C64", 8),
    "ComplexDoubleStorage": ("", 16), "UntypedStorage": ("U8", 1),
}  # fmt: skip
"""Storage classes of torch: what safetensors calls their elements ("" where it has no word), and the size."""
DTYPES: Final = {
    "float64": ("F64", 8), "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2),
    "int64": ("I64", 8),
    "int32": ("I32", 4), "int16": ("I16", 2), "int8": ("I8", 1), "uint8": ("U8", 1), "bool": ("BOOL", 1),
    "uint16": ("U16", 2), "uint32": ("U32", 4), "uint64": ("U64", 8), "complex64": ("C64", 8),
    "complex128": ("", 16),
    "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1),
}  # fmt: skip
"""torch's dtypes, likewise."""

_NUMPY_CODE: Final = re.compile(r"(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|O8|[SUV][0-9]{1,9})")
_DEVICE: Final = re.compile(r"[a-z]{2,16}(:[0-9]{1,4})?")
_ENCODINGS: Final = frozenset({"latin1", "latin-1", "ascii", "utf-8", "utf8"})
_SKLEARN: Final = re.compile(
    r"sklearn\.(calibration|cluster|compose|covariance|cross_decomposition|decomposition|discriminant_analysis|dummy"
    r"|ensemble|feature_extraction|feature_selection|gaussian_process|impute|isotonic|kernel_approximation|kernel_ridge"
    r"|linear_model|manifold|metrics|mixture|multiclass|multioutput|naive_bayes|neighbors|neural_network|pipeline"
    r"|preprocessing|random_projection|semi_supervised|svm|tree|_loss)(\._?[a-z][a-z_0-9]*)*\.([A-Z]\w*|__pyx_unpickle_[A-Z]\w*)"
)
_SKLEARN_ALSO: Final = re.compile(
    r"sklearn\.utils\.deprecation\.DeprecationDict|sklearn\.(neighbors\._(kd_tree|ball_tree)|metrics\._dist_metrics)\.newObj"
    r"|numpy\.random\._pickle\.__(randomstate|generator|bit_generator)_ctor"
    r"|numpy\.random\.(bit_generator|_bit_generator)\.(__pyx_unpickle_SeedSequence|SeedSequence)"
    r"|numpy\.random\._(mt19937\.MT19937|pcg64\.PCG64(DXSM)?|philox\.Philox|sfc64\.SFC64)"
    r"|scipy\.sparse\._(csr|csc|coo)\.(csr|csc|coo)_(matrix|array)"
)
_MODULE: Final = re.compile(r"torch\.nn\.modules\.[a-z_]+\.[A-Z]\w*|torch\.nn\.parameter\.(Parameter|Buffer)")
_PLAIN_OBJECT: Final = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|pathlib\.(Pure)?(Posix|Windows)?Path|datetime\.(datetime|date|time|timedelta"
    r"|timezone)|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
)
_SCRIPT: Final = re.compile(r"__torch__(\.\w+)+|torch\.jit\._pickle\.(build_\w+|restore_type_tag)")
_TORCH_RARE: Final = frozenset(
    {
        "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_nested_tensor", "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_parameter_with_state", "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy", "torch._tensor._rebuild_from_type_v2",
        "torch.Tensor",
        "torch.serialization._get_layout", "torch.per_tensor_affine", "torch.per_channel_affine",
        "torch.per_tensor_symmetric", "torch.per_channel_symmetric",
    }
)  # fmt: skip
RECONSTRUCTORS: Final = frozenset({"copyreg._reconstructor", "copy_reg._reconstructor"})


def family_of(name: str) -> str:
    """The quarantining rule of a name that is known but not plain data; "" when there is none."""
    if name in _TORCH_RARE:
        return "pickle-torch-rare"
    if name == "joblib.numpy_pickle.NumpyArrayWrapper":
        return "joblib"
    if _MODULE.fullmatch(name):
        return "pickle-module"
    if _SKLEARN.fullmatch(name) or _SKLEARN_ALSO.fullmatch(name):
        return "pickle-sklearn"
    if _SCRIPT.fullmatch(name):
        return "torchscript"
    return "pickle-object" if _PLAIN_OBJECT.fullmatch(name) else ""


def is_value(name: str) -> bool:
    """Whether a name may stand in a pickle without being called."""
    return name in _VALUES


def call_of(name: str) -> Call | None:
    """The check of a call of this name; None when it may not be called."""
    return _CALLS.get(name)


def is_dimensions(value: Value) -> bool:
    """Whether a value is a tuple of at most 64 sizes that a file could have."""
    return (
        isinstance(value, tuple)
        and len(value) <= 64
        and all(type(one) is int and 0 <= one < 1 << 48 for one in value)
    )


def _wrong(name: str, why: str) -> Stopped:
    return Stopped("pickle-call", name, why)


def _codecs_encode(args: tuple[Value, ...]) -> Value:
    match args:
        case (str(text), str(encoding)) if encoding in _ENCODINGS:
            try:
                return text.encode(encoding)
            except UnicodeEncodeError:
                raise _wrong("_codecs.encode", "the text does not fit the encoding") from None
    raise _wrong("_codecs.encode", "only a text in Latin-1, ASCII or UTF-8 is expected")


def _mapping(args: tuple[Value, ...]) -> Value:
    match args:
        case ():
            return Mapping()
        case (Mapping(pairs=pairs),):
            return Mapping(list(pairs))
        case (Listing(items=items),):
            pairs = []
            for item in items:
                match item:
                    case (key, value) | Listing(items=[key, value]):
                        pairs.append((key, value))
                    case _:
                        raise _wrong("collections.OrderedDict", "it is made of something other than pairs")
            return Mapping(pairs)
    raise _wrong("collections.OrderedDict", "unexpected arguments")


def _defaultdict(args: tuple[Value, ...]) -> Value:
    match args:
        case () | (None,):
            return Mapping()
        case (Global() as factory,) if str(factory) in _FACTORIES:
            return Mapping()
        case (Global() as factory, Mapping(pairs=pairs)) if str(factory) in _FACTORIES:
            return Mapping(list(pairs))
    raise _wrong("collections.defaultdict", "the factory is not a plain type")


def _group(args: tuple[Value, ...]) -> Value:
    match args:
        case ():
            return Group()
        case (Listing(items=items) | Group(items=items),):
            return Group(list(items))
        case (tuple() as items,):
            return Group(list(items))
    raise _wrong("set", "it is made of something other than a list")


def _made(name: str) -> Call:
    """A call with plain arguments only, whose result nobody looks at."""

    def make(args: tuple[Value, ...]) -> Value:
        if len(args) > 4 or not is_plain(args):
            raise _wrong(name, "only plain values are expected as arguments")
        module, _, attribute = name.rpartition(".")
        return Made(Global(module, attribute), args)

    return make


def _size(args: tuple[Value, ...]) -> Value:
    match args:
        case (tuple() as sizes,) if is_dimensions(sizes):
            return sizes
        case (Listing(items=items),) if is_dimensions(tuple(items)):
            return tuple(items)
    raise _wrong("torch.Size", "only sizes are expected")


def _device(args: tuple[Value, ...]) -> Value:
    match args:
        case (str(name),) | (str(name), int()) if _DEVICE.fullmatch(name):
            return name
    raise _wrong("torch.device", "that is no device")


def _dtype(args: tuple[Value, ...]) -> Value:
    match args:
        case (str(code), *flags) if (
            _NUMPY_CODE.fullmatch(code) and len(flags) <= 2 and all(f in (0, 1) for f in flags)
        ):
            return Order(Dtype(code))
    raise _wrong("numpy.dtype", f"{shown(args[0] if args else '')} is no plain numeric, text or object type")


def _reconstruct(args: tuple[Value, ...]) -> Value:
    match args:
        case (Global(module="numpy", name="ndarray"), tuple() as shape, bytes() | str()) if is_dimensions(
            shape
        ):
            return Array()
    raise _wrong("numpy._reconstruct", "only a plain array is expected")


def _scalar(args: tuple[Value, ...]) -> Value:
    match args:
        case (Order(dtype=dtype), bytes() | Blob() as data) if not dtype.code.startswith("O"):
            size = len(data) if isinstance(data, bytes) else data.size
            if size == item_bytes(dtype):
                return Made(Global("numpy", "scalar"), (dtype.code, data))
    raise _wrong("numpy.scalar", "only a number's bytes are expected")


def _frombuffer(args: tuple[Value, ...]) -> Value:
    match args:
        case (bytes() | Blob() as data, Order() as order, tuple() as shape, "C" | "F" as layout) if (
            is_dimensions(shape)
        ):
            array = Array(order, shape, layout == "F", data)
            check_array(array)
            return array
    raise _wrong("numpy._frombuffer", "only an array's own bytes are expected")


def item_bytes(dtype: Dtype) -> int:
    """How many bytes an element takes."""
    size = int(dtype.code[1:])
    return 4 * size if dtype.code[0] == "U" else size


def check_array(array: Array) -> None:
    """Hold an array's data against its shape and type.

    Raises:
        Stopped: they differ: numpy would read memory that is not the array's.
    """
    count = 1
    for one in array.shape:
        count *= one
    assert array.order is not None
    dtype = array.order.dtype
    if dtype.code.startswith("O"):
        if not isinstance(array.data, Listing) or len(array.data.items) != count:
            raise _wrong(
                "numpy.ndarray", "an array of objects does not hold the list that its shape asks for"
            )
        return
    size = (
        array.data.size
        if isinstance(array.data, Blob)
        else len(array.data)
        if isinstance(array.data, bytes)
        else -1
    )
    if size != count * item_bytes(dtype):
        raise _wrong("numpy.ndarray", "the data has another length than its shape and type ask for")


def _rebuild_tensor(args: tuple[Value, ...]) -> Value:
    match args:
        case (Storage() as storage, int(offset), tuple() as shape, tuple() as stride, *rest):
            _check_rest("torch._utils._rebuild_tensor_v2", rest)
            tensor = Tensor(storage, offset, shape, stride)
            check_tensor(tensor)
            return tensor
    raise _wrong("torch._utils._rebuild_tensor_v2", "unexpected arguments")


def rebuild_v3(args: tuple[Value, ...]) -> Value:
    """The tensor of a `_rebuild_tensor_v3` call, for files in which that is approved."""
    match args:
        case (
            Storage() as storage,
            int(offset),
            tuple() as shape,
            tuple() as stride,
            bool() as grad,
            hooks,
            Global() as dtype,
            *rest,
        ):
            if dtype.module == "torch" and dtype.name in DTYPES:
                _check_rest("torch._utils._rebuild_tensor_v3", [grad, hooks, *rest])
                tensor = Tensor(storage, offset, shape, stride, dtype.name)
                check_tensor(tensor)
                return tensor
    raise _wrong("torch._utils._rebuild_tensor_v3", "unexpected arguments")


def _check_rest(name: str, rest: list[Value]) -> None:
    """`requires_grad`, backward hooks (none) and metadata (none, or flags)."""
    match rest:
        case [] | [bool()] | [bool(), None | Mapping(pairs=[])]:
            return
        case [bool(), None | Mapping(pairs=[]), None | Mapping(pairs=[])]:
            return
        case [bool(), None | Mapping(pairs=[]), Mapping(pairs=flags)]:
            if all(isinstance(key, str) and isinstance(flag, bool) for key, flag in flags):
                return
    raise _wrong(name, "hooks or metadata are not empty")


def check_tensor(tensor: Tensor) -> None:
    """Hold a view against its storage.

    Raises:
        Stopped: it would reach outside.
    """
    size = DTYPES[tensor.dtype][1] if tensor.dtype else STORAGES[tensor.storage.kind][1]
    numel = tensor.storage.numel * STORAGES[tensor.storage.kind][1] // size
    if (
        not is_dimensions(tensor.shape)
        or not is_dimensions(tensor.stride)
        or len(tensor.shape) != len(tensor.stride)
    ):
        raise _wrong("torch tensor", "shape or strides are not sizes")
    if tensor.offset < 0 or type(tensor.offset) is not int:
        raise _wrong("torch tensor", "the offset is negative")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if 0 not in tensor.shape and last >= numel:
        raise _wrong("torch tensor", f"the view reaches element {last} of a storage of {numel}")


def _rebuild_parameter(args: tuple[Value, ...]) -> Value:
    match args:
        case (Tensor() as tensor, bool(), None | Mapping(pairs=[])):
            return tensor
    raise _wrong("torch._utils._rebuild_parameter", "unexpected arguments")


def storage_kind(name: Global) -> str:
    """The storage class that a global names; "" when it is none."""
    if name.module in {"torch", "torch.cuda", "torch.storage"} and name.name in STORAGES:
        return name.name
    return ""


_FACTORIES: Final = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("list", "dict", "int", "float", "set", "str")
)
_VALUES: Final = (
    frozenset(f"torch.{name}" for name in (*STORAGES, *DTYPES))
    | frozenset(f"torch.cuda.{name}" for name in STORAGES if name != "UntypedStorage")
    | frozenset({"torch.storage.UntypedStorage", "numpy.ndarray", "builtins.object", "__builtin__.object"})
    | _FACTORIES
)
_CALLS: Final[dict[str, Call]] = {
    "_codecs.encode": _codecs_encode,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _defaultdict,
    **{f"{module}.{name}": _group for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{
        f"{module}.{name}": _made(f"{module}.{name}")
        for module in ("builtins", "__builtin__")
        for name in ("bytearray", "complex", "slice", "range")
    },
    "__builtin__.xrange": _made("builtins.range"),
    "torch.Size": _size,
    "torch.device": _device,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
}

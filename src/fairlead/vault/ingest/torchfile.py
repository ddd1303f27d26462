"""PyTorch's checkpoints: the zip form since 1.6, the stream of pickles before it, and TorchScript.

Only the members that `torch.save` writes may be in an archive. Storages must be
there, stored and long enough for every tensor that looks into them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fairlead.vault.ingest import known, zips
from fairlead.vault.ingest.pickles import Persistent, Pickle
from fairlead.vault.ingest.values import Global, Listing, Mapping, Storage, Value
from fairlead.vault.ingest.verdict import Report, Stopped, shown
from fairlead.vault.ingest.window import Window, memory_window
from fairlead.vault.ingest.zips import Member

MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
MAX_PICKLE_BYTES: Final = 256 << 20
_STORAGE: Final = re.compile(r"(data|constants)/[0-9A-Za-z_]{1,64}")
_SCRIPT: Final = re.compile(r"constants\.pkl|code/[\w./-]+|(extra|traced_inputs)/[\w./-]+|traced_inputs\.pkl")
_KEY: Final = re.compile(r"[0-9A-Za-z_]{1,64}")
_LOCATION: Final = re.compile(r"[a-z]{2,16}(:[0-9]{1,4})?")
_NOTES: Final = {
    "version": re.compile(rb"[0-9]{1,4}\n?"), "byteorder": re.compile(rb"little|big"),
    ".format_version": re.compile(rb"[0-9]{1,4}\n?"), ".storage_alignment": re.compile(rb"[0-9]{1,8}\n?"),
    ".data/serialization_id": re.compile(rb"[0-9]{1,64}"),
}  # fmt: skip


class Checkpoint(NamedTuple):
    """A checkpoint that was walked."""

    value: Value
    storages: dict[str, Window]
    """The bytes of each storage that a tensor uses."""
    big_endian: bool = False


def is_torch(members: list[Member]) -> bool:
    """Whether an archive is one of PyTorch's: everything in one folder, with a `data.pkl`."""
    prefixes = {member.name.partition("/")[0] for member in members}
    return len(prefixes) == 1 and any(
        member.name == f"{prefix}/data.pkl" for prefix in prefixes for member in members
    )


def read_zip(members: list[Member], report: Report) -> Checkpoint:
    """Walk a checkpoint in an archive whose members were verified.

    Raises:
        Stopped: it is more than tensors and plain values.
    """
    prefix = members[0].name.partition("/")[0]
    inside = {member.name[len(prefix) + 1 :]: member for member in members}
    script = "constants.pkl" in inside or any(name.startswith("code/") for name in inside)
    if script:
        report.add("torchscript", "code/", "the file is a program for TorchScript's interpreter")
    byteorder = b"little"
    for name, member in inside.items():
        if _STORAGE.fullmatch(name):
            if not member.is_stored:
                raise Stopped("zip-feature", shown(name), "a storage is packed, which PyTorch does not do")
        elif name in _NOTES:
            data = _small(member)
            if not _NOTES[name].fullmatch(data):
                raise Stopped("torch-member", shown(name), "it does not hold what PyTorch writes there")
            byteorder = data if name == "byteorder" else byteorder
        elif name != "data.pkl" and not (script and _SCRIPT.fullmatch(name)):
            raise Stopped("torch-member", shown(name), "PyTorch writes no such member")
    value, storages = _walk(inside, "data", report)
    for also in ("constants", "traced_inputs"):
        if f"{also}.pkl" in inside:
            _walk(inside, also, report)
    return Checkpoint(value, storages, byteorder == b"big")


def _walk(inside: dict[str, Member], name: str, report: Report) -> tuple[Value, dict[str, Window]]:
    """Walk `data.pkl` or `constants.pkl`, and find the storages that it asks for."""
    used: dict[str, Storage] = {}
    where = f"{name}.pkl"
    window = memory_window(_small(inside[where], MAX_PICKLE_BYTES))
    pickle = Pickle(window, 0, report, where, _resolver(used, 5))
    value = pickle.walk()
    if pickle.end != window.size:
        raise Stopped("pickle-trailing", where, "bytes follow the end of the pickle")
    storages = {}
    for key, storage in used.items():
        member = inside.get(f"{name}/{key}")
        if member is None:
            raise Stopped("torch-storage", f"{name}/{key}", "the storage of a tensor is not in the archive")
        if name != "traced_inputs":  # of which PyTorch keeps the shapes and drops the numbers
            _check_length(storage, member.size)
        storages[key] = member.packed
    return value, storages


def _small(member: Member, limit: int = 4096) -> bytes:
    if member.size > limit:
        raise Stopped("limits", shown(member.name), f"longer than {limit} bytes")
    return b"".join(zips.unpacked(member))


def _resolver(used: dict[str, Storage], width: int) -> Persistent:
    """What resolves `('storage', class, key, location, numel)`; older files have a view (none) after it."""

    def resolve(value: Value) -> Value:
        match value:
            case ("storage", Global() as name, str(key), str(location), int(numel), *rest):
                kind = known.storage_kind(name)
                if (
                    kind
                    and _KEY.fullmatch(key)
                    and _LOCATION.fullmatch(location)
                    and type(numel) is int
                    and 0 <= numel < 1 << 48
                    and len(rest) <= width - 5
                    and all(one is None for one in rest)
                ):
                    storage = Storage(key, kind, numel)
                    if used.setdefault(key, storage) != storage:
                        raise Stopped("torch-storage", shown(key), "two tensors disagree about their storage")
                    return storage
        raise Stopped("pickle-persistent", "data.pkl", "what is asked for is not a storage of the checkpoint")

    return resolve


def _check_length(storage: Storage, size: int) -> None:
    if size != storage.numel * known.STORAGES[storage.kind][1]:
        raise Stopped("torch-storage", shown(storage.key), "the storage has another length than announced")


def read_legacy(window: Window, end: int, report: Report) -> Checkpoint:
    """Walk a checkpoint from before PyTorch 1.6; `end` is where its first pickle, the magic number, ended.

    Raises:
        Stopped: it is more than tensors and plain values.
    """
    used: dict[str, Storage] = {}
    at = end
    parts: list[Value] = []
    for where in ("protocol", "system", "object", "keys"):
        pickle = Pickle(window, at, report, where, _resolver(used, 6) if where == "object" else None)
        parts.append(pickle.walk())
        at = pickle.end
    match parts:
        case [1001, Mapping(pairs=system), value, Listing(items=keys)]:
            little = dict(pair for pair in system if isinstance(pair[0], str)).get("little_endian", True)
        case _:
            raise Stopped("torch-member", "header", "it is not what PyTorch writes")
    if len(keys) != len(set(map(str, keys))) or set(map(str, keys)) != set(used):
        raise Stopped("torch-storage", "keys", "the list of storages is not that of the tensors")
    storages: dict[str, Window] = {}
    for key in map(str, keys):
        storage = used[key]
        if int.from_bytes(window.read(at, 8), "little" if little else "big") != storage.numel:
            raise Stopped("torch-storage", shown(key), "the storage has another length than announced")
        size = storage.numel * known.STORAGES[storage.kind][1]
        storages[key] = window.part(at + 8, size)
        at += 8 + size
    if at != window.size:
        raise Stopped("pickle-trailing", f"byte {at}", "bytes follow the last storage")
    return Checkpoint(value, storages, not little)

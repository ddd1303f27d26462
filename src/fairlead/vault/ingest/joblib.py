"""joblib's files: a pickle in which each array's bytes follow the object that describes it."""

from __future__ import annotations

from typing import Final

from fairlead.vault.ingest import known
from fairlead.vault.ingest.pickles import Pickle
from fairlead.vault.ingest.values import Array, Made, Mapping, Order, Value
from fairlead.vault.ingest.verdict import Report, Stopped
from fairlead.vault.ingest.window import Window

_WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"


def walk(window: Window, at: int, report: Report, where: str) -> Pickle:
    """A pickle that takes arrays from between its instructions. `walk` it as any other."""
    pickle = Pickle(window, at, report, where)

    def take_array(made: Made) -> Value:
        if str(made.maker) != _WRAPPER:
            return made
        report.add("joblib", where, "arrays lie between the instructions")
        fields = (
            dict(pair for pair in made.state.pairs if isinstance(pair[0], str))
            if isinstance(made.state, Mapping)
            else {}
        )
        match fields:
            case {"dtype": Order() as order, "shape": tuple() as shape, "order": "C" | "F" as layout} if (
                known.is_dimensions(shape)
            ):
                pass
            case _:
                raise Stopped("pickle-build", where, "an array is described in an unknown way")
        if order.dtype.code.startswith("O"):
            return _objects(window, pickle, report, where)
        if fields.get("numpy_array_alignment_bytes") is not None:
            padding = pickle.cursor.number(1)
            if pickle.cursor.take(padding).strip(b"\xff"):
                raise Stopped("pickle-build", where, "the padding before an array is not padding")
        size = known.item_bytes(order.dtype)
        for one in shape:
            size *= one
        pickle.cursor.skip(size)
        return Array(order, shape, layout == "F")

    pickle.on_build(take_array)
    return pickle


def _objects(window: Window, pickle: Pickle, report: Report, where: str) -> Value:
    """An array of objects is a pickle of its own between the instructions."""
    inner = Pickle(window, pickle.cursor.at, report, where)
    value = inner.walk()
    pickle.cursor.skip(inner.end - pickle.cursor.at)
    return value

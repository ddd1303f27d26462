"""Records read back in pieces of any size, and never past a broken one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.vault.audit.records import CHECKPOINT, ENTRY, HEAD_BYTES, MAGIC, Broken, Record, frame, scan

BODIES = st.lists(
    st.tuples(st.sampled_from([ENTRY, CHECKPOINT]), st.binary(min_size=1, max_size=60)), max_size=8
)


def pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@given(BODIES, st.integers(1, 50))
def test_what_was_framed_is_read_back_in_any_pieces(bodies: list[tuple[bytes, bytes]], size: int) -> None:
    raw = MAGIC + b"".join(frame(kind, body) for kind, body in bodies)

    found = list(scan(pieces(raw, size)))

    assert [(one.kind[0].upper().encode(), one.body) for one in found if isinstance(one, Record)] == bodies
    assert not found or (isinstance(found[-1], Record) and found[-1].end == len(raw))


@given(BODIES, st.integers(1, 50), st.data())
def test_a_cut_file_is_whole_up_to_the_cut(
    bodies: list[tuple[bytes, bytes]], size: int, data: st.DataObject
) -> None:
    raw = MAGIC + b"".join(frame(kind, body) for kind, body in bodies)
    cut = data.draw(st.integers(0, len(raw)))

    found = list(scan(pieces(raw[:cut], size)))

    whole = [one for one in found if isinstance(one, Record)]
    end = whole[-1].end if whole else len(MAGIC) if cut >= len(MAGIC) else 0
    assert [one.body for one in whole] == [body for _, body in bodies][: len(whole)]
    assert (end == cut) == (not found or isinstance(found[-1], Record))
    if found and isinstance(found[-1], Broken):
        assert found[-1].offset == end


@given(st.data())
def test_no_byte_of_a_record_changes_unseen(data: st.DataObject) -> None:
    raw = bytearray(MAGIC + frame(ENTRY, b"first") + frame(ENTRY, b"second"))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))

    found = list(scan([bytes(raw)]))

    assert isinstance(found[-1], Broken)
    second = at >= len(MAGIC) + HEAD_BYTES + 5
    assert [one.body for one in found[:-1] if isinstance(one, Record)] == ([b"first"] if second else [])


def test_nothing_is_a_whole_log() -> None:
    assert list(scan([])) == []
    assert list(scan([MAGIC])) == []
    assert list(scan([b"something else entirely"])) == [Broken(0, "it does not begin as an audit log does")]

from __future__ import annotations

import json
import shutil
import subprocess

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest, KeyRefused, Tampered
from fairlead.vault.context import Context
from fairlead.vault.keys.port import Wrapped, answered_key, bind, canonical, checked_key, new_key, unbind

TEXTS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
CONTEXTS = st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=8)


@given(CONTEXTS)
def test_the_spelling_of_a_context_does_not_depend_on_its_order(context: dict[str, str]) -> None:
    assert canonical(context) == canonical(dict(reversed(context.items())))


@given(CONTEXTS, CONTEXTS)
def test_two_contexts_have_two_spellings(one: dict[str, str], other: dict[str, str]) -> None:
    assert (canonical(one) == canonical(other)) == (one == other)


@given(CONTEXTS)
def test_the_spelling_reads_back(context: dict[str, str]) -> None:
    assert json.loads(canonical(context)) == context


def test_jq_spells_a_context_the_same_way() -> None:
    context = Context(tenant="acme", name="fraud/scorer", version="7", file="ünï/w.bin").mapping()
    spelled = b'{"fairlead:file":"\xc3\xbcn\xc3\xaf/w.bin","fairlead:model":"fraud/scorer",'
    spelled += b'"fairlead:purpose":"file","fairlead:tenant":"acme","fairlead:version":"7"}'

    assert canonical(context) == spelled
    if jq := shutil.which("jq"):
        done = subprocess.run(
            [jq, "-cjS", "."], input=json.dumps(context).encode(), capture_output=True, check=True
        )
        assert done.stdout == spelled


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"": "value"},
        {"name": ""},
        {"name": "two\nlines"},
        {"name": "nul\0"},
        {"name": "\ud800"},
        {str(number): "x" for number in range(17)},
        {"name": "x" * 8192},
    ],
)
def test_a_context_that_binds_nothing_or_is_no_text_is_refused(context: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        canonical(context)


@given(CONTEXTS, CONTEXTS)
def test_a_bound_key_comes_out_for_its_own_context_only(one: dict[str, str], other: dict[str, str]) -> None:
    key = new_key()
    payload = bind(key, one)
    if one == other:
        assert unbind(payload, other, "s") == key
    else:
        with pytest.raises(KeyRefused):
            unbind(payload, other, "s")


def test_every_changed_byte_of_a_bound_key_but_the_keys_own_is_noticed() -> None:
    payload = bind(new_key(), {"a": "b"})
    for at in range(33):
        with pytest.raises(KeyRefused):
            unbind(payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :], {"a": "b"}, "s")
    for changed in (payload[:-1], payload + b"\0", b""):
        with pytest.raises(KeyRefused):
            unbind(changed, {"a": "b"}, "s")


def test_an_answer_that_is_no_key_is_refused() -> None:
    for answer in (b"", b"x" * 31, b"x" * 33, b"\0" * 32):
        with pytest.raises(Tampered):
            answered_key(answer, "s")
    assert answered_key(b"x" * 32, "s") == b"x" * 32
    with pytest.raises(ValueError, match="32 bytes"):
        checked_key(b"x" * 16)


@pytest.mark.parametrize(
    "change",
    [
        {"blob": b""},
        {"blob": b"x" * 16_385},
        {"key_id": "x" * 1025},
        {"service": "a\nb"},
        {"version": "\xe9"},
    ],
)
def test_a_wrapped_key_from_storage_is_bounded(change: dict[str, object]) -> None:
    fields = {"service": "s", "key_id": "k", "version": "1", "blob": b"b", **change}
    with pytest.raises(ValueError, match="wrapped key"):
        Wrapped(**fields)  # type: ignore[arg-type]
    if "blob" in change:
        return
    text = msgspec.json.encode({**fields, "blob": "Yg=="})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Wrapped)

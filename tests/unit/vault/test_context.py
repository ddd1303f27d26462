from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.vault.context import Context, Purpose
from fairlead.vault.ref import Ref

WORD = st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True)
CONTEXTS = st.builds(
    Context, tenant=WORD, name=WORD, version=WORD, file=st.just("") | WORD, purpose=st.sampled_from(Purpose)
)


@given(CONTEXTS, st.integers(0, 3), CONTEXTS, st.integers(0, 3))
def test_no_two_places_have_the_same_bytes(one: Context, size: int, other: Context, other_size: int) -> None:
    same = (one, size) == (other, other_size)

    assert (one.aad(size) == other.aad(other_size)) is same
    assert (one.mapping() == other.mapping()) is (one == other)


def test_the_bytes_are_those_of_the_specification() -> None:
    context = Context(tenant="acme", name="fraud/scorer", version="7", file="model.safetensors")

    assert context.aad(258) == (
        b"fairlead.dev/vault/v1"
        b"\0\0\0\4file\0\0\0\4acme\0\0\0\x0cfraud/scorer\0\0\0\x017\0\0\0\x11model.safetensors"
        b"\0\0\0\0\0\0\1\2"
    )


def test_key_services_get_flat_strings_of_which_none_is_empty() -> None:
    ref = Ref(tenant="acme", name="fraud/scorer", version="7")

    assert Context.of(ref, purpose=Purpose.KEY).mapping() == {
        "fairlead:purpose": "key",
        "fairlead:tenant": "acme",
        "fairlead:model": "fraud/scorer",
        "fairlead:version": "7",
    }
    assert Context.of(ref, "a.bin").mapping()["fairlead:file"] == "a.bin"


@pytest.mark.parametrize("change", [{"tenant": "a/b"}, {"name": ".."}, {"version": ""}, {"file": "../x"}])
def test_a_context_of_a_wrong_name_cannot_be_built(change: dict[str, str]) -> None:
    right = {"tenant": "acme", "name": "fraud", "version": "7"}

    with pytest.raises(InvalidRequest):
        msgspec.convert(right | change, Context)


def test_a_size_of_more_than_64_bits_is_refused() -> None:
    context = Context(tenant="acme", name="fraud", version="7")

    for size in (-1, 1 << 64):
        with pytest.raises(ValueError, match="64 bits"):
            context.aad(size)


def test_the_context_tells_its_version() -> None:
    ref = Ref(tenant="acme", name="fraud", version="7")

    assert Context.of(ref, "x").ref == ref
    assert msgspec.structs.replace(Context.of(ref), file="y").file == "y"

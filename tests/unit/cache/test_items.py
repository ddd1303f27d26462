"""The inputs of an embedding request, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.made import space

from fairlead.cache.items import items
from fairlead.cache.key import read

inputs = st.text(st.characters(codec="utf-8"), max_size=5) | st.lists(
    st.integers(0, 9), min_size=1, max_size=3
)


def keys(given_input: Any, **fields: Any) -> list[bytes] | None:
    body = {"model": "m", "input": given_input, **fields}
    request = read("embeddings", json.dumps(body).encode())
    assert request is not None
    found = items(request)
    return None if found is None else [space().key(one) for one in found]


@given(st.lists(inputs, min_size=1, max_size=6))
def test_an_input_has_one_key_whoever_it_is_asked_with(batch: list[Any]) -> None:
    assert keys(batch) == [key for one in batch for key in keys([one]) or []]


@given(first=inputs, second=inputs)
def test_other_inputs_have_other_keys(first: Any, second: Any) -> None:
    assert (keys([first]) == keys([second])) == (first == second)


def test_an_input_alone_is_a_list_of_one() -> None:
    assert keys("a") == keys(["a"])
    assert keys([1, 2]) == keys([[1, 2]])
    assert keys("1") != keys([1])


def test_other_fields_count_and_how_it_is_written_does_not() -> None:
    assert keys("a") == keys("a", encoding_format="base64", user="u")
    assert keys("a") != keys("a", dimensions=256)
    assert keys("a", dimensions=256) != keys("a", dimensions=512)


@pytest.mark.parametrize("given_input", [None, [], {}, 5, [1, "a"], [1, [2]]])
def test_inputs_of_no_known_shape(given_input: Any) -> None:
    assert keys(given_input) is None

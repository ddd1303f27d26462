"""The fuzzer's rules on the headers it starts from, and a few thousand fixed mutations of them."""

from __future__ import annotations

import pytest
from tests.fuzz.fuzz_safetensors import SEEDS, check, run_mutations


@pytest.mark.parametrize("data", SEEDS, ids=range(len(SEEDS)))
def test_seeds(data: bytes) -> None:
    check(data)


def test_fixed_mutations() -> None:
    assert run_mutations(20_261_124, rounds=3000) == 3000

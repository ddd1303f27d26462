"""The fuzzer's rules on the requests it starts from, and a few hundred fixed mutations of them."""

from __future__ import annotations

import random

import pytest
from tests.fuzz.fuzz_server import SEEDS, check, run_mutations


@pytest.mark.parametrize("data", SEEDS, ids=range(len(SEEDS)))
def test_seeds(data: bytes) -> None:
    check(data, random.Random(1))


@pytest.mark.parametrize(
    "data",
    [b"P/T0x\rn", b"GET /heal/hz HTTP/2.0\rHost: gatewa:"],
    ids=["bare-cr-in-line", "bare-cr-after-line"],
)
def test_what_was_found_before(data: bytes) -> None:
    for seed in range(20):
        check(data, random.Random(seed))


def test_fixed_mutations() -> None:
    assert run_mutations(20_261_123, rounds=400) == 400

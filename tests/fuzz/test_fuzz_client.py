"""The fuzzer's rules on the answers it starts from, and a few hundred fixed mutations of them."""

from __future__ import annotations

import random

import pytest
from tests.fuzz.fuzz_client import COMPLETE, SEEDS, ask, check, run_mutations


@pytest.mark.parametrize("data", SEEDS, ids=range(len(SEEDS)))
def test_seeds(data: bytes) -> None:
    for seed in range(10):
        check(data, random.Random(seed))


@pytest.mark.parametrize("answer", COMPLETE, ids=range(len(COMPLETE)))
def test_a_complete_answer_lets_the_connection_be_used_again(answer: bytes) -> None:
    assert ask([answer], b"GET").reused


def test_fixed_mutations() -> None:
    assert run_mutations(20_261_123, rounds=400) == 400

"""The fuzzer's rules on the files it starts from, and a few hundred fixed mutations of them."""

from __future__ import annotations

import pytest
from tests.fuzz.fuzz_ingest import SEEDS, check, run_mutations


@pytest.mark.parametrize("name", ["m.pkl", "m.pt", "m.txt", "m.json"])
def test_seeds(name: str) -> None:
    for data in SEEDS:
        check(data, name)


def test_fixed_mutations() -> None:
    assert run_mutations(20_261_123, rounds=400) == 400

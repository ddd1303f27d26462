from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.tool_ids import ANTHROPIC, BEDROCK, fit


@pytest.mark.parametrize("allowed", [ANTHROPIC, BEDROCK])
@given(call_id=st.text(max_size=100))
def test_every_id_fits_and_always_alike(allowed: re.Pattern[str], call_id: str) -> None:
    fitted = fit(call_id, allowed)

    assert allowed.fullmatch(fitted)
    assert fit(call_id, allowed) == fitted
    assert fit(fitted, allowed) == fitted


def test_an_id_that_fits_is_kept() -> None:
    assert fit("toolu_01-a", ANTHROPIC) == "toolu_01-a"
    assert fit("functions.f:0", BEDROCK) == "functions.f:0"


def test_ids_that_do_not_fit_stay_apart() -> None:
    assert fit("functions.f:0", ANTHROPIC) != fit("functions_f.0", ANTHROPIC)
    assert fit("a" * 70, BEDROCK) != fit("a" * 71, BEDROCK)

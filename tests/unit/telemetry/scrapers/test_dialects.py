"""Every dialect of engines and of DCGM exporter, as golden files: a page and what it says.

The pages are written after the engines' documented names. `UPDATE_GOLDEN=1` writes what is read.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from fairlead.telemetry.scrapers import dcgm
from fairlead.telemetry.scrapers.page import read
from fairlead.telemetry.scrapers.watch import contents

GOLDEN = Path(__file__).parents[3] / "golden" / "scrapers"
SHARED = Path(__file__).parents[4] / ".." / "shared" / "data" / "dcgm"
PAGES = sorted(GOLDEN.glob("*.prom"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_read_as_its_golden_file_says(page: Path) -> None:
    found = contents(page.read_bytes())

    plain = msgspec.to_builtins(found)
    text = msgspec.json.format(msgspec.json.encode(plain), indent=1).decode() + "\n"
    expected = page.with_suffix(".json")
    if os.environ.get("UPDATE_GOLDEN") == "1":
        expected.write_text(text)
    assert text == expected.read_text()


def test_there_are_pages() -> None:
    assert {page.stem for page in PAGES} >= {
        "vllm-v1",
        "vllm-v0",
        "sglang",
        "tgi",
        "llamacpp",
        "trtllm",
        "triton",
    }


def test_a_page_is_not_taken_for_another_kind() -> None:
    page = (GOLDEN / "vllm-v1.prom").read_bytes()

    assert contents(page, "sglang").engine is None
    assert contents(page, "dcgm").engine is None
    assert contents(page, "vllm").engine == contents(page).engine


def test_the_shared_dcgm_pages_name_their_users() -> None:
    if not SHARED.is_dir():
        pytest.skip("../shared/data/dcgm is not here")
    found = {
        name: [
            (one.index, one.mig_id, one.namespace, one.pod, one.active)
            for one in dcgm.readings(read((SHARED / f"{name}.prom").read_bytes(), dcgm.NAMES))
        ]
        for name in ("h100-pods", "label-dialects", "mig", "t4-node", "time-slicing")
    }

    assert found == {
        "h100-pods": [
            ("0", "", "serving", "chat-7d9c-abcde", 0.971204),
            ("1", "", "serving", "chat-7d9c-abcde", 0.962817),
            ("2", "", "", "", 0.0),
        ],
        "label-dialects": [
            ("0", "", "serving", "embed-0", 0.402),
            ("1", "", "serving", "rerank-5f-xyz12", 0.561),
        ],
        "mig": [
            ("0", "1", "serving", "chat-a", 0.88),
            ("0", "2", "serving", "chat-b", 0.31),
            ("0", "9", "", "", 0.0),
        ],
        "t4-node": [("0", "", "", "", 0.156205)],
        "time-slicing": [("3", "", "serving,serving", "small-a,small-b", 0.64)],
    }

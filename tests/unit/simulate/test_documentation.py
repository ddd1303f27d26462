"""docs/simulate.md says what the code does."""

import re
from pathlib import Path
from typing import get_args

from fairlead.simulate import faults

PAGE = (Path(__file__).parents[3] / "docs" / "simulate.md").read_text()


def test_every_fault_has_its_row() -> None:
    section = PAGE.split("## Faults")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert set(rows) == {*get_args(faults.FaultName), "flap"}
    assert all(f"    {name} " in (faults.__doc__ or "") for name in rows)


def test_every_key_of_a_fault_is_named() -> None:
    named = set(re.findall(r"`(\w+)(?:[=`])", PAGE)) | set(re.findall(r";(\w+)=", PAGE)) | {"on", "off"}
    assert set(faults.Fault.__struct_fields__) - {"name"} <= named | {"headers", "body"}


def test_the_faults_of_the_examples_exist() -> None:
    examples = re.findall(r'"fault": "([^"]+)"', PAGE)
    assert [faults.parse(text).name for text in examples if "NAME" not in text] == ["refuse", "status"]

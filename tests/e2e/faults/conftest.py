"""Shared by the fault suite: the page that its runs write or compare."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.faults.page import Page
from tests.e2e.faults.stories import ORDER


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    """docs/faults.md; see tests.e2e.faults.page."""
    page = Page()
    yield page
    page.write(ORDER)

"""Failures are all counted, and logged once a minute for each store."""

from __future__ import annotations

import logging

import pytest

from fairlead.cache.trouble import Trouble
from fairlead.errors import StorageError


def test_one_line_a_minute_for_each_store(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    trouble = Trouble(lambda: now)
    caplog.set_level(logging.WARNING)

    for _ in range(50):
        trouble.met("disk", "get", StorageError("the disk is full"))
    trouble.met("redis", "get", StorageError("gone"))
    assert [record.__dict__["store"] for record in caplog.records] == ["disk", "redis"]
    assert caplog.records[0].__dict__["error"] == "the disk is full"

    now += 59.9
    trouble.met("disk", "put")
    assert len(caplog.records) == 2
    now += 0.2
    trouble.met("disk", "damaged", count=3)
    assert len(caplog.records) == 3
    assert caplog.records[2].__dict__["not_logged"] == "50"
    assert dict(trouble.counts) == {
        ("disk", "get"): 50,
        ("redis", "get"): 1,
        ("disk", "put"): 1,
        ("disk", "damaged"): 3,
    }

from __future__ import annotations

from tests.unit.net.harness import ManualClock

from fairlead import config
from fairlead.net.hub import Hub


def test_the_date_changes_with_the_second() -> None:
    wall = 784_111_777.0
    hub = Hub(config.Server(), ManualClock(), lambda: wall)
    first = hub.opening(200)
    assert first == b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    wall += 0.9
    hub.refresh()
    assert hub.opening(200) is first
    wall += 0.2
    assert hub.opening(200) is first
    hub.refresh()
    assert hub.opening(200) == b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


def test_now_moves_only_with_the_ticker() -> None:
    clock = ManualClock()
    hub = Hub(config.Server(), clock)
    clock.now += 5
    assert hub.now == 1000.0
    hub.refresh()
    assert hub.now == 1005.0

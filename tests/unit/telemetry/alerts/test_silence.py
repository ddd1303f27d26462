"""Which alerts a silence covers."""

from __future__ import annotations

from fairlead.telemetry.alerts.silence import Silence, covering


def silence(until: float = 100.0, **matchers: str) -> Silence:
    return Silence(id="s", matchers=matchers, until=until, comment="c", author="a", created_at=0.0)


def test_every_matcher_must_fit() -> None:
    labels = {"rule": "outage", "target": "lab/small", "severity": "page"}

    assert silence(rule="outage").covers(labels, 99.0)
    assert silence(rule="outage", target="lab/*").covers(labels, 99.0)
    assert not silence(rule="outage", target="other/*").covers(labels, 99.0)
    assert not silence(model="*").covers(labels, 99.0)


def test_it_ends() -> None:
    assert not silence(rule="outage").covers({"rule": "outage"}, 100.0)


def test_the_longest_is_told() -> None:
    found = covering([silence(10.0, rule="a"), silence(20.0, rule="*")], {"rule": "a"}, 5.0)

    assert found is not None
    assert found.until == 20.0
    assert covering([], {"rule": "a"}, 5.0) is None

"""The breaker opens for an upstream's faults only, and lets one trial through at a time."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import Breaker as Rule
from fairlead.gateway.health import BLAMED, Breaker, BreakerState
from fairlead.types import Failure, FailureKind

RULE = Rule(failures=3, error_rate=0.5, window_s=10, min_requests=10, open_s=5, max_open_s=40)


def failure(kind: FailureKind = FailureKind.SERVER_ERROR, retry_after_s: float | None = None) -> Failure:
    return Failure(kind=kind, message="it broke", retry_after_s=retry_after_s)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(RULE)
    for _ in range(3):
        breaker.fail(failure(), now)
    return breaker


def test_consecutive_failures_open_it_also_for_a_single_target() -> None:
    breaker = Breaker(RULE)
    breaker.fail(failure(), 0)
    breaker.fail(failure(), 0)
    assert breaker.admits(0)
    breaker.fail(failure(), 0)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admits(0)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(RULE)
    for _ in range(4):
        breaker.fail(failure(), 0)
        breaker.succeed(0)
    assert breaker.state is BreakerState.CLOSED


def test_half_of_a_window_failing_opens_it() -> None:
    breaker = Breaker(RULE)
    for second in range(5):
        breaker.succeed(second)
        assert breaker.state is BreakerState.CLOSED
        breaker.fail(failure(), second)
    assert breaker.state is BreakerState.OPEN


def test_failures_older_than_the_window_are_forgotten() -> None:
    breaker = Breaker(RULE)
    for _ in range(4):
        breaker.succeed(0)
        breaker.fail(failure(), 0)
    for _ in range(5):
        breaker.succeed(30)
    breaker.fail(failure(), 30)
    assert breaker.state is BreakerState.CLOSED


def test_what_a_caller_did_wrong_never_counts() -> None:
    for kind in set(FailureKind) - BLAMED - {FailureKind.RATE_LIMITED}:
        breaker = Breaker(RULE)
        for _ in range(50):
            breaker.fail(failure(kind), 0)
        assert breaker.admits(0), kind


def test_a_refused_credential_opens_it_at_once() -> None:
    breaker = Breaker(RULE)
    breaker.fail(failure(FailureKind.AUTH), 0)
    assert breaker.state is BreakerState.OPEN


def test_a_rate_limit_pauses_for_as_long_as_the_upstream_says() -> None:
    breaker = Breaker(RULE)
    breaker.fail(failure(FailureKind.RATE_LIMITED, retry_after_s=3), 100)
    assert breaker.state is BreakerState.CLOSED
    assert not breaker.admits(102.9)
    assert breaker.wait_s(101) == 2
    assert breaker.admits(103)


def test_a_pause_is_bounded() -> None:
    breaker = Breaker(RULE)
    breaker.fail(failure(FailureKind.RATE_LIMITED, retry_after_s=86_400), 0)
    assert breaker.admits(60)


def test_it_stays_open_until_a_probe_succeeds_and_then_admits_one_trial() -> None:
    breaker = opened()
    assert not breaker.wants_probe(4.9)
    assert breaker.wants_probe(5)
    assert not breaker.admits(1000)
    breaker.probe_succeeded()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admits(6)
    assert breaker.start()
    assert not breaker.admits(6)
    breaker.succeed(7)
    assert breaker.state is BreakerState.CLOSED
    assert not breaker.start()


def test_a_failed_trial_doubles_the_time_open_up_to_the_bound() -> None:
    breaker = opened()
    waits = []
    now = 0.0
    for _ in range(5):
        now = breaker.open_until
        breaker.probe_succeeded()
        breaker.start()
        breaker.fail(failure(), now)
        waits.append(breaker.open_until - now)
    assert waits == [10, 20, 40, 40, 40]


def test_a_client_that_leaves_during_the_trial_frees_it_for_another() -> None:
    breaker = opened()
    breaker.probe_succeeded()
    breaker.start()
    breaker.abandon()
    assert breaker.admits(6)


def test_a_failed_probe_keeps_it_open_for_longer() -> None:
    breaker = opened()
    breaker.probe_failed(failure(FailureKind.UNREACHABLE), 5)
    assert breaker.state is BreakerState.OPEN
    assert breaker.open_until == 15


def test_disabled_it_never_opens() -> None:
    breaker = Breaker(Rule(enabled=False))
    for _ in range(100):
        breaker.fail(failure(), 0)
    assert breaker.admits(0)


def test_reset_closes_it_by_hand() -> None:
    breaker = opened()
    breaker.fail(failure(FailureKind.RATE_LIMITED, retry_after_s=30), 0)
    breaker.reset()
    assert breaker.admits(0)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["succeed", "start", "abandon", "probe", "probe_failed"]),
            st.sampled_from(list(FailureKind)),
        ),
        max_size=60,
    )
)
def test_never_two_trials_at_once_and_open_admits_nobody(steps: list[str]) -> None:
    breaker = Breaker(RULE)
    now = 0.0
    for step in steps:
        now += 1.0
        if isinstance(step, FailureKind):
            breaker.fail(failure(step), now)
        elif step == "succeed":
            breaker.succeed(now)
        elif step == "abandon":
            breaker.abandon()
        elif step == "probe":
            breaker.probe_succeeded()
        elif step == "probe_failed":
            breaker.probe_failed(failure(), now)
        elif breaker.admits(now) and breaker.start():
            assert breaker.state is BreakerState.HALF_OPEN
            assert not breaker.admits(now)
        if breaker.state is BreakerState.OPEN:
            assert not breaker.admits(now + 10_000)


def test_it_says_to_wait_whenever_it_admits_nobody() -> None:
    breaker = opened(now=100)
    assert breaker.wait_s(101) == 4
    assert breaker.wait_s(106) > 0  # its time is over, the probe is still out
    breaker.probe_succeeded()
    assert breaker.wait_s(106) == 0
    breaker.start()
    assert breaker.wait_s(106) > 0  # somebody else's trial is under way
    breaker.succeed(107)
    assert breaker.wait_s(107) == 0

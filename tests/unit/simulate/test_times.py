"""What an engine notes of its own sending."""

from __future__ import annotations

import asyncio

from fairlead.simulate.times import TimesBook


def test_a_token_counts_as_sent_when_the_loop_has_had_its_turn() -> None:
    async def main() -> tuple[list[float], list[float], float]:
        times = TimesBook(1).begin("req_1")
        assert times is not None
        times.sent()
        before = list(times.sent_at)
        await asyncio.sleep(0)
        return before, times.sent_at, times.received_at

    before, after, received_at = asyncio.run(main())
    assert before == []
    assert len(after) == 1
    assert after[0] >= received_at


def test_only_the_latest_answers_are_kept() -> None:
    book = TimesBook(3)
    for number in range(10):
        book.begin(str(number))

    assert [one.id for one in book.listed()] == ["7", "8", "9"]


def test_none_are_kept_unless_asked_for() -> None:
    book = TimesBook(0)

    assert book.begin("1") is None
    assert book.listed() == []

"""Faults as data."""

import pytest

from fairlead.errors import InvalidRequest
from fairlead.simulate.faults import Fault, FaultBook, from_fields, parse


def test_a_name_alone_is_a_fault() -> None:
    assert parse("empty_stream") == Fault(name="empty_stream")


def test_fields_are_read_and_typed() -> None:
    fault = parse("cut; at=event ;after=3;model=m;probability=0.5;count=2")
    assert fault == Fault(name="cut", at="event", after=3, model="m", probability=0.5, count=2)


def test_status_takes_headers_and_a_body() -> None:
    fault = parse("status;status=429;header.Retry-After=7;body=slow down")
    assert (fault.status, fault.body) == (429, "slow down")
    assert fault.header_block == b"retry-after: 7\r\n"


def test_flap_is_another_fault_that_comes_and_goes() -> None:
    assert parse("flap") == Fault(name="refuse", on=2.0, off=2.0)
    fault = parse("flap;as=stall;on=1;off=3")
    assert fault.name == "stall"
    assert [fault.active(age) for age in (0.0, 0.9, 1.0, 3.9, 4.0)] == [True, True, False, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "", "explode", "cut;after=-1", "cut;after=x", "cut;nope=1", "cut;after", "status;status=42",
        "stall;on=1", "status;header.a b=c", "status;header.a=b\r\nc: d", "slow;rate=0", "slow;rate=nan",
    ],
)  # fmt: skip
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(text)


def test_an_object_is_typed_strictly() -> None:
    assert from_fields({"name": "cut", "after": 2}).after == 2
    with pytest.raises(InvalidRequest):
        from_fields({"name": "cut", "after": "2"})
    with pytest.raises(InvalidRequest):
        from_fields(["cut"])


def test_only_no_finish_waits_for_all_tokens_by_default() -> None:
    assert parse("cut").tokens == 1
    assert parse("no_finish").tokens is None
    assert parse("no_finish;after=0").tokens == 0


def test_the_latest_fault_that_applies_wins() -> None:
    book = FaultBook()
    book.install(parse("status;status=500"), now=0.0)
    book.install(parse("cut;model=other"), now=0.0)
    chosen = book.choose("mine", now=1.0, roll=0.0)
    assert chosen is not None
    assert chosen.name == "status"
    chosen = book.choose("other", now=1.0, roll=0.0)
    assert chosen is not None
    assert chosen.name == "cut"


def test_a_count_is_used_up() -> None:
    book = FaultBook()
    book.install(parse("html;count=2"), now=0.0)
    hits = [book.choose("m", now=1.0, roll=0.0) is not None for _ in range(3)]
    assert hits == [True, True, False]
    assert not book.listed(2.0)[0].active


def test_probability_compares_with_the_roll() -> None:
    book = FaultBook()
    book.install(parse("html;probability=0.25"), now=0.0)
    assert book.choose("m", now=0.0, roll=0.24) is not None
    assert book.choose("m", now=0.0, roll=0.25) is None
    assert book.listed(0.0)[0].hits == 1


def test_faults_are_removed_one_or_all() -> None:
    book = FaultBook()
    first = book.install(parse("html"), now=0.0)
    book.install(parse("cut"), now=0.0)
    assert book.remove(first) == 1
    assert [item.fault.name for item in book.listed(0.0)] == ["cut"]
    assert book.remove(99) == 0
    assert book.remove() == 1
    assert book.listed(0.0) == []


def test_only_a_refusal_for_everybody_closes_the_door() -> None:
    book = FaultBook()
    book.install(parse("refuse;model=m"), now=0.0)
    assert not book.may_refuse
    book.install(parse("flap;on=1;off=1"), now=10.0)
    assert book.may_refuse
    assert [book.refusing(at) for at in (10.0, 10.9, 11.0, 12.0)] == [True, True, False, True]

"""Guards: what differs in substance is told apart, in several languages, and what does not is let pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.semantic.guards import GUARDS, disagreements, facts_of
from fairlead.cache.semantic.text import difference, taken_apart


def guards(one: str, other: str) -> tuple[str, ...]:
    ours, theirs = taken_apart(one), taken_apart(other)
    return disagreements(facts_of(ours), facts_of(theirs), difference(ours, theirs))


DIFFERENT = [
    ("numbers", "Convert 5 miles to metres", "Convert 50 miles to metres"),
    ("numbers", "between 5 and 10", "between 10 and 5"),
    ("numbers", "pi to 3.1 digits", "pi to 3.14 digits"),
    ("numbers", "is -5 a root?", "is 5 a root?"),
    ("numbers", "two tickets please", "three tickets please"),
    ("numbers", "\u0663 \u0643\u062a\u0628", "\u0665 \u0643\u062a\u0628"),
    ("numbers", "1.000 Euro", "1 Euro"),
    ("numbers", "\u4e09\u4e2a\u82f9\u679c", "\u4e94\u4e2a\u82f9\u679c"),
    ("units", "how much is 5 kg", "how much is 5 lb"),
    ("units", "a timer of 5 min", "a timer of 5 h"),
    ("units", "20 \u00b0C outside", "20 \u00b0F outside"),
    ("units", "costs 20 $ now", "costs 20 \u20ac now"),
    ("units", "the distance in miles", "the distance in kilometres"),
    ("dates", "weather today", "weather tomorrow"),
    ("dates", "open on monday?", "open on tuesday?"),
    ("dates", "das Wetter heute", "das Wetter morgen"),
    ("negation", "foods that are safe", "foods that are not safe"),
    ("negation", "why does it work", "why doesn't it work"),
    ("negation", "Kann ich das essen", "Kann ich das nicht essen"),
    ("negation", "puis-je manger cela", "puis-je manger cela sans danger"),
    ("negation", "\u8fd9\u4e2a\u80fd\u5403", "\u8fd9\u4e2a\u4e0d\u80fd\u5403"),
    (
        "negation",
        "\u044d\u0442\u043e \u0435\u0434\u044f\u0442",
        "\u044d\u0442\u043e \u043d\u0435 \u0435\u0434\u044f\u0442",
    ),
    ("opposites", "how to enable it", "how to disable it"),
    ("opposites", "turn on the light", "turn off the light"),
    ("opposites", "a mutable list", "an immutable list"),
    ("opposites", "install the package", "uninstall the package"),
    ("opposites", "licht einschalten", "licht ausschalten"),
    ("opposites", "comment activer le wifi", "comment d\u00e9sactiver le wifi"),
    ("opposites", "sort in python", "sort in rust"),
    ("opposites", "when did it happen", "where did it happen"),
    ("comparatives", "who earns more than him", "who earns less than him"),
    ("comparatives", "x >= y holds", "x <= y holds"),
    ("comparatives", "delete all of it", "delete some of it"),
    ("entities", "the capital of France", "the capital of Spain"),
    ("entities", "flights from Oslo to Rome", "flights from Rome to Oslo"),
    ("entities", "what is NATO", "what is UNESCO"),
    ("entities", 'define "cat"', 'define "dog"'),
    ("code", "what does `a.pop()` do", "what does `a.push()` do"),
    ("code", "run it with --force", "run it with --dry-run"),
    ("code", "open main.py", "open util.py"),
    ("code", "call getUser first", "call getUsers first"),
    ("code", "explain user_id", "explain user_ids"),
    ("code", "hash it with sha256", "hash it with sha512"),
    ("code", "mail ann@example.com", "mail bob@example.com"),
]
SAME = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("What is the capital of France?", "France: what's its capital?"),
    ("Tell me the weather in Paris today", "today's weather in Paris"),
    ("5km in miles", "5 km in miles"),
    ("costs 1,000 dollars", "costs 1000 dollars"),
    ("a 2.50 discount", "a 2.5 discount"),
    ("two eggs", "2 eggs"),
    ("May I eat it?", "Is it fine if I eat it?"),
    ("In which year did it begin?", "When did it begin?"),
    ("Wie setze ich mein Passwort zur\u00fcck?", "Wie kann ich mein Passwort zur\u00fccksetzen?"),
    ("\u5982\u4f55\u542f\u7528\u901a\u77e5", "\u600e\u4e48\u542f\u7528\u901a\u77e5"),
    ("", ""),
]


@pytest.mark.parametrize(("guard", "one", "other"), DIFFERENT)
def test_a_guard_sees_the_difference(guard: str, one: str, other: str) -> None:
    assert guard in guards(one, other)
    assert guard in guards(other, one)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_paraphrase_passes(one: str, other: str) -> None:
    assert guards(one, other) == ()


WORDS = st.sampled_from(
    [
        "how",
        "do",
        "not",
        "5",
        "7.5",
        "km",
        "Paris",
        "Rome",
        "enable",
        "disable",
        "`x`",
        "today",
        "more",
        "all",
        "f(x)",
        "a_b",
        "1,000",
        "$",
        "不",
        "-3",
    ]
)
texts = st.lists(WORDS, max_size=10).map(" ".join) | st.text(max_size=60)


@given(texts)
def test_a_text_agrees_with_itself(text: str) -> None:
    assert guards(text, text) == ()


@given(texts, texts)
def test_order_does_not_matter(one: str, other: str) -> None:
    assert guards(one, other) == guards(other, one)
    assert set(guards(one, other)) <= set(GUARDS)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_agree_when_they_are_equal(one: int, other: int) -> None:
    assert ("numbers" in guards(f"take {one} of it", f"take {other} of it")) == (one != other)
    assert guards(f"take {one} of it", f"take {one:,} of it") == ()


@given(
    st.text(max_size=40), st.sampled_from(["not", "nicht", "never", "pas", "\u043d\u0435", "\u4e0d", "sin"])
)
def test_a_negator_more_is_always_seen(text: str, negator: str) -> None:
    assert guards(text, f"{text} {negator} ") != ()


@pytest.mark.parametrize("text", ["a" * 4000, "a." * 90, "-" * 4000, "`" * 4000, "A1" * 2000, '"a' * 150])
def test_odd_texts_take_no_time(text: str) -> None:
    assert guards(text, text) == ()


def test_a_long_text_agrees_with_nothing() -> None:
    assert guards("word " * 400, "word " * 400) == ("length",)

"""Composing a tree: places, duplicates, merges and bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import tree


def root(text: str) -> tree.Node:
    node, problems = tree.read(text)
    assert problems == []
    assert node is not None
    return node


def mapping(text: str) -> tree.Mapping:
    node = root(text)
    assert isinstance(node, tree.Mapping)
    return node


def refusal(text: str) -> tree.Problem:
    with pytest.raises(tree.Unreadable) as caught:
        tree.read(text)
    return caught.value.problem


def scalar(node: tree.Node) -> tree.Scalar:
    assert isinstance(node, tree.Scalar)
    return node


def test_scalars_keep_their_text_and_place() -> None:
    entries = mapping('a: on\nb:\n  - 2024-10-21\n  - "8080"\n').entries
    assert scalar(entries["a"][1]) == tree.Scalar(text="on", plain=True, line=1, column=4)
    assert isinstance(entries["b"][1], tree.Sequence)
    first, second = entries["b"][1].items
    assert scalar(first) == tree.Scalar(text="2024-10-21", plain=True, line=3, column=5)
    assert scalar(second) == tree.Scalar(text="8080", plain=False, line=4, column=5)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n...\n"])
def test_an_empty_text_has_no_values(text: str) -> None:
    node, problems = tree.read(text)
    assert problems == []
    assert node is None or scalar(node).text == ""


def test_a_byte_order_mark_is_no_content() -> None:
    assert list(mapping("\ufeffa: 1").entries) == ["a"]


def test_a_key_given_twice_is_a_problem_with_both_places() -> None:
    _, problems = tree.read("a: 1\nb: 2\na: 3\n")
    assert [(problem.line, problem.message) for problem in problems] == [
        (3, "`a` is given twice; first in line 1")
    ]


def test_keys_are_compared_by_their_text() -> None:
    assert list(mapping("1: a\n1.0: b\non: c\n").entries) == ["1", "1.0", "on"]


def test_an_alias_is_the_anchored_node_itself() -> None:
    entries = mapping("a: &x {k: v}\nb: *x\n").entries
    assert entries["a"][1] is entries["b"][1]


def test_a_merge_adds_entries_and_own_ones_win() -> None:
    entries = mapping("base: &x {k: 1, l: 2}\nown: {k: 3, <<: *x}\n").entries
    own = entries["own"][1]
    assert isinstance(own, tree.Mapping)
    assert {key: scalar(value).text for key, (_, value) in own.entries.items()} == {"k": "3", "l": "2"}


def test_of_merged_mappings_the_first_wins() -> None:
    entries = mapping("a: &a {k: 1}\nb: &b {k: 2, l: 3}\nown: {<<: [*a, *b]}\n").entries
    own = entries["own"][1]
    assert isinstance(own, tree.Mapping)
    assert {key: scalar(value).text for key, (_, value) in own.entries.items()} == {"k": "1", "l": "3"}


def test_a_quoted_merge_sign_is_an_ordinary_key() -> None:
    assert list(mapping('"<<": 1').entries) == ["<<"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: b: c", 1, "not YAML"),
        ("a: [1}", 1, "not YAML"),
        ("a: *nowhere", 1, "no anchor `&nowhere`"),
        ("a: &x [*x]", 1, "no anchor `&x`"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("a: !!python/object:os.system {}", 1, "the tag"),
        ("a: !secret x", 1, "the tag"),
        ("[" * 100 + "]" * 100, 1, "nested more than"),
    ],
)
def test_what_is_not_accepted_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    problem = refusal(text)
    assert problem.line == line
    assert message in problem.message


def test_tabs_for_indentation_get_a_hint() -> None:
    assert refusal("a:\n\tb: 1").hint == "indent with spaces, not tabs"


def test_deep_nesting_is_refused_without_exhausting_the_stack() -> None:
    assert "nested" in refusal("[" * 100_000).message


def test_a_file_that_is_too_large_is_not_parsed() -> None:
    assert "larger than 4 MiB" in refusal(" " * (tree.MAX_BYTES + 1)).message


def test_merging_over_and_over_is_bounded() -> None:
    base = ", ".join(f"k{n}: 1" for n in range(600))
    merges = "".join(f"m{n}: {{<<: *x}}\n" for n in range(100))
    assert "merges add up" in refusal(f"x: &x {{{base}}}\n{merges}").message


def test_characters_that_may_not_stand_in_a_file_are_refused() -> None:
    assert "not YAML" in refusal("a: \x00").message
    assert "not YAML" in refusal("a: \x1b[2J").message


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*<>|#'\"!%@`\n\t ~?,0.\\é\ufeff\x85"), max_size=60))
def test_any_text_is_a_tree_or_refused(text: str) -> None:
    try:
        node, problems = tree.read(text)
    except tree.Unreadable:
        return
    assert node is None or node.line >= 1
    assert all(problem.line >= 1 for problem in problems)

"""The token rule."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.simulate.tokens import block_hashes, count, token_id, tokenize


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    tokens = tokenize(text)
    assert "".join(tokens) == text
    assert count(text) == len(tokens)
    assert all(tokens)


def test_a_token_is_about_four_characters_of_english() -> None:
    text = "Continuous batching lets an engine decode many sequences together, token by token."
    assert 3.0 < len(text) / count(text) < 5.0


def test_words_split_with_the_space_before_them() -> None:
    assert tokenize("Hello, wonderful  world!") == ["Hello", ",", " wonde", "rful", "  ", "world", "!"]


def test_token_ids_are_stable() -> None:
    assert token_id(" the") == token_id(" the")
    assert token_id(" the") != token_id(" a")


@given(st.lists(st.text(min_size=1, max_size=3), max_size=70), st.lists(st.text(min_size=1), max_size=10))
def test_a_longer_prompt_shares_the_blocks_of_its_beginning(start: list[str], more: list[str]) -> None:
    short, long = block_hashes(start, 16), block_hashes(start + more, 16)
    assert len(short) == len(start) // 16
    assert long[: len(short)] == short


def test_blocks_are_chained_to_what_came_before() -> None:
    same = ["b"] * 16
    assert block_hashes(["a"] * 16 + same, 16)[1] != block_hashes(["c"] * 16 + same, 16)[1]

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.vault.ref import Ref, check_file_path, parse_ref

SEGMENT = st.from_regex(r"[a-z0-9]([a-z0-9_-]|\.(?=[a-z0-9_-])){0,20}", fullmatch=True)


@given(SEGMENT, st.lists(SEGMENT, min_size=1, max_size=4), SEGMENT)
def test_a_reference_is_read_back_as_it_was_written(tenant: str, name: list[str], version: str) -> None:
    ref = Ref(tenant=tenant, name="/".join(name), version=version)

    assert parse_ref(str(ref)) == ref


@given(st.text(max_size=60))
def test_whatever_parses_has_exactly_one_spelling(text: str) -> None:
    for candidate in (text, f"vault://{text}", f"vault://a/{text}@1"):
        try:
            ref = parse_ref(candidate)
        except InvalidRequest:
            continue
        assert str(ref) == candidate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vault://",
        "vault://acme/fraud",
        "vault://acme@1",
        "vault:///fraud@1",
        "vault://acme/@1",
        "vault://acme/fraud@",
        "VAULT://acme/fraud@1",
        "https://acme/fraud@1",
        "vault://acme/../fraud@1",
        "vault://acme/fraud/..@1",
        "vault://acme/fraud/%2e%2e@1",
        "vault://acme/fraud%40@1",
        "vault://acme/./fraud@1",
        "vault://acme//fraud@1",
        "vault://acme/fraud/@1",
        "vault://acme/fraud.@1",
        "vault://acme/fra..ud@1",
        "vault://acme/Fraud@1",
        "vault://acme/fraud@V1",
        "vault://acme/fraud@1/2",
        "vault://acme/fraud@1@2",
        "vault://acme/fraud@1#x",
        "vault://acme/fraud@1?x=y",
        "vault://acme/fraud @1",
        "vault://acme/fraud@1\n",
        "vault://acme/fra\x00ud@1",
        "vault://acme/frau\u0434@1",
        "vault://acme/cafe\u0301@1",
        "vault://acme/caf\u00e9@1",
        "vault://ac..me/fraud@1",
        "vault://acme/" + "a" * 129 + "@1",
        "vault://acme/" + "/".join(["a" * 100] * 6) + "@1",
        "vault://" + "a" * 64 + "/fraud@1",
    ],
)
def test_every_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_ref(text)


def test_a_refusal_shows_no_control_characters_and_stays_on_one_line() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_ref("vault://a\x1b[31m\n" + "x" * 1000)

    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 150


@pytest.mark.parametrize(
    "path",
    [
        "config.json",
        "model-00001-of-00002.safetensors",
        "tokenizer/README.md",
        ".gitattributes",
        "caf\u00e9.txt",
    ],
)
def test_paths_of_real_model_folders_are_taken(path: str) -> None:
    assert check_file_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "./a",
        "a\\b",
        "c:evil",
        "a\nb",
        "a\x00b",
        "a\u202eb",
        "a\u200bb",
        "cafe\u0301.txt",
        "a.",
        "a ",
        " a",
        "a/b. ",
        "a?",
        "a*b",
        "a|b",
        "\ud800",
        "x" * 256,
        "x/" * 600 + "x",
        "/".join("x" * 33),
    ],
)
def test_paths_that_could_leave_the_folder_or_mean_two_things_are_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        check_file_path(path)

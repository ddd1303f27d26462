"""The question of a request: its last user text, and a fingerprint of everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.made import config, space

from fairlead.cache.key import Spaces, read
from fairlead.cache.semantic.question import Question, question_of

TURN = {"role": "user", "content": "How?"}


def asked(fields: dict[str, Any], api: str = "chat", tenant: str = "acme", **more: Any) -> Question | str:
    request = read(api, json.dumps({"model": "gpt", "temperature": 0, **fields}).encode())
    assert request is not None
    return question_of(request, space(tenant), more.pop("embedder", "e"), max_temperature=0.3, **more)


def mark(fields: dict[str, Any], api: str = "chat", **more: Any) -> bytes:
    found = asked(fields, api, **more)
    assert isinstance(found, Question)
    return found.fingerprint


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("chat", {"messages": [{"role": "system", "content": "s"}, TURN]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "How?"}]}]}),
        ("messages", {"system": "s", "max_tokens": 9, "messages": [TURN]}),
        ("responses", {"input": "How?"}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "How?"}]}]}),
        ("completions", {"prompt": "How?"}),
    ],
)
def test_only_the_last_user_text_may_differ(api: str, fields: dict[str, Any]) -> None:
    found = asked(fields, api)
    assert isinstance(found, Question)
    assert found.text == "How?"
    other = json.loads(json.dumps(fields).replace("How?", "In which way?"))
    assert mark(other, api) == found.fingerprint
    assert mark({**fields, "seed": 1}, api) != found.fingerprint
    assert mark(fields, api, tenant="globex") != found.fingerprint
    assert mark(fields, api, embedder="f") != found.fingerprint
    assert mark(fields, api, headers=b"openai-beta:x\n") != found.fingerprint


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"messages": [TURN], "temperature": 0.31}, "temperature"),
        ({"messages": [TURN], "temperature": None}, "temperature"),
        ({"messages": [TURN], "temperature": "0"}, "temperature"),
        ({"messages": [TURN], "n": 2}, "choices"),
        ({"messages": [TURN], "n": "1"}, "choices"),
        ({"messages": [TURN, {"role": "assistant", "content": "So."}]}, "no_text"),
        ({"messages": [TURN, {"role": "tool", "tool_call_id": "1", "content": "5"}]}, "no_text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}]}, "no_text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "no_text"),
        ({"messages": [{"role": "user", "content": "  "}]}, "no_text"),
        ({"messages": "How?"}, "no_text"),
        ({"messages": []}, "no_text"),
        ({}, "no_text"),
        ({"messages": [{"role": "user", "content": "x" * 4001}]}, "length"),
    ],
)
def test_what_is_not_compared_says_why(fields: dict[str, Any], reason: str) -> None:
    assert asked(fields) == reason


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CONTEXTS = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["acme", "globex", "initech"]),
        "model": st.sampled_from(["gpt", "other", "joint", "open"]),
        "system": TEXTS,
        "history": st.lists(st.tuples(TEXTS, TEXTS), max_size=2),
        "tools": st.lists(TEXTS, max_size=1),
        "top_p": st.sampled_from([None, 0, 0.5]),
    }
)


def scope_of(context: dict[str, Any]) -> str:
    if context["model"] == "open":
        return "public"
    if context["model"] == "joint" and context["tenant"] in ("acme", "globex"):
        return "ours"
    return str(context["tenant"])


@given(one=CONTEXTS, other=CONTEXTS, texts=st.tuples(TEXTS, TEXTS))
def test_two_requests_meet_when_all_but_their_text_is_the_same_and_never_across_scopes(
    one: dict[str, Any], other: dict[str, Any], texts: tuple[str, str]
) -> None:
    spaces = Spaces(config())

    def question(context: dict[str, Any], text: str) -> bytes:
        messages = [{"role": "system", "content": context["system"]}]
        for said, replied in context["history"]:
            messages += [{"role": "user", "content": said}, {"role": "assistant", "content": replied}]
        messages.append({"role": "user", "content": f"q{text}"})
        fields: dict[str, Any] = {"model": context["model"], "temperature": 0, "messages": messages}
        if context["tools"]:
            fields["tools"] = [{"type": "function", "function": {"name": context["tools"][0]}}]
        if context["top_p"] is not None:
            fields["top_p"] = context["top_p"]
        request = read("chat", json.dumps(fields).encode())
        where = spaces.of(context["model"], context["tenant"])
        assert request is not None
        assert where is not None
        found = question_of(request, where, "e", max_temperature=0.3)
        assert isinstance(found, Question)
        return found.fingerprint

    rest = {name: one[name] == other[name] for name in one if name != "tenant"}
    same = all(rest.values()) and scope_of(one) == scope_of(other)
    assert (question(one, texts[0]) == question(other, texts[1])) == same

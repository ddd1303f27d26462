"""What each upstream dialect can carry, feature by feature: it works, or it is refused by name with a 400.

Nothing is dropped in silence: where a field changes nothing, the answer's
`x-fairlead-ignored` header names it (`ignored:NAME` below).
"""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.clients.conftest import UPSTREAMS
from tests.e2e.clients.test_openai_chat import CLOCK, PIXEL, WEATHER

WORKS = "works"
PDF = "data:application/pdf;base64,JVBERi0xLjQ="
WAV = "UklGRiQAAABXQVZF"

Row = tuple[str, dict[str, Any], tuple[str, ...]]


def user(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*content, {"type": "text", "text": "Hello"}]}]


# Feature, fields of a chat completion, and for openai, engine, anthropic, gemini, bedrock:
# works, `ignored:` and what the header says, or the refused field.
CHAT: list[Row] = [
    ("temperature", {"temperature": 0.5}, (WORKS, WORKS, WORKS, WORKS, WORKS)),
    ("hot", {"temperature": 1.5}, (WORKS, WORKS, "temperature", WORKS, "temperature")),
    ("several answers", {"n": 2}, (WORKS, WORKS, "n", WORKS, "n")),
    ("seed", {"seed": 7}, (WORKS, WORKS, "seed", WORKS, "seed")),
    ("penalty", {"presence_penalty": 0.5}, (WORKS, WORKS, "presence_penalty", WORKS, "presence_penalty")),
    (
        "other penalty",
        {"frequency_penalty": 0.5},
        (WORKS, WORKS, "frequency_penalty", WORKS, "frequency_penalty"),
    ),
    ("no penalty", {"presence_penalty": 0}, (WORKS, WORKS, WORKS, WORKS, WORKS)),
    ("log probabilities", {"logprobs": True}, (WORKS, WORKS, "logprobs", "logprobs", "logprobs")),
    ("biases", {"logit_bias": {"7": 1}}, (WORKS, WORKS, "logit_bias", "logit_bias", "logit_bias")),
    (
        "an engine's own option",
        {"min_p": 0.1},
        (WORKS, WORKS, "min_p", "min_p", "min_p"),
    ),
    ("a future option", {"future": 1}, (WORKS, WORKS, "future", "future", "future")),
    ("stored", {"store": True}, (WORKS, WORKS, "store", "store", "store")),
    (
        "not stored",
        {"store": False},
        (WORKS, WORKS, "ignored:store", "ignored:store", "ignored:store"),
    ),
    (
        "metadata",
        {"metadata": {"a": "b"}},
        (WORKS, WORKS, "ignored:metadata", "ignored:metadata", "ignored:metadata"),
    ),
    ("user", {"user": "u-1"}, (WORKS, WORKS, WORKS, "ignored:user", "ignored:user")),
    (
        "JSON without a schema",
        {"response_format": {"type": "json_object"}},
        (WORKS, WORKS, "response_format", WORKS, "response_format"),
    ),
    (
        "one call at a time of one tool",
        {"tools": [CLOCK], "parallel_tool_calls": False},
        (WORKS, WORKS, WORKS, "ignored:parallel_tool_calls", "ignored:parallel_tool_calls"),
    ),
    (
        "one call at a time of several",
        {"tools": [WEATHER, CLOCK], "parallel_tool_calls": False},
        (WORKS, WORKS, WORKS, "parallel_tool_calls", "parallel_tool_calls"),
    ),
    ("no tools now", {"tools": [CLOCK], "tool_choice": "none"}, (WORKS, WORKS, WORKS, WORKS, WORKS)),
    (
        "image as data",
        {"messages": user({"type": "image_url", "image_url": {"url": PIXEL}})},
        (WORKS, WORKS, WORKS, WORKS, WORKS),
    ),
    (
        "image by URL",
        {"messages": user({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})},
        (WORKS, WORKS, WORKS, "messages", "messages"),
    ),
    (
        "document as data",
        {"messages": user({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}})},
        (WORKS, WORKS, WORKS, WORKS, WORKS),
    ),
    (
        "document by OpenAI's id",
        {"messages": user({"type": "file", "file": {"file_id": "file-1"}})},
        (WORKS, WORKS, "messages", "messages", "messages"),
    ),
    (
        "audio",
        {"messages": user({"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}})},
        (WORKS, WORKS, "messages", WORKS, WORKS),
    ),
    (
        "a participant's name",
        {"messages": [{"role": "user", "name": "ann", "content": "Hello"}]},
        (WORKS, WORKS, "messages.name", "messages.name", "messages.name"),
    ),
    ("tier", {"service_tier": "flex"}, (WORKS, WORKS, "service_tier", WORKS, WORKS)),
    (
        "spoken answers",
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        (WORKS, WORKS, "audio", "audio", "audio"),
    ),
]

# The same for the Responses API at those that do not have it themselves.
RESPONSES: list[Row] = [
    ("state", {"previous_response_id": "resp_1"}, ("previous_response_id",) * 4),
    ("stored", {"store": True}, ("store",) * 4),
    ("in the background", {"background": True}, ("background",) * 4),
    ("OpenAI's own tools", {"tools": [{"type": "web_search"}]}, ("tools[0].type",) * 4),
    ("cut by the server", {"truncation": "auto"}, ("truncation",) * 4),
    (
        "reference",
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        ("input[0].type",) * 4,
    ),
    ("verbosity", {"text": {"verbosity": "low"}}, (WORKS, *["verbosity"] * 3)),
]

COMPLETIONS: list[Row] = [
    ("several prompts", {"prompt": ["One", "Two"]}, (WORKS, WORKS, *["prompt"] * 3)),
    ("token ids", {"prompt": [1, 2, 3]}, (WORKS, WORKS, *["prompt"] * 3)),
    ("echo", {"echo": True}, (WORKS, WORKS, *["echo"] * 3)),
    ("suffix", {"suffix": "!"}, (WORKS, WORKS, *["suffix"] * 3)),
    ("log probabilities", {"logprobs": 1}, (WORKS, WORKS, *["logprobs"] * 3)),
    ("best of", {"best_of": 2}, (WORKS, WORKS, *["best_of"] * 3)),
]

MESSAGES: list[Row] = [
    ("top_k", {"top_k": 5}, ("top_k", WORKS, WORKS, WORKS, WORKS)),
    (
        "cache control",
        {
            "system": [
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            ]
        },
        ("ignored:cache_control", "ignored:cache_control", WORKS, WORKS, WORKS),
    ),
    (
        "one call at a time of several tools",
        {
            "tools": [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "b")],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
        (WORKS, WORKS, WORKS, "parallel_tool_calls", "parallel_tool_calls"),
    ),
    (
        "Anthropic's own tools",
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        ("tools.0.type", "tools.0.type", WORKS, "tools.0.type", "tools.0.type"),
    ),
    (
        "MCP servers",
        {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]},
        ("mcp_servers", "mcp_servers", WORKS, "mcp_servers", "mcp_servers"),
    ),
    (
        "image by URL",
        {
            "messages": user(
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            )
        },
        (WORKS, WORKS, WORKS, "messages", "messages"),
    ),
    (
        "a file by id",
        {"messages": user({"type": "document", "source": {"type": "file", "file_id": "file_1"}})},
        (WORKS, WORKS, WORKS, "messages", "messages"),
    ),
]


def cases(rows: list[Row], upstreams: tuple[str, ...] = UPSTREAMS) -> list[Any]:
    return [
        pytest.param(fields, model, outcome, id=f"{name}-{model}")
        for name, fields, expected in rows
        for model, outcome in zip(upstreams, expected, strict=True)
    ]


def judge(raw: Any, expected: str) -> None:
    """An answer, whole and with the header that names what was left out."""
    ignored = raw.headers.get("x-fairlead-ignored", "")
    assert expected == (f"ignored:{ignored}" if ignored else WORKS)


def assert_refused(error: openai.BadRequestError, expected: str) -> None:
    assert error.status_code == 400
    assert error.param == expected
    assert expected.rpartition(".")[2].partition("[")[0] in error.message
    assert error.code == "unsupported_by_target"


@pytest.mark.parametrize(("fields", "model", "expected"), cases(CHAT))
def test_chat(openai_client: openai.OpenAI, fields: dict[str, Any], model: str, expected: str) -> None:
    asked = {"model": model, "messages": user(), "max_completion_tokens": 20, **fields}
    create = openai_client.chat.completions.with_raw_response.create
    if expected == WORKS or expected.startswith("ignored:"):
        raw = create(**arguments(asked))
        judge(raw, expected)
        assert raw.parse().choices
        return
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            create(**arguments({**asked, "stream": stream}))
        assert_refused(caught.value, expected)


@pytest.mark.parametrize(("fields", "model", "expected"), cases(RESPONSES, UPSTREAMS[1:]))
def test_responses(openai_client: openai.OpenAI, fields: dict[str, Any], model: str, expected: str) -> None:
    asked = {"model": model, "input": "Hello", **fields}
    if expected == WORKS:
        assert openai_client.responses.create(**asked).output_text
        return
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.responses.create(**asked)
    assert_refused(caught.value, expected)


@pytest.mark.parametrize(("fields", "model", "expected"), cases(COMPLETIONS))
def test_completions(openai_client: openai.OpenAI, fields: dict[str, Any], model: str, expected: str) -> None:
    asked = {"model": model, "prompt": "Hello", "max_tokens": 5, **fields}
    if expected == WORKS:
        assert openai_client.completions.create(**asked).choices
        return
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.completions.create(**asked)
    assert_refused(caught.value, expected)


@pytest.mark.parametrize(("fields", "model", "expected"), cases(MESSAGES))
def test_messages(
    anthropic_client: anthropic.Anthropic, fields: dict[str, Any], model: str, expected: str
) -> None:
    asked = {"max_tokens": 50, "messages": user(), **fields}
    create = anthropic_client.messages.with_raw_response.create
    if expected == WORKS or expected.startswith("ignored:"):
        raw = create(model=model, max_tokens=50, messages=user(), extra_body=asked)  # type: ignore[arg-type]
        judge(raw, expected)
        assert raw.parse().type == "message"
        return
    with pytest.raises(anthropic.BadRequestError) as caught:
        create(model=model, max_tokens=50, messages=user(), extra_body=asked)  # type: ignore[arg-type]
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith(expected)
    assert body["error"]["details"]["error_code"] == "unsupported_by_target"


@pytest.mark.parametrize("path", ["rerank", "moderations", "images/generations", "audio/speech"])
@pytest.mark.parametrize("model", ["anthropic", "gemini", "bedrock"])
def test_endpoints_that_a_dialect_does_not_have(openai_client: openai.OpenAI, path: str, model: str) -> None:
    body = {"model": model, "input": "Hello", "query": "x", "documents": ["y"], "prompt": "z", "voice": "v"}
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.post("/" + path, cast_to=object, body=body)
    name = path.partition("/")[0]
    assert f"`{name}` is not offered by {model} upstreams" in caught.value.message
    assert caught.value.code == "unsupported_by_target"


@pytest.mark.parametrize(
    ("model", "fields", "message", "param"),
    [
        ("anthropic", {}, "`embeddings` is not offered by anthropic upstreams", None),
        ("bedrock", {}, "on Bedrock makes no embeddings", "model"),
        ("gemini", {"input": [[1, 2]]}, "takes texts, not token ids", "input"),
        ("titan", {"input": [[1, 2]]}, "takes texts, not token ids", "input"),
        ("titan", {"input": ["One", "Two"]}, "takes one text a request", "input"),
        ("gemini", {"future": 1}, "has no such option", "future"),
    ],
)
def test_embeddings(
    openai_client: openai.OpenAI, model: str, fields: dict[str, Any], message: str, param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        openai_client.embeddings.create(model=model, input="Hello", extra_body=fields)
    assert caught.value.param == param
    assert caught.value.code == "unsupported_by_target"


def arguments(fields: dict[str, Any]) -> dict[str, Any]:
    """As arguments of the SDK: what it does not know goes in beside them."""
    foreign = {name: fields[name] for name in ("min_p", "future") if name in fields}
    return {**{name: value for name, value in fields.items() if name not in foreign}, "extra_body": foreign}

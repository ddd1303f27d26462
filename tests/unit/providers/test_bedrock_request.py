from __future__ import annotations

import json
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator
from hypothesis import given, settings
from tests.unit.providers import neutral

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.bedrock import BedrockUpstream
from fairlead.providers.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Reasoning,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

USER = Message(role="user", parts=(TextPart(text="hi"),))
TOOL = Tool(name="now")
CLAUDE = "anthropic.claude-opus-5-v1:0"
NOVA = "amazon.nova-pro-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"


def encode(*messages: Message, model: str = CLAUDE, **fields: Any) -> dict[str, Any]:
    request = ChatRequest(model="m", messages=messages or (USER,), **fields)
    found: dict[str, Any] = json.loads(BedrockUpstream().encode(request, model).body)
    return found


@pytest.fixture(scope="module")
def converse() -> Any:
    """AWS's own description of the operation's input."""
    return (
        botocore.session.Session()
        .get_service_model("bedrock-runtime")
        .operation_model("Converse")
        .input_shape
    )


@settings(max_examples=60)
@given(request=neutral.requests)
def test_aws_own_model_accepts_what_we_send(converse: Any, request: ChatRequest) -> None:
    try:
        sent = json.loads(BedrockUpstream().encode(request, CLAUDE).body)
    except UnsupportedByTarget:
        return

    report = ParamValidator().validate({"modelId": CLAUDE, **sent}, converse)

    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        (CLAUDE, False, "/model/anthropic.claude-opus-5-v1%3A0/converse"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/x",
            True,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream",
        ),
    ],
)
def test_path(model: str, stream: bool, path: str) -> None:
    request = ChatRequest(model="m", messages=(USER,), stream=stream)

    assert BedrockUpstream().encode(request, model).path == path


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"seed": 1}, "seed"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"temperature": 1.5}, "temperature"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"tools": (TOOL, TOOL), "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": ResponseFormat(kind="json_object")}, "response_format"),
        ({"model": LLAMA, "top_k": 3}, "top_k"),
        ({"model": LLAMA, "reasoning": Reasoning(budget_tokens=2000)}, "reasoning"),
        ({"model": LLAMA, "reasoning": Reasoning(effort="odd")}, "reasoning_effort"),
        ({"extras": {"logit_bias": msgspec.Raw(b"{}")}}, "logit_bias"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        encode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        ImagePart(url="https://example.com/a.png"),
        ImagePart(data="x", media_type="image/tiff"),
        FilePart(file_id="file-1"),
        FilePart(data="x", media_type="application/zip"),
        AudioPart(data="x", format="midi"),
    ],
)
def test_content_that_cannot_be_carried_is_refused(part: Any) -> None:
    with pytest.raises(UnsupportedByTarget):
        encode(Message(role="user", parts=(part,)))


def test_options_of_single_makers() -> None:
    assert encode(top_k=3, model=NOVA)["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 3}}
    assert encode(reasoning=Reasoning(effort="high"), model="openai.gpt-oss-120b-1:0")["outputConfig"] == {
        "effort": "high"
    }
    claude = encode(top_k=3, reasoning=Reasoning(effort="high"), stop=("a",))
    assert claude["additionalModelRequestFields"] == {"top_k": 3, "thinking": {"type": "adaptive"}}
    assert claude["outputConfig"] == {"effort": "high"}
    assert claude["additionalModelResponseFieldPaths"] == ["/stop_sequence"]


def test_documents_have_plain_and_distinct_names() -> None:
    file = FilePart(filename="../Ünïcode  report.pdf", data="aGk=", media_type="application/pdf")

    blocks = encode(Message(role="user", parts=(file, file, FilePart(text="x"))))["messages"][0]["content"]

    names = [block["document"]["name"] for block in blocks]
    assert names == ["n code report pdf", "n code report pdf (2)", "document"]


def test_s3_and_ids() -> None:
    call = ToolCallPart(id="x" * 80, name="f", arguments="{}")
    sent = encode(
        USER,
        Message(role="assistant", parts=(call,)),
        Message(
            role="user",
            parts=(
                ImagePart(url="s3://b/a.PNG"),
                ToolResultPart(call_id="x" * 80, content=(ImagePart(data="aGk=", media_type="image/jpeg"),)),
            ),
        ),
    )

    result, image = sent["messages"][2]["content"]
    assert image == {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.PNG"}}}}
    assert result["toolResult"]["toolUseId"] == sent["messages"][1]["content"][0]["toolUse"]["toolUseId"]
    assert len(result["toolResult"]["toolUseId"]) <= 64


def test_forbidding_tools() -> None:
    choice = ToolChoice(mode="none")
    call = Message(role="assistant", parts=(ToolCallPart(id="a", name="now", arguments="{}"),))

    assert "toolConfig" not in encode(tools=(TOOL,), tool_choice=choice)
    with pytest.raises(UnsupportedByTarget) as caught:
        encode(USER, call, tools=(TOOL,), tool_choice=choice)
    assert caught.value.param == "tool_choice"


def test_a_schema_travels_as_text() -> None:
    wanted = ResponseFormat(kind="json_schema", name="n", description="d", schema=msgspec.Raw(b'{"a": 1.0}'))

    assert encode(response_format=wanted)["outputConfig"]["textFormat"] == {
        "type": "json_schema",
        "structure": {"jsonSchema": {"schema": '{"a": 1.0}', "name": "n", "description": "d"}},
    }


def test_what_is_left_out_is_listed() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message(
                role="assistant",
                parts=(
                    ReasoningPart(text="x"),
                    ToolCallPart(id="a", name="f", arguments="{}", signature="gemini:s"),
                ),
            ),
            Message(role="user", parts=(ImagePart(data="x", media_type="image/png", detail="low"),)),
            Message(role="user", parts=(TextPart(text="y", cache=neutral.CacheHint()),)),
        ),
        user="u",
        tools=(TOOL,),
        parallel_tool_calls=False,
        advisory={"metadata": msgspec.Raw(b"{}")},
    )

    assert BedrockUpstream().encode(request, LLAMA).ignored == (
        "messages.reasoning",
        "messages.tool_calls.signature",
        "image_url.detail",
        "cache_control",
        "metadata",
        "user",
        "parallel_tool_calls",
    )


def test_arguments_that_are_no_object_are_the_clients_mistake() -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        encode(Message(role="assistant", parts=(ToolCallPart(id="a", name="f", arguments="nope"),)))

"""The Gemini and Bedrock surfaces, read by decoders written for the test."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.simulate.conftest import INSTANT, Served, served

from fairlead.simulate.server import EngineConfig

SCHEMA = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
QUESTION = "Where does the river end?"


@pytest.fixture(scope="module")
def gemini() -> Iterator[Served]:
    with served(EngineConfig(models=("m",), dialect="gemini", latency=INSTANT)) as running:
        yield running


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Served]:
    with served(
        EngineConfig(
            models=("vendor.m-v1:0", "amazon.titan-embed-text-v2:0"), dialect="bedrock", latency=INSTANT
        )
    ) as running:
        yield running


def ask(**fields: object) -> dict[str, object]:
    config = {"temperature": 0, **fields}
    return {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}], "generationConfig": config}


def test_gemini_streams_the_words_of_the_whole_answer(gemini: Served) -> None:
    whole = gemini.request("POST", "/v1beta/models/m:generateContent", ask()).json()
    events = gemini.request("POST", "/v1beta/models/m:streamGenerateContent?alt=sse", ask()).events()
    text = "".join(event["candidates"][0]["content"]["parts"][0]["text"] for event in events)
    assert text == whole["candidates"][0]["content"]["parts"][0]["text"]
    assert [event["candidates"][0].get("finishReason") for event in events[-2:]] == [None, "STOP"]
    usage = whole["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    last = events[-1]["usageMetadata"]
    assert last["candidatesTokenCount"] == usage["candidatesTokenCount"]


def test_gemini_calls_functions_and_thinks(gemini: Served) -> None:
    body = {
        **ask(thinkingConfig={"includeThoughts": True, "thinkingBudget": 100}),
        "tools": [{"functionDeclarations": [{"name": "look", "parameters": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    }
    whole = gemini.request("POST", "/v1beta/models/m:generateContent", body).json()
    thought, call = whole["candidates"][0]["content"]["parts"]
    assert thought["thought"] is True
    assert isinstance(call["functionCall"]["args"]["city"], str)
    assert whole["usageMetadata"]["thoughtsTokenCount"] > 0
    events = gemini.request("POST", "/v1beta/models/m:streamGenerateContent?alt=sse", body).events()
    calls = [
        part["functionCall"]
        for event in events
        for part in event["candidates"][0]["content"]["parts"]
        if "functionCall" in part
    ]
    assert calls == [call["functionCall"]]


def test_gemini_json_length_counting_and_embedding(gemini: Served) -> None:
    body = ask(responseMimeType="application/json", responseSchema=SCHEMA)
    whole = gemini.request("POST", "/v1beta/models/m:generateContent", body).json()
    assert "city" in json.loads(whole["candidates"][0]["content"]["parts"][0]["text"])
    cut = gemini.request("POST", "/v1beta/models/m:generateContent", ask(maxOutputTokens=2)).json()
    assert cut["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert gemini.request("POST", "/v1beta/models/m:countTokens", ask()).json()["totalTokens"] > 3
    embed = {"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 8}
    values = gemini.request("POST", "/v1beta/models/m:embedContent", embed).json()["embedding"]["values"]
    batch = gemini.request("POST", "/v1beta/models/m:batchEmbedContents", {"requests": [embed, embed]}).json()
    assert [entry["values"] for entry in batch["embeddings"]] == [values, values]
    assert len(values) == 8


def test_gemini_errors_and_keys(gemini: Served) -> None:
    missing = gemini.request("POST", "/v1beta/models/none:generateContent", ask())
    assert (missing.status, missing.json()["error"]["status"]) == (404, "NOT_FOUND")
    broken = gemini.request("POST", "/v1beta/models/m:generateContent", {"contents": []})
    assert broken.json()["error"]["status"] == "INVALID_ARGUMENT"
    config = EngineConfig(models=("m",), dialect="gemini", latency=INSTANT, api_key="k")
    with served(config) as locked:
        assert locked.request("GET", "/v1beta/models").status == 401
        assert locked.request("GET", "/v1beta/models?key=k").status == 200
        assert locked.request("GET", "/v1beta/models", headers={"x-goog-api-key": "k"}).status == 200


def frames(data: bytes) -> list[tuple[str, Any]]:
    """Read an AWS event stream, checksums and all."""
    result = []
    while data:
        total, size, checksum = struct.unpack("!III", data[:12])
        assert zlib.crc32(data[:8]) == checksum
        assert zlib.crc32(data[: total - 4]) == struct.unpack("!I", data[total - 4 : total])[0]
        headers, at = {}, 12
        while at < 12 + size:
            length = data[at]
            name = data[at + 1 : at + 1 + length].decode()
            kind, width = struct.unpack("!BH", data[at + 1 + length : at + 4 + length])
            assert kind == 7
            headers[name] = data[at + 4 + length : at + 4 + length + width].decode()
            at += 4 + length + width
        assert headers[":content-type"] == "application/json"
        named = headers.get(":event-type") or headers[":exception-type"]
        assert headers[":message-type"] == ("event" if ":event-type" in headers else "exception")
        result.append((named, json.loads(data[12 + size : total - 4])))
        data = data[total:]
    return result


def turn(**fields: object) -> dict[str, object]:
    messages = [{"role": "user", "content": [{"text": QUESTION}]}]
    return {"messages": messages, "inferenceConfig": {"temperature": 0}, **fields}


def test_bedrock_streams_the_words_of_the_whole_answer(bedrock: Served) -> None:
    whole = bedrock.request("POST", "/model/vendor.m-v1%3A0/converse", turn()).json()
    streamed = bedrock.request("POST", "/model/vendor.m-v1%3A0/converse-stream", turn())
    assert streamed.headers["content-type"] == "application/vnd.amazon.eventstream"
    events = frames(streamed.body)
    text = "".join(event["delta"]["text"] for kind, event in events if kind == "contentBlockDelta")
    assert text == whole["output"]["message"]["content"][0]["text"]
    assert [kind for kind, _ in events[:1] + events[-3:]] == [
        "messageStart", "contentBlockStop", "messageStop", "metadata",
    ]  # fmt: skip
    assert events[-2][1] == {"stopReason": "end_turn"} == {"stopReason": whole["stopReason"]}
    assert events[-1][1]["usage"]["outputTokens"] == whole["usage"]["outputTokens"]


def test_bedrock_uses_tools(bedrock: Served) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    config = {
        "tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": schema}}}],
        "toolChoice": {"any": {}},
    }
    whole = bedrock.request("POST", "/model/vendor.m-v1:0/converse", turn(toolConfig=config)).json()
    use = whole["output"]["message"]["content"][0]["toolUse"]
    assert (whole["stopReason"], use["name"]) == ("tool_use", "look")
    assert isinstance(use["input"]["city"], str)
    streamed = bedrock.request("POST", "/model/vendor.m-v1:0/converse-stream", turn(toolConfig=config))
    events = frames(streamed.body)
    pieces = [event["delta"]["toolUse"]["input"] for kind, event in events if kind == "contentBlockDelta"]
    assert json.loads("".join(pieces)) == use["input"]
    assert dict(events)["contentBlockStart"]["start"]["toolUse"]["toolUseId"] == use["toolUseId"]


def test_bedrock_answers_in_json_that_fits_a_schema(bedrock: Served) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    output = {
        "textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"name": "number", "schema": json.dumps(schema)}},
        }
    }
    whole = bedrock.request("POST", "/model/vendor.m-v1:0/converse", turn(outputConfig=output)).json()
    assert isinstance(json.loads(whole["output"]["message"]["content"][0]["text"])["n"], int)
    output["textFormat"]["structure"] = {"jsonSchema": {"schema": "{"}}
    broken = bedrock.request("POST", "/model/vendor.m-v1:0/converse", turn(outputConfig=output))
    assert (broken.status, broken.headers["x-amzn-errortype"]) == (400, "ValidationException")


def test_bedrock_tells_which_sequence_stopped_it_when_asked(bedrock: Served) -> None:
    asked = turn(
        inferenceConfig={"temperature": 0, "stopSequences": ["river"]},
        additionalModelResponseFieldPaths=["/stop_sequence"],
    )
    whole = bedrock.request("POST", "/model/vendor.m-v1:0/converse", asked).json()
    streamed = bedrock.request("POST", "/model/vendor.m-v1:0/converse-stream", asked)
    expected = {"stopReason": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": "river"}}
    assert {name: whole[name] for name in expected} == expected
    assert dict(frames(streamed.body))["messageStop"] == expected


def test_bedrock_embeds_with_titan_only(bedrock: Served) -> None:
    asked = {"inputText": "The river.", "dimensions": 8}
    answer = bedrock.request("POST", "/model/amazon.titan-embed-text-v2:0/invoke", asked).json()
    assert len(answer["embedding"]) == 8
    assert answer["inputTextTokenCount"] > 0
    assert bedrock.request("POST", "/model/vendor.m-v1:0/invoke", asked).status == 404


def test_bedrock_errors_have_their_type_in_a_header(bedrock: Served) -> None:
    missing = bedrock.request("POST", "/model/none/converse", turn())
    assert (missing.status, missing.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
    fault = {"x-simulate-fault": "error_in_stream;after=1"}
    broken = bedrock.request("POST", "/model/vendor.m-v1:0/converse-stream", turn(), fault)
    assert frames(broken.body)[-1][0] == "modelStreamErrorException"

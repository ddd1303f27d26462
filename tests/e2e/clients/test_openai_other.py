"""The rest of the `openai` SDK: text completions, embeddings, models, files, batches, audio, images, ..."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import httpx2
import openai
import pytest
from tests.e2e.clients.canned import Canned
from tests.e2e.clients.conftest import UPSTREAMS
from tests.e2e.gateway import GatewayProcess

NATIVE = pytest.mark.parametrize("native", ["openai", "engine"])
"""Upstreams that have OpenAI's other endpoints."""


def test_completions(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.completions.create(model=model, prompt="say exactly: Grüße!", max_tokens=50)
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        "Grüße!",
        "stop",
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0

    chunks = list(
        openai_client.completions.create(
            model=model,
            prompt="say exactly: One, two.",
            max_tokens=50,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "One, two."
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [
        "stop"
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None

    short = openai_client.completions.create(model=model, prompt="say exactly: " + "word " * 40)
    if model not in ("openai", "engine"):  # the API's default, where the upstream has none
        assert short.choices[0].finish_reason == "length"


@pytest.mark.parametrize("embedder", ["openai", "engine", "gemini"])
def test_embeddings_in_base64_and_as_floats(openai_client: openai.OpenAI, embedder: str) -> None:
    texts = ["The river ends in the sea.", "The river ends in the sea!", "Quite something else"]
    by_default = openai_client.embeddings.create(model=embedder, input=texts, dimensions=64)
    as_floats = openai_client.embeddings.create(
        model=embedder, input=texts, dimensions=64, encoding_format="float"
    )
    assert [entry.index for entry in by_default.data] == [0, 1, 2]
    for one, other in zip(by_default.data, as_floats.data, strict=True):
        assert len(one.embedding) == 64
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert by_default.usage.total_tokens == by_default.usage.prompt_tokens
    assert by_default.usage.prompt_tokens > 0 or embedder == "gemini", "Gemini does not count"

    raw = openai_client.embeddings.with_raw_response.create(
        model=embedder, input="One.", encoding_format="base64"
    )
    assert isinstance(json.loads(raw.content)["data"][0]["embedding"], str), "base64 stays base64"


@NATIVE
def test_embeddings_of_token_ids(openai_client: openai.OpenAI, native: str) -> None:
    assert len(openai_client.embeddings.create(model=native, input=[[1, 2, 3], [4, 5]]).data) == 2


def test_an_embedding_of_titan(openai_client: openai.OpenAI) -> None:
    answer = openai_client.embeddings.create(model="titan", input="The river.", dimensions=64)
    assert len(answer.data[0].embedding) == 64
    assert answer.usage.prompt_tokens > 0


def test_an_engine_that_answers_in_floats_whatever_was_asked(
    openai_client: openai.OpenAI, canned: Canned
) -> None:
    entry = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
    canned.answer(
        "/v1/embeddings",
        {
            "object": "list",
            "data": [entry],
            "model": "e",
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        },
    )
    raw = openai_client.embeddings.with_raw_response.create(
        model="canned/e", input="One.", encoding_format="base64"
    )
    assert json.loads(raw.content)["data"][0]["embedding"] == "AAAAPwAAgL4="
    assert openai_client.embeddings.create(model="canned/e", input="One.").data[0].embedding == [0.5, -0.25]


def test_models_with_a_slash(openai_client: openai.OpenAI, gateway: GatewayProcess) -> None:
    listed = {entry.id for entry in openai_client.models.list()}
    assert {*UPSTREAMS, *(f"other/{name}" for name in UPSTREAMS)} <= listed
    for name in ("gemini", "other/gemini"):
        found = openai_client.models.retrieve(name)
        assert (found.id, found.object, found.owned_by) == (name, "model", "fairlead")
    # The SDK leaves the `/` as it is; others escape it.
    escaped = openai_client.get("/models/other%2Fgemini", cast_to=openai.types.Model)
    assert escaped.id == "other/gemini"
    with pytest.raises(openai.NotFoundError, match="no route serves the model `nothing/here`"):
        openai_client.models.retrieve("nothing/here")

    narrow = gateway.key("--models", "other/*")
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=narrow, max_retries=0) as client:
        assert {entry.id for entry in client.models.list()} == {f"other/{name}" for name in UPSTREAMS}
        assert client.models.retrieve("other/gemini").id == "other/gemini"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gemini")


def test_files_and_a_batch(openai_client: openai.OpenAI) -> None:
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "m",
                "messages": [{"role": "user", "content": f"say exactly: {number}"}],
            },
        }
        for number in range(3)
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    file = openai_client.files.create(file=("batch.jsonl", data), purpose="batch")
    assert (file.filename, file.bytes) == ("batch.jsonl", len(data))
    assert openai_client.files.retrieve(file.id).id == file.id
    assert file.id in {entry.id for entry in openai_client.files.list()}
    assert openai_client.files.content(file.id).content == data

    batch = openai_client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    deadline = time.monotonic() + 10
    while batch.status != "completed":
        assert time.monotonic() < deadline, batch.status
        time.sleep(0.05)
        batch = openai_client.batches.retrieve(batch.id)
    assert batch.output_file_id is not None
    answers = [json.loads(line) for line in openai_client.files.content(batch.output_file_id).iter_lines()]
    said = {
        answer["custom_id"]: answer["response"]["body"]["choices"][0]["message"]["content"]
        for answer in answers
    }
    assert said == {f"line-{number}": str(number) for number in range(3)}

    assert openai_client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        openai_client.files.retrieve(file.id)


@NATIVE
def test_audio_goes_in(openai_client: openai.OpenAI, native: str) -> None:
    sound = bytes(range(256)) * 4096  # 1 MiB of any bytes
    answer = openai_client.audio.transcriptions.create(model=native, file=("note.wav", sound))
    assert "note.wav" in answer.text
    other = openai_client.audio.transcriptions.create(model=native, file=("note.wav", sound[:-1]))
    assert other.text != answer.text, "every byte counts"
    plain = openai_client.audio.transcriptions.create(
        model=native, file=("note.wav", sound), response_format="text"
    )
    assert plain.strip() == answer.text


def test_audio_comes_out_untouched(openai_client: openai.OpenAI, canned: Canned) -> None:
    sound = bytes(range(256)) * 300
    canned.answer("/v1/audio/speech", sound, headers={"content-type": "audio/mpeg"})
    answer = openai_client.audio.speech.create(model="canned/tts", voice="alloy", input="Hello")
    assert answer.content == sound
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert canned.received[0].json() == {"model": "tts", "voice": "alloy", "input": "Hello"}


@NATIVE
def test_images(openai_client: openai.OpenAI, native: str) -> None:
    answer = openai_client.images.generate(model=native, prompt="A harbour", n=2, response_format="b64_json")
    assert answer.data is not None
    assert [bool(image.b64_json) for image in answer.data] == [True, True]


def test_moderations(openai_client: openai.OpenAI, canned: Canned) -> None:
    names = ("harassment", "hate", "self-harm", "sexual", "violence")
    canned.answer(
        "/v1/moderations",
        {
            "id": "modr-1",
            "model": "omni-moderation",
            "results": [
                {
                    "flagged": True,
                    "categories": dict.fromkeys(names, True),
                    "category_scores": dict.fromkeys(names, 0.5),
                    "category_applied_input_types": {name: ["text"] for name in names},
                }
            ],
        },
    )
    answer = openai_client.moderations.create(model="canned/omni-moderation", input="Words.")
    assert answer.results[0].flagged
    assert answer.results[0].categories.hate
    assert canned.received[0].json() == {"model": "omni-moderation", "input": "Words."}


@NATIVE
def test_rerank_without_an_sdk(gateway: GatewayProcess, native: str) -> None:
    answer = httpx2.post(
        gateway.url + "/v1/rerank",
        headers={"authorization": f"Bearer {gateway.admin_key}"},
        json={
            "model": native,
            "query": "Where does the river end?",
            "documents": ["Bread and butter.", "The river ends in the sea."],
            "top_n": 1,
        },
    )
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert (result["index"], result["document"]["text"]) == (1, "The river ends in the sea.")
    assert 0 < result["relevance_score"] <= 1


def test_unknown_fields_survive_in_both_directions(openai_client: openai.OpenAI, canned: Canned) -> None:
    canned.answer(
        "/v1/chat/completions",
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-x",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hi", "mood": {"calm": True}},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "joules": 0.5},
        },
    )
    answer = openai_client.chat.completions.create(
        model="canned/gpt-x",
        messages=[{"role": "user", "content": "Hello"}],
        extra_body={"future_option": {"depth": [1, 2.50, None]}},
        extra_headers={"openai-beta": "future=v1", "x-private": "mine"},
    )
    assert answer.choices[0].message.model_extra == {"mood": {"calm": True}}
    assert answer.usage is not None
    assert answer.usage.model_extra == {"joules": 0.5}
    (received,) = canned.received
    assert received.json() == {
        "messages": [{"role": "user", "content": "Hello"}],
        "model": "gpt-x",
        "future_option": {"depth": [1, 2.50, None]},
    }
    assert received.headers["openai-beta"] == "future=v1"
    assert received.headers["authorization"] == "Bearer upstream-key"
    assert "x-private" not in received.headers


def test_async_uploads(async_openai: Callable[[], openai.AsyncOpenAI]) -> None:
    async def scenario() -> None:
        async with async_openai() as client:
            file = await client.files.create(file=("notes.txt", b"one\ntwo\n"), purpose="user_data")
            assert (await client.files.content(file.id)).content == b"one\ntwo\n"
            vectors = await client.embeddings.create(model="openai", input="One.")
            assert len(vectors.data) == 1
            models = [entry.id async for entry in client.models.list()]
            assert "openai" in models

    asyncio.run(scenario())

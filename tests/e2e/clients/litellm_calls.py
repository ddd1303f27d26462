"""Calls through LiteLLM's client library; run by the interpreter that has it.

It pins an older `openai` than the current one, so it lives in an environment
of its own. Prints one JSON line for each check: its name, and what failed.
Usage: litellm_calls.py GATEWAY_URL KEY MODEL...
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import litellm  # type: ignore[import-not-found]  # of the other environment

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    for name in ("weather", "clock")
]


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"say exactly: {text}"}]


class Checks:
    """What is called of the library, with one model. `way` is how it speaks to the gateway."""

    def __init__(self, way: str, url: str, key: str, model: str) -> None:
        base = url if way == "anthropic" else url + "/v1"
        self._options: dict[str, Any] = {
            "model": f"{way}/{model}",
            "api_base": base,
            "api_key": key,
            "num_retries": 0,
            "max_retries": 0,
            "max_tokens": 500,
        }

    def complete(self, messages: list[dict[str, Any]], **more: Any) -> Any:
        return litellm.completion(messages=messages, **{**self._options, **more})

    def check_completion(self) -> None:
        answer = self.complete(said("Grüße!"))
        assert answer.choices[0].message.content == "Grüße!", answer
        assert answer.choices[0].finish_reason == "stop", answer
        assert answer.usage.prompt_tokens > 0, answer
        assert answer.usage.completion_tokens > 0, answer

    def check_stream(self) -> None:
        chunks = list(self.complete(said("One, two."), stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "One, two.", text
        whole = litellm.stream_chunk_builder(chunks)
        assert whole.usage.completion_tokens > 0, whole

    def check_tools(self) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "use the tools"}]
        answer = self.complete(messages, tools=TOOLS)
        message = answer.choices[0].message
        assert answer.choices[0].finish_reason == "tool_calls", answer
        assert sorted(call.function.name for call in message.tool_calls) == ["clock", "weather"], answer
        messages.append(message.model_dump())
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in message.tool_calls
        ]
        done = self.complete(messages, tools=TOOLS)
        assert done.choices[0].finish_reason == "stop", done

    def check_reasoning(self) -> None:
        # The library knows no model of these names, so it has to be told that they can reason.
        wanted: dict[str, Any] = {"reasoning_effort": "low"}
        if self._options["model"].startswith("anthropic/"):
            wanted = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
        options = {**wanted, "allowed_openai_params": [*wanted], "max_tokens": 8000}
        messages: list[dict[str, Any]] = [{"role": "user", "content": "use the tool"}]
        answer = self.complete(messages, tools=TOOLS[:1], **options)
        message = answer.choices[0].message
        assert message.reasoning_content, answer
        messages.append(message.model_dump())
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in message.tool_calls
        ]
        done = self.complete(messages, tools=TOOLS[:1], **options)
        assert done.choices[0].finish_reason == "stop", done

    def check_async(self) -> None:
        async def scenario() -> None:
            answer = await litellm.acompletion(messages=said("whole"), **self._options)
            assert answer.choices[0].message.content == "whole", answer
            stream = await litellm.acompletion(messages=said("pieces"), stream=True, **self._options)
            text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
            assert text == "pieces", text

        asyncio.run(scenario())

    def check_error(self) -> None:
        options = {**self._options, "model": self._options["model"].partition("/")[0] + "/nowhere"}
        caught: Exception | None = None
        try:
            litellm.completion(messages=said("x"), **options)
        except litellm.NotFoundError as error:
            caught = error
        assert "no route serves the model" in str(caught), caught


def main() -> None:
    url, key, *models = sys.argv[1:]
    litellm.suppress_debug_info = True
    for way in ("openai", "anthropic"):
        for model in models:
            checks = Checks(way, url, key, model)
            for name in [name for name in dir(checks) if name.startswith("check_")]:
                check: Callable[[], None] = getattr(checks, name)
                failure = ""
                try:
                    check()
                except Exception:
                    failure = traceback.format_exc()[-2000:]
                print(json.dumps({"way": way, "model": model, "check": name, "failure": failure}), flush=True)


if __name__ == "__main__":
    main()

"""How the speakers of OpenAI's chat dialect differ.

A flavour says what one kind of upstream takes beyond the common core, so that
the codec writes only what is understood and names the rest.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec


class Flavour(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of upstream understands."""

    limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    developer_role: bool = False
    """Knows the role `developer`; else its messages are sent as `system`."""
    top_k: bool = True
    reasoning_effort: bool = True
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    """Field of assistant messages in which earlier reasoning is sent back."""
    reasoning_details: bool = False
    """Takes signed and encrypted reasoning back in `reasoning_details` and `extra_content`."""
    cache_breakpoints: bool = False
    """Takes `prompt_cache_breakpoint` on content parts."""
    tool_result_media: bool = False
    """Takes images and files in the answers of tools."""
    carries_advisory: bool = False
    """Takes `metadata`, `prompt_cache_key` and the like; else they are reported as ignored."""


OPENAI: Final = Flavour(
    limit_field="max_completion_tokens",
    developer_role=True,
    top_k=False,
    carries_advisory=True,
)
"""OpenAI itself, and Azure."""

COMPATIBLE: Final = Flavour()
"""The common core: TGI, llama.cpp, Ollama, and hosted APIs that refuse what they do not know."""

ENGINE: Final = msgspec.structs.replace(COMPATIBLE, reasoning_field="reasoning_content")
"""vLLM and SGLang, whose templates take earlier reasoning back."""

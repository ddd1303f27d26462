"""LiteLLM's provider prefixes and model names, and what they mean here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from fairlead.config.litellm.notes import Plain, variable_of
from fairlead.config.options import ProviderType


class Prefix(msgspec.Struct, frozen=True, kw_only=True):
    """What a prefix of LiteLLM's means here."""

    type: ProviderType = "openai-compatible"
    base_url: str | None = None
    """Written when the deployment names no address; None leaves it to the type."""
    variable: str | None = None
    """Where LiteLLM looks for the key when the deployment names none."""
    version_path: bool = False
    """LiteLLM's address stops before `/v1`."""
    remark: str | None = None
    """Why the mapping is not exact."""


def _compatible(base_url: str | None, variable: str | None = None) -> Prefix:
    return Prefix(base_url=base_url, variable=variable)


PREFIXES: Final[Mapping[str, Prefix]] = {
    "openai": Prefix(type="openai", variable="OPENAI_API_KEY"),
    "text-completion-openai": Prefix(type="openai", variable="OPENAI_API_KEY"),
    "azure": Prefix(type="azure", variable="AZURE_API_KEY"),
    "azure_text": Prefix(type="azure", variable="AZURE_API_KEY"),
    "anthropic": Prefix(type="anthropic", variable="ANTHROPIC_API_KEY", version_path=True),
    "bedrock": Prefix(type="bedrock"),
    "gemini": Prefix(type="gemini", variable="GEMINI_API_KEY"),
    "ollama": Prefix(type="ollama", version_path=True),
    "ollama_chat": Prefix(type="ollama", version_path=True),
    "hosted_vllm": Prefix(type="vllm"),
    "huggingface": Prefix(
        type="tgi", version_path=True, remark="taken for a text-generation-inference server"
    ),
    "azure_ai": Prefix(variable="AZURE_AI_API_KEY", remark="asked by Azure AI's OpenAI-compatible address"),
    "openai_like": _compatible(None),
    "custom_openai": _compatible(None),
    "litellm_proxy": _compatible(None, "LITELLM_PROXY_API_KEY"),
    "xinference": _compatible(None),
    "lm_studio": _compatible("http://localhost:1234/v1"),
    "llamafile": _compatible("http://127.0.0.1:8080/v1"),
    "mistral": _compatible("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "groq": _compatible("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "deepseek": _compatible("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": _compatible("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together_ai": _compatible("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "xai": _compatible("https://api.x.ai/v1", "XAI_API_KEY"),
    "fireworks_ai": _compatible("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "perplexity": _compatible("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "cerebras": _compatible("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "deepinfra": _compatible("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "nvidia_nim": _compatible("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "sambanova": _compatible("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
}
UNSUPPORTED: Final[Mapping[str, str]] = {
    "vertex_ai": "Vertex AI signs in with Google Cloud credentials, which no provider type has yet",
    "vertex_ai_beta": "Vertex AI signs in with Google Cloud credentials, which no provider type has yet",
    "sagemaker": "SageMaker endpoints have a dialect of their own",
    "sagemaker_chat": "SageMaker endpoints have a dialect of their own",
    "cohere": "Cohere's dialect is not supported",
    "cohere_chat": "Cohere's dialect is not supported",
    "replicate": "Replicate's dialect is not supported",
    "watsonx": "watsonx signs in with IBM Cloud tokens, which no provider type has yet",
    "databricks": "Databricks' endpoints need an address of their own; add them as `openai-compatible`",
    "vllm": "this runs vLLM inside LiteLLM; run `vllm serve` and add it as a provider of type `vllm`",
}
FAMILIES: Final = (
    (re.compile(r"(gpt-|chatgpt-|o[134](-|\Z)|text-embedding-|dall-e-|tts-|whisper-)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
)


def implied_variables(value: Plain) -> set[str]:
    """Every variable that a part of the file names, and those that its deployments leave to LiteLLM."""
    if isinstance(value, str):
        name = variable_of(value)
        return {name} if name else set()
    found: set[str] = set()
    if isinstance(value, list):
        for item in value:
            found |= implied_variables(item)
    elif isinstance(value, dict):
        for item in value.values():
            found |= implied_variables(item)
        model = value.get("model")
        if isinstance(model, str) and value.get("api_key") is None:
            found |= _default_variables(model)
    return found


def _default_variables(model: str) -> set[str]:
    head, slash, _ = model.partition("/")
    if not slash:
        head = next((name for pattern, name in FAMILIES if pattern.match(model)), "")
    if head == "bedrock":
        return {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    prefix = PREFIXES.get(head)
    return {prefix.variable} if prefix is not None and prefix.variable else set()


def wildcard_fault(model_name: str, upstream: Plain) -> str | None:
    """Why a wildcard deployment cannot be a route here, or None when it can."""
    if not isinstance(upstream, str) or "*" not in upstream:
        return None
    head, star, _ = model_name.partition("*")
    if not star:
        return "a `*` in the upstream's name needs one in `model_name`"
    prefix, slash, tail = upstream.partition("/")
    if slash and prefix in UNSUPPORTED:
        return None  # reading it gives the better reason
    if not slash or prefix not in PREFIXES:
        tail = upstream
    # The route `a/*` asks its target for what the `*` matched, any other wildcard for the whole name.
    fits = tail == "*" and model_name.endswith("*") if head.endswith("/") else tail in (model_name, "*")
    if fits and (head.endswith("/") or tail == model_name or model_name == "*"):
        return None
    return "the asked name cannot be rewritten this way; write one route for each model"

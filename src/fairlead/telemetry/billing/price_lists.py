"""Which list of a price table an entry of `providers` is billed by.

By type and address: a type whose address is the provider's own is billed by
that provider's list, and so is an OpenAI-compatible address that belongs to a
provider we know. Any other address may be anybody's, and has no list. Engines
and the simulated model never have one: what they cost is not a provider's
price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fairlead.config import Provider
from fairlead.config.price_rules import SELF_HOSTED

_HOSTS: Final[Mapping[str, tuple[str, str]]] = {
    "api.openai.com": ("openai", ""),
    "eu.api.openai.com": ("openai", "eu"),
    "us.api.openai.com": ("openai", "us"),
    "api.anthropic.com": ("anthropic", ""),
    "generativelanguage.googleapis.com": ("gemini", ""),
    "api.mistral.ai": ("mistral", ""),
    "api.groq.com": ("groq", ""),
    "api.deepseek.com": ("deepseek", ""),
    "openrouter.ai": ("openrouter", ""),
    "api.together.xyz": ("together_ai", ""),
    "api.together.ai": ("together_ai", ""),
    "api.x.ai": ("xai", ""),
    "api.fireworks.ai": ("fireworks_ai", ""),
    "api.perplexity.ai": ("perplexity", ""),
    "api.cerebras.ai": ("cerebras", ""),
    "api.deepinfra.com": ("deepinfra", ""),
    "integrate.api.nvidia.com": ("nvidia_nim", ""),
    "api.sambanova.ai": ("sambanova", ""),
    "api.moonshot.ai": ("moonshot", ""),
    "api.z.ai": ("zai", ""),
    "dashscope-intl.aliyuncs.com": ("dashscope", ""),
    "api.hyperbolic.xyz": ("hyperbolic", ""),
    "api.studio.nebius.com": ("nebius", ""),
    "api.novita.ai": ("novita", ""),
    "api.lambda.ai": ("lambda_ai", ""),
    "api.voyageai.com": ("voyage", ""),
    "api.jina.ai": ("jina_ai", ""),
}
"""Host to list and zone."""
_AZURE: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".openai.azure.us")
_AZURE_AI: Final = (".services.ai.azure.com", ".models.ai.azure.com", ".inference.ai.azure.com")
_DEFAULT: Final[Mapping[str, tuple[str, str]]] = {
    "openai": ("openai", ""), "anthropic": ("anthropic", ""), "gemini": ("gemini", "")
}  # fmt: skip


class PriceList(msgspec.Struct, frozen=True):
    """A list of a table, and the zone that is billed."""

    name: str
    zone: str = ""


def price_list(provider: Provider, said: str | None = None) -> PriceList | None:
    """The list that a provider is billed by; None when it has none.

    Args:
        provider: the entry.
        said: what `prices.providers` says: a list, `LIST/ZONE`, or `none`.
    """
    if said == "none" or provider.type in SELF_HOSTED:
        return None
    if said:
        name, _, zone = said.partition("/")
        return PriceList(name, zone or _region(provider, name))
    if provider.base_url is None:
        if provider.type == "bedrock":
            return PriceList("bedrock", provider.region or "")
        return PriceList(*_DEFAULT[provider.type]) if provider.type in _DEFAULT else None
    host = (urlsplit(provider.base_url.format(region=provider.region or "")).hostname or "").lower()
    if provider.type == "bedrock" or host.startswith("bedrock-"):
        aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return PriceList("bedrock", provider.region or "") if aws else None
    if host.endswith(_AZURE):
        return PriceList("azure")
    if host.endswith(_AZURE_AI):
        return PriceList("azure" if provider.type == "azure" else "azure_ai")
    known = _HOSTS.get(host)
    return PriceList(*known) if known is not None else None


def _region(provider: Provider, name: str) -> str:
    return provider.region or "" if name == "bedrock" else ""

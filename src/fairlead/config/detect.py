"""A configuration from what is there, for `fairlead serve` without a file.

Pure: the environment and the engines that answered come in as facts, a
`Config` comes out. Credentials stay references to the variables they were
found in. Every provider gets a route `NAME/*`; providers with names of their
own kind (`gpt-*`, `claude-*`) also get those; each model of a local engine is
a route. The built-in simulated model is always there, so that the first
request works on a machine without any key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fairlead.config.options import Config, Model, Provider, ProviderType, Secret, Server, Target
from fairlead.config.rules import url_fault
from fairlead.errors import ConfigError


class LocalEngine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that answered on this machine, with the models it serves."""

    name: str
    type: ProviderType
    base_url: str
    models: tuple[str, ...]


class _Compatible(msgspec.Struct, frozen=True):
    """A provider that speaks OpenAI's dialect at a documented address."""

    name: str
    variable: str
    base_url: str
    families: tuple[str, ...] = ()


_COMPATIBLE: Final = (
    _Compatible(
        "mistral",
        "MISTRAL_API_KEY",
        "https://api.mistral.ai/v1",
        ("mistral-*", "codestral-*", "ministral-*", "magistral-*", "devstral-*", "pixtral-*"),
    ),
    _Compatible("groq", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    _Compatible("deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1", ("deepseek-*",)),
    _Compatible("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    _Compatible("together", "TOGETHER_API_KEY", "https://api.together.xyz/v1"),
    _Compatible("xai", "XAI_API_KEY", "https://api.x.ai/v1", ("grok-*",)),
)
_OPENAI_FAMILIES: Final = (
    "gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "text-embedding-*", "dall-e-*", "tts-*", "whisper-*",
    "omni-moderation-*",
)  # fmt: skip
_SIMULATED: Final = "simulated"
_MAX_MODELS: Final = 200
"""Models taken from one engine; its answer is not trusted to be small."""


def detect(environ: Mapping[str, str], engines: Sequence[LocalEngine] = ()) -> Config:
    """The configuration for these variables and local engines.

    Raises:
        ConfigError: a variable that holds an address does not hold one.
    """
    found = _Found(environ)
    found.openai()
    found.anthropic()
    found.gemini()
    found.azure()
    found.bedrock()
    for entry in _COMPATIBLE:
        if environ.get(entry.variable):
            provider = Provider(
                type="openai-compatible", base_url=entry.base_url, api_key=Secret(f"env:{entry.variable}")
            )
            found.add(entry.name, provider, entry.families)
    for engine in engines:
        found.engine(engine)
    found.providers[_SIMULATED] = Provider(type="simulated")
    found.targets[_SIMULATED] = [Target(provider=_SIMULATED, model=_SIMULATED)]
    models = {name: Model(targets=targets) for name, targets in found.targets.items()}
    return Config(providers=found.providers, models=models)


class _Found:
    """Collects providers and routes, in the order in which they are looked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.providers: dict[str, Provider] = {}
        self.targets: dict[str, list[Target]] = {}

    def add(self, name: str, provider: Provider, families: Sequence[str]) -> None:
        self.providers[name] = provider
        for route in (f"{name}/*", *families):
            self.targets[route] = [Target(provider=name)]

    def openai(self) -> None:
        key = self._first("OPENAI_API_KEY")
        url = self._url("OPENAI_BASE_URL")
        # Whoever uses this gateway has it in OPENAI_BASE_URL: asking it would be asking ourselves.
        if key and not _is_us(url):
            self.add("openai", Provider(type="openai", api_key=key, base_url=url), _OPENAI_FAMILIES)

    def anthropic(self) -> None:
        key = self._first("ANTHROPIC_API_KEY")
        url = self._url("ANTHROPIC_BASE_URL")
        if key and not _is_us(url):
            # Anthropic's own variable stops before the version part.
            base_url = url if url is None or url.endswith("/v1") else f"{url}/v1"
            self.add("anthropic", Provider(type="anthropic", api_key=key, base_url=base_url), ("claude-*",))

    def gemini(self) -> None:
        key = self._first("GEMINI_API_KEY", "GOOGLE_API_KEY")
        if key:
            self.add("gemini", Provider(type="gemini", api_key=key), ("gemini-*", "gemma-*"))

    def azure(self) -> None:
        key = self._first("AZURE_OPENAI_API_KEY")
        url = self._url("AZURE_OPENAI_ENDPOINT")
        if key is None or url is None:
            return
        version = self._environ.get("OPENAI_API_VERSION") or None
        if version is None and not url.endswith("/v1"):
            url += "/openai/v1"
        # The names behind it are the account's own deployments, so there is no family of names.
        self.add("azure", Provider(type="azure", api_key=key, base_url=url, api_version=version), ())

    def bedrock(self) -> None:
        region = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        bearer = self._first("AWS_BEARER_TOKEN_BEDROCK")
        key, secret = self._first("AWS_ACCESS_KEY_ID"), self._first("AWS_SECRET_ACCESS_KEY")
        if not region:
            return
        if bearer:
            self.add("bedrock", Provider(type="bedrock", region=region, api_key=bearer), ())
        elif key and secret:
            provider = Provider(
                type="bedrock",
                region=region,
                access_key_id=key,
                secret_access_key=secret,
                session_token=self._first("AWS_SESSION_TOKEN"),
            )
            self.add("bedrock", provider, ())

    def engine(self, engine: LocalEngine) -> None:
        self.add(engine.name, Provider(type=engine.type, base_url=engine.base_url), ())
        for model in engine.models[:_MAX_MODELS]:
            # Names that a route cannot have stay reachable by `NAME/*`.
            if "*" in model or not model.isprintable() or model != model.strip() or not 0 < len(model) <= 256:
                continue
            target = Target(provider=engine.name, model=model)
            targets = self.targets.setdefault(model, [])
            if target not in targets:
                targets.append(target)

    def _first(self, *variables: str) -> Secret | None:
        for variable in variables:
            if self._environ.get(variable):
                return Secret(f"env:{variable}")
        return None

    def _url(self, variable: str) -> str | None:
        url = self._environ.get(variable, "").strip().rstrip("/")
        if not url:
            return None
        if message := url_fault(url):
            raise ConfigError(f"{variable}: {message}", hint=f"unset {variable}, or write a fairlead.yaml")
        return url


def _is_us(url: str | None) -> bool:
    if url is None:
        return False
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.port == Server().port and (host in ("localhost", "::1") or host.startswith("127."))

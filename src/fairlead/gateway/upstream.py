"""How one configured provider is asked: addresses, credentials, prebuilt heads.

Built from the configuration at start and on reload, never on the request
path. Secrets arrive resolved and stay inside prebuilt header blocks; nothing
here prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from fairlead import __version__
from fairlead import config as cfg
from fairlead.errors import ConfigError
from fairlead.net.client import Origin
from fairlead.net.sigv4 import Credentials, sign
from fairlead.providers.anthropic import AnthropicUpstream
from fairlead.providers.bedrock import BedrockUpstream
from fairlead.providers.dialect import UpstreamDialect
from fairlead.providers.embeddings import EmbeddingsDialect, GeminiEmbeddings, bedrock_embeddings
from fairlead.providers.gemini import GeminiUpstream
from fairlead.providers.openai_chat import COMPATIBLE, ENGINE, OPENAI, Flavour, OpenAIChatUpstream

_OPENAI_NATIVE: Final = frozenset(
    {
        "chat", "completions", "embeddings", "responses", "rerank", "moderations", "images", "audio",
        "files", "batches",
    }
)  # fmt: skip
_ENGINE_NATIVE: Final = _OPENAI_NATIVE - {"responses"}
_MAX_HEADS: Final = 4096
_MAX_PATH_KEPT: Final = 512
_ANTHROPIC_NATIVE: Final = frozenset({"messages", "count_tokens"})


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed for one provider type."""

    dialect: Callable[[], UpstreamDialect]
    native: frozenset[str]
    """Endpoints that need no translation."""
    base_url: str | None
    """Default; None where the configuration must name one."""
    auth: str
    """The header that carries the credential: `authorization` (Bearer), another name, or `sigv4`."""
    embeddings: Callable[[str], EmbeddingsDialect] | None = None
    """Translates embeddings for an upstream model name; raises UnsupportedByTarget."""
    probe: str | None
    """Path of a cheap GET that tells whether it answers; None where a connection must do."""
    capacity: Literal["engine", "rated", "open"] = "open"
    """What bounds it: a batch, a provider's rate, or nothing that we know."""


def _openai() -> UpstreamDialect:
    return OpenAIChatUpstream(OPENAI)


def _engine(
    base_url: str | None,
    *,
    flavour: Flavour = COMPATIBLE,
    probe: str | None = "/models",
    responses: bool = False,
    capacity: Literal["engine", "open"] = "engine",
) -> Kind:
    return Kind(
        dialect=lambda: OpenAIChatUpstream(flavour),
        native=_OPENAI_NATIVE if responses else _ENGINE_NATIVE,
        base_url=base_url,
        auth="authorization",
        probe=probe,
        capacity=capacity,
    )


KINDS: Final[dict[str, Kind]] = {
    "openai": Kind(
        dialect=_openai,
        native=_OPENAI_NATIVE,
        base_url="https://api.openai.com/v1",
        auth="authorization",
        probe=None,
        capacity="rated",
    ),
    "azure": Kind(
        dialect=_openai, native=_OPENAI_NATIVE, base_url=None, auth="api-key", probe=None, capacity="rated"
    ),
    "anthropic": Kind(
        dialect=AnthropicUpstream,
        native=_ANTHROPIC_NATIVE,
        base_url="https://api.anthropic.com/v1",
        auth="x-api-key",
        probe=None,
        capacity="rated",
    ),
    "gemini": Kind(
        dialect=GeminiUpstream,
        native=frozenset(),
        base_url="https://generativelanguage.googleapis.com/v1beta",
        auth="x-goog-api-key",
        embeddings=lambda model: GeminiEmbeddings(),
        probe=None,
        capacity="rated",
    ),
    "bedrock": Kind(
        dialect=BedrockUpstream,
        native=frozenset(),
        base_url="https://bedrock-runtime.{region}.amazonaws.com",
        auth="sigv4",
        embeddings=bedrock_embeddings,
        probe=None,
        capacity="rated",
    ),
    "openai-compatible": _engine(None, probe=None, capacity="open"),
    "vllm": _engine("http://127.0.0.1:8000/v1", flavour=ENGINE, responses=True),
    "sglang": _engine("http://127.0.0.1:30000/v1", flavour=ENGINE),
    "tgi": _engine("http://127.0.0.1:3000/v1"),
    "llamacpp": _engine("http://127.0.0.1:8081/v1"),
    "ollama": _engine("http://127.0.0.1:11434/v1"),
    "simulated": _engine(None),
}
"""Provider types, by hand: name to what is fixed for it."""


class Upstream:
    """One provider, ready to be asked."""

    __slots__ = (
        "_api_version",
        "_azure_deployments",
        "_base_path",
        "_credentials",
        "_heads",
        "_host",
        "_own_headers",
        "_region",
        "dialect",
        "kind",
        "name",
        "native",
        "origin",
        "type",
    )

    def __init__(
        self,
        name: str,
        config: cfg.Provider,
        *,
        resolve: Callable[[cfg.Secret], str],
        proxy_for: Callable[[str, str, int], str | None],
    ) -> None:
        """Resolve everything that a request needs.

        Args:
            name: the entry under `providers`.
            config: its section.
            resolve: gives a secret's value, or raises ConfigError.
            proxy_for: the environment's proxy for (scheme, host, port).

        Raises:
            ConfigError: a secret or address is missing.
        """
        kind = KINDS[config.type]
        url = config.base_url or kind.base_url
        if url is None:
            raise ConfigError(
                f"providers.{name}: type `{config.type}` needs a `base_url`",
                hint="the URL up to and including the version part, like http://host:8000/v1",
            )
        parts = urlsplit(url.format(region=config.region or ""))
        scheme, host = parts.scheme, parts.hostname or ""
        port = parts.port or (443 if scheme == "https" else 80)
        proxy = None if config.proxy == "none" else config.proxy or proxy_for(scheme, host, port)
        self.name = name
        self.type = config.type
        self.kind = kind
        self.dialect = kind.dialect()
        native = kind.native
        if config.responses_api is not None:
            native = native | {"responses"} if config.responses_api else native - {"responses"}
        self.native = native
        self.origin = Origin(
            scheme=scheme,
            host=host,
            port=port,
            tls=config.tls,
            proxy=proxy,
            connect_timeout_s=config.connect_timeout_s,
            max_connections=config.max_connections,
            idle_timeout_s=config.idle_timeout_s,
        )
        self._host = _host_header(scheme, host, port)
        self._base_path = parts.path.rstrip("/")
        self._region = config.region or ""
        self._api_version = config.api_version
        # Azure's v1 API takes the model in the body; the older one in the path.
        self._azure_deployments = config.type == "azure" and not self._base_path.endswith("/v1")
        self._credentials: Credentials | None = None
        self._heads: dict[str, bytes] = {}
        own = [(b"host", self._host), (b"user-agent", f"fairlead/{__version__}".encode())]
        own += self._auth_headers(config, resolve)
        for field, value in config.headers.items():
            text = resolve(value) if isinstance(value, cfg.Secret) else value
            own.append((field.lower().encode(), text.encode()))
        for header, content in own:
            if any(byte < 0x20 or byte == 0x7F for byte in header + content):
                raise ConfigError(f"providers.{name}: header `{header.decode()}` holds a control character")
        self._own_headers = tuple(own)

    def _auth_headers(
        self, config: cfg.Provider, resolve: Callable[[cfg.Secret], str]
    ) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = []
        if config.type == "anthropic":
            headers.append((b"anthropic-version", (config.api_version or "2023-06-01").encode()))
        if config.api_key is not None:
            value = resolve(config.api_key)
            header = "authorization" if self.kind.auth == "sigv4" else self.kind.auth
            text = f"Bearer {value}" if header == "authorization" else value
            headers.append((header.encode(), text.encode()))
        elif self.kind.auth == "sigv4":
            if config.access_key_id is None or config.secret_access_key is None:
                raise ConfigError(
                    f"providers.{self.name}: Bedrock needs `api_key` or both `access_key_id` and "
                    "`secret_access_key`"
                )
            self._credentials = Credentials(
                access_key_id=resolve(config.access_key_id),
                secret_access_key=resolve(config.secret_access_key),
                session_token=resolve(config.session_token) if config.session_token else None,
            )
        return headers

    def request(
        self,
        path: str,
        body: bytes,
        extra: bytes,
        *,
        model: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        now: float = 0.0,
    ) -> bytes:
        """A whole POST: prebuilt head, `extra` header lines, then the body.

        Args:
            path: under the base URL, as the dialect gives it.
            body: the JSON body.
            extra: more header lines of this request, each ended by CRLF.
            model: the upstream's model name, for Azure's older paths.
            headers: the dialect's own headers.
            now: Unix seconds, for request signing.
        """
        if self._credentials is not None:
            return self._signed(path, body, extra, headers, now)
        if self._azure_deployments:
            path = f"/openai/deployments/{quote(model, safe='')}{path}"
        head = self._heads.get(path)
        if head is None:
            head = self._prebuild("POST", path)
            # Paths with a model name in them come from configured names, or from clients through a
            # wildcard: keep the table bounded.
            if len(self._heads) < _MAX_HEADS and len(path) < _MAX_PATH_KEPT:
                self._heads[path] = head
        for field, value in headers:
            extra += field + b": " + value + b"\r\n"
        return b"%bcontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b" % (
            head,
            extra,
            len(body),
            body,
        )

    def head(self, method: str, path: str, extra: bytes) -> bytes:
        """The head of any other request, `extra` (framing included) and the empty line at its end."""
        return self._prebuild(method, path) + extra + b"\r\n"

    def beside(self, path: str) -> bytes:
        """The whole GET of what stands beside the API and not under it, as `/metrics` does to `/v1`."""
        return self._lines("GET", self._base_path.removesuffix("/v1") + path) + b"\r\n"

    def _prebuild(self, method: str, path: str) -> bytes:
        target = self._base_path + path
        if self._api_version and self.type == "azure":
            target += ("&" if "?" in target else "?") + f"api-version={quote(self._api_version, safe='')}"
        return self._lines(method, target)

    def _lines(self, method: str, target: str) -> bytes:
        lines = [f"{method} {target} HTTP/1.1".encode()]
        lines += [field + b": " + value for field, value in self._own_headers]
        return b"\r\n".join(lines) + b"\r\n"

    def _signed(
        self, path: str, body: bytes, extra: bytes, headers: tuple[tuple[bytes, bytes], ...], now: float
    ) -> bytes:
        assert self._credentials is not None
        target = self._base_path + path
        signed = sign(
            method="POST",
            host=self._host.decode(),
            target=target,
            headers=((b"content-type", b"application/json"), *headers),
            body=body,
            credentials=self._credentials,
            region=self._region,
            service="bedrock",
            now=now,
        )
        lines = [f"POST {target} HTTP/1.1".encode()]
        lines += [field + b": " + value for field, value in (*self._own_headers, *signed)]
        return b"\r\n".join(lines) + b"\r\n%bcontent-length: %d\r\n\r\n%b" % (extra, len(body), body)


def _host_header(scheme: str, host: str, port: int) -> bytes:
    name = f"[{host}]" if ":" in host else host
    default = 443 if scheme == "https" else 80
    return (name if port == default else f"{name}:{port}").encode()

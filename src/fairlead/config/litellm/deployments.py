"""LiteLLM's deployments (`model_list`) to providers and targets.

A deployment's `model` begins with a provider's prefix, and its credential and
address stand beside it. Deployments that agree in prefix, address and
credential become one provider here; deployments with one `model_name` become
the targets of one model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fairlead.config import rules
from fairlead.config.litellm.notes import Notes, Options, reference_of, variable_of
from fairlead.config.litellm.prefixes import FAMILIES, PREFIXES, UNSUPPORTED, Prefix
from fairlead.config.options import Provider, Secret, Target, Timeouts

_NEEDS_URL: Final = ("openai-compatible", "azure", "vllm", "tgi")
_REGION_PART: Final = re.compile(r"[a-z]{2}(-gov)?-[a-z]+-\d\Z")
_BEDROCK_ROUTES: Final = ("converse", "invoke", "converse_like")
_NO_KEY: Final = frozenset(
    {
        "",
        "none",
        "null",
        "empty",
        "dummy",
        "fake",
        "fake-key",
        "anything",
        "not-needed",
        "no-key",
        "sk-fake",
        "na",
    }
)
_REASONS: Final = {
    "rpm": "limits per target are not enforced",
    "tpm": "limits per target are not enforced",
    "max_retries": "attempts are counted for a whole request: `outages.retry.max_attempts`",
    "num_retries": "attempts are counted for a whole request: `outages.retry.max_attempts`",
    "drop_params": "what a target cannot carry is refused by name, never dropped",
    "additional_drop_params": "what a target cannot carry is refused by name, never dropped",
    "input_cost_per_second": "prices are per token",
    "output_cost_per_second": "prices are per token",
    "tags": "routing by tags is not supported",
    "mock_response": "the built-in provider of type `simulated` answers without an upstream",
    "vertex_project": "Vertex AI is not supported",
    "vertex_location": "Vertex AI is not supported",
    "vertex_credentials": "Vertex AI is not supported",
    "aws_role_name": "roles are not assumed; give keys or a Bedrock API key",
    "aws_session_name": "roles are not assumed; give keys or a Bedrock API key",
    "aws_profile_name": "AWS profiles are not read; give keys or a Bedrock API key",
    "aws_web_identity_token": "roles are not assumed; give keys or a Bedrock API key",
    "azure_ad_token": "Azure AD tokens expire; give an API key",
    "tenant_id": "Azure AD is not supported; give an API key",
    "client_id": "Azure AD is not supported; give an API key",
    "client_secret": "Azure AD is not supported; give an API key",
    "ssl_verify": "set `providers.NAME.tls`",
    "max_budget": "budgets are not part of this version",
    "budget_duration": "budgets are not part of this version",
}
_NOT_COPIED: Final = "a secret in clear text is not copied: put it in the variable {}"
_SECRET_NAME: Final = re.compile(r"key|token|secret|auth|passw|cookie|credential", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(r"(bearer|basic)\s|sk-|xox.-|gh[a-z]_|akia", re.IGNORECASE)
_REQUEST_DEFAULT: Final = "requests are not given default parameters; clients send their own"
_INFORMATION: Final = "information that only LiteLLM's own interface shows"


class _LeftOut(Exception):
    """A deployment that cannot be asked from here: the option at fault, and why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(reason)


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One target, with what its weight and priority are computed from."""

    path: str
    target: Target
    weight: float | None
    rpm: float | None
    tpm: float | None
    order: float | None


class Providers:
    """Providers of the import: equal ones are one entry."""

    def __init__(self) -> None:
        self.by_name: dict[str, Provider] = {}
        self.origin: dict[str, str] = {}
        self._literals: dict[str, str] = {}
        self._reserved: set[str] = set()

    def reserve(self, variables: Iterable[str]) -> None:
        """These variables hold what they hold already: no key in clear text may be given their names."""
        self._reserved.update(variables)

    def name_of(self, provider: Provider, wish: str, path: str) -> str:
        """The name of an equal provider, or of a new entry."""
        number = 1
        while True:
            name = wish if number == 1 else f"{wish}-{number}"
            known = self.by_name.setdefault(name, provider)
            if known == provider:
                self.origin.setdefault(name, path)
                return name
            number += 1

    def variable_for(self, wish: str, literal: str) -> str:
        """A variable for a key that stood in clear text: one for each key."""
        number = 1
        while True:
            name = wish if number == 1 else f"{wish}_{number}"
            if name not in self._reserved and self._literals.setdefault(name, literal) == literal:
                return name
            number += 1


def read_deployment(entry: Options, providers: Providers, notes: Notes, base: Timeouts) -> Deployment | None:
    """One entry of `model_list` as a target, its provider added; None when it cannot be asked."""
    params = entry.section("litellm_params")
    try:
        model = params.take("model")
        if not isinstance(model, str) or not model:
            raise _LeftOut(params.at("model"), "expected the name of a model")
        prefix_name, prefix, upstream_model = _prefix_of(model, params)
        provider = _provider(prefix_name, prefix, upstream_model, params, providers)
    except _LeftOut as left_out:
        notes.not_mapped(left_out.path, f"{left_out.reason}; the deployment is left out")
        return None
    if prefix.type == "bedrock":
        upstream_model = _bedrock_model(upstream_model)
    wish = prefix_name.replace("_", "-") if provider.type == "openai-compatible" else provider.type
    if prefix_name == "openai" and provider.type == "openai-compatible":
        wish = "openai-compatible"
    name = providers.name_of(provider, wish, params.path)
    notes.mapped(params.at("model"))
    deployment = _deployment(entry, params, name, upstream_model, base)
    params.finish(_REASONS, _REQUEST_DEFAULT)
    entry.finish({}, "no counterpart")
    return deployment


def _prefix_of(model: str, params: Options) -> tuple[str, Prefix, str]:
    """(prefix, its meaning, the upstream's own name of the model)."""
    notes, path = params.notes, params.at("model")
    custom = params.take("custom_llm_provider")
    head, slash, rest = model.partition("/")
    if isinstance(custom, str):
        head, slash, rest = custom, "/", model.removeprefix(f"{custom}/")
    if slash and head in UNSUPPORTED:
        raise _LeftOut(path, UNSUPPORTED[head])
    if slash and head in PREFIXES:
        prefix = PREFIXES[head]
        if prefix.remark:
            notes.approximated(path, prefix.remark)
        return head, prefix, rest
    if params.take("api_base", "base_url") is not None:
        notes.approximated(path, "taken for an OpenAI-compatible upstream, because it names an address")
        return "openai_like", PREFIXES["openai_like"], model
    for pattern, name in FAMILIES:
        if pattern.match(model):
            return name, PREFIXES[name], model
    if model == "*":
        raise _LeftOut(path, "a route for every name needs a provider")
    raise _LeftOut(path, "no provider is known for this name")


def _provider(
    prefix_name: str, prefix: Prefix, model: str, params: Options, providers: Providers
) -> Provider:
    notes = params.notes
    url = _base_url(prefix, params)
    if url is None and prefix.base_url is None and prefix.type in _NEEDS_URL:
        raise _LeftOut(params.at("api_base"), f"`{prefix_name}/` needs an address")
    kind = prefix.type
    if kind == "openai" and url is not None:
        if urlsplit(url).hostname == "api.openai.com":
            url = None
        else:
            kind = "openai-compatible"
    if kind == "bedrock":
        return _bedrock(model, params, providers)
    api_version = notes.text(params.take("api_version"))
    if kind == "azure" and url is not None:
        url, api_version = _azure_url(url, api_version, params)
    variable = prefix.variable if kind == prefix.type else None
    return Provider(
        type=kind,
        base_url=url or prefix.base_url,
        api_key=_secret("api_key", variable, f"{prefix_name.upper()}_API_KEY", params, providers),
        api_version=api_version if kind in ("azure", "anthropic") else None,
        headers=_headers(params, providers),
    )


def _base_url(prefix: Prefix, params: Options) -> str | None:
    """The deployment's address up to the version part; None when it names none."""
    given = params.take("api_base", "base_url")
    url = (params.notes.text(given) or "").strip().rstrip("/")
    path = params.at("api_base")
    if not url and (variable := variable_of(str(given))) is not None:
        # LiteLLM reads the address when it starts; here it stands in the file.
        url = "https://" + (re.sub(r"[^a-z0-9]+", "-", variable.lower()).strip("-") or "unknown") + ".invalid"
        params.notes.not_mapped(path, f"the variable {variable} is not set now: replace `{url}` by its value")
        return url + ("/v1" if prefix.version_path else "")
    if not url:
        return None
    if message := rules.url_fault(url):
        bare = _bare_url(url)
        if bare is None:
            # Asking the provider's usual address instead would send requests where nobody meant them.
            raise _LeftOut(path, message)
        params.notes.approximated(path, f"{message}: only scheme, host and path were taken")
        url = bare
    else:
        params.notes.mapped(path)
    if prefix.version_path and not re.search(r"/v\d+\w*\Z", url):
        url += "/v1"
    return url.removesuffix("/chat/completions")


def _bare_url(url: str) -> str | None:
    """The URL without credentials, query and fragment; None when nothing valid is left."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"[{host}]" if ":" in host else host
    bare = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    return bare if rules.url_fault(bare) is None else None


def _azure_url(url: str, version: str | None, params: Options) -> tuple[str, str | None]:
    # `.../openai/deployments/NAME` is accepted by LiteLLM; the path is built here.
    url = re.sub(r"/openai(/deployments/[^/]+)?\Z", "", url)
    if version is None or version in ("latest", "preview"):
        params.notes.approximated(
            params.at("api_version"), "without a dated version Azure's `/openai/v1` is asked"
        )
        return (url if url.endswith("/v1") else f"{url}/openai/v1"), None
    params.notes.mapped(params.at("api_version"))
    return url, version


def _bedrock(model: str, params: Options, providers: Providers) -> Provider:
    notes = params.notes
    parts = model.split("/")
    region = next((part for part in parts[:-1] if _REGION_PART.match(part)), None)
    region = region or notes.text(params.take("aws_region_name"))
    if region is None:
        region = "us-east-1"
        notes.approximated(params.at("aws_region_name"), "no region is known here: check `region`")
    bearer = _secret("api_key", None, "AWS_BEARER_TOKEN_BEDROCK", params, providers)
    if bearer is not None:
        return Provider(type="bedrock", region=region, api_key=bearer)
    if params.take("aws_access_key_id") is None:
        note = "LiteLLM finds AWS credentials by itself; here they are read from AWS_ACCESS_KEY_ID and"
        notes.approximated(params.at("aws_access_key_id"), f"{note} AWS_SECRET_ACCESS_KEY")
    key = _secret("aws_access_key_id", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID", params, providers)
    secret = _secret(
        "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", params, providers
    )
    token = _secret("aws_session_token", None, "AWS_SESSION_TOKEN", params, providers)
    return Provider(
        type="bedrock", region=region, access_key_id=key, secret_access_key=secret, session_token=token
    )


def _bedrock_model(model: str) -> str:
    parts = model.split("/")
    while len(parts) > 1 and (parts[0] in _BEDROCK_ROUTES or _REGION_PART.match(parts[0])):
        parts.pop(0)
    return "/".join(parts)


def _secret(
    option: str, default: str | None, wish: str, params: Options, providers: Providers
) -> Secret | None:
    """The reference for a credential; one in clear text gets a variable of its own."""
    value = params.take(option)
    path = params.at(option)
    if value is None:
        return Secret(f"env:{default}") if default else None
    text = str(value)
    if (reference := reference_of(text)) is not None:
        params.notes.mapped(path)
        return reference
    if text.strip().lower() in _NO_KEY:
        params.notes.mapped(path, "stands for no key")
        return None
    variable = providers.variable_for(default or re.sub(r"\W", "_", wish), text)
    params.notes.approximated(path, _NOT_COPIED.format(variable))
    return Secret(f"env:{variable}")


def _headers(params: Options, providers: Providers) -> dict[str, str | Secret]:
    headers: dict[str, str | Secret] = {}
    organization = params.notes.text(params.take("organization"))
    if organization:
        headers["OpenAI-Organization"] = organization
        params.notes.mapped(params.at("organization"))
    for option in ("extra_headers", "headers"):
        section = params.section(option)
        for name in section.left():
            value = section.take(name)
            wish = re.sub(r"\W", "_", name).upper()
            if isinstance(value, str) and (reference := reference_of(value)) is not None:
                headers[name] = reference
                params.notes.mapped(section.at(name))
            elif _SECRET_NAME.search(name) or _SECRET_VALUE.match(str(value)):
                variable = providers.variable_for(wish, str(value))
                headers[name] = Secret(f"env:{variable}")
                params.notes.approximated(section.at(name), _NOT_COPIED.format(variable))
            else:
                headers[name] = str(value)
                params.notes.mapped(section.at(name))
    return headers


def _deployment(entry: Options, params: Options, provider: str, model: str, base: Timeouts) -> Deployment:
    notes = params.notes
    info = entry.section("model_info")
    window = notes.positive(info.take("max_input_tokens"))
    if window is not None:
        notes.mapped(info.at("max_input_tokens"))
    parallel = notes.positive(params.take("max_parallel_requests"))
    if parallel is not None:
        notes.approximated(params.at("max_parallel_requests"), "counted per worker process")
    prices = [_price(params, info, option) for option in ("input_cost_per_token", "output_cost_per_token")]
    # A wildcard's target is asked for the name that was asked, or for the part behind `prefix/`.
    own = None if "*" in model else model
    target = Target(
        provider=provider,
        model=own,
        max_concurrency=max(1, int(parallel)) if parallel is not None else None,
        context_window=max(1, int(window)) if window is not None else None,
        input_usd_per_mtok=prices[0],
        output_usd_per_mtok=prices[1],
        timeouts=_timeouts(params, base),
    )
    info.finish({}, _INFORMATION)
    weight, order = notes.number(params.take("weight")), notes.number(params.take("order"))
    for option, number in (("weight", weight), ("order", order)):
        if number is not None:
            notes.mapped(params.at(option))
    rpm, tpm = (notes.positive(params.take(option)) for option in ("rpm", "tpm"))
    share = next((option for option, limit in (("rpm", rpm), ("tpm", tpm)) if limit is not None), None)
    for option, limit in (("rpm", rpm), ("tpm", tpm)):
        if limit is not None and option == share and weight is None:
            message = "taken as the share among targets; the limit itself is not enforced"
            notes.approximated(params.at(option), message)
        elif limit is not None:
            notes.not_mapped(params.at(option), _REASONS[option])
    return Deployment(
        path=entry.path,
        target=target,
        weight=weight if weight is None or weight >= 0 else None,
        rpm=rpm,
        tpm=tpm,
        order=order,
    )


def _price(params: Options, info: Options, option: str) -> float | None:
    price: float | None = None
    for section in (info, params):
        per_token = params.notes.number(section.take(option))
        if per_token is not None and per_token >= 0:
            price = float(f"{per_token * 1e6:.9g}")
            params.notes.mapped(section.at(option))
    return price


def _timeouts(params: Options, base: Timeouts) -> Timeouts | None:
    """Time-outs of one target; None when it has none of its own."""
    changed = base
    whole = params.notes.positive(params.take("timeout", "request_timeout"))
    if whole is not None:
        changed = msgspec.structs.replace(changed, headers_s=whole)
        params.notes.mapped(params.at("timeout"), "`headers_s`: a whole answer that is not streamed")
    stream = params.notes.positive(params.take("stream_timeout"))
    if stream is not None:
        changed = msgspec.structs.replace(changed, first_token_s=stream, stall_s=stream)
        params.notes.approximated(params.at("stream_timeout"), "the wait for each part of a stream")
    return changed if changed != base else None

"""What a person sees first when the gateway is ready."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead import __version__
from fairlead import config as cfg


def banner(config: cfg.Config, port: int, secret: str | None) -> str:
    """What a person sees first: where it is, what it serves, a key, and a line that works."""
    scheme = "https" if config.server.tls is not None else "http"
    host = config.server.host
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - shown, not bound
    base = f"{scheme}://{shown}:{port}"
    names = [name for name in config.models if "*" not in name]
    patterns = [name for name in config.models if "*" in name]
    example = next(iter(names), "MODEL")
    key = secret or "$FAIRLEAD_API_KEY"
    lines = [
        f"Fairlead {__version__} serves {base}/v1",
        f"  models     {_shortened([*names, *patterns])}",
    ]
    if secret is not None:
        lines.append(f"  API key    {secret}   (shown this once; `fairlead keys create` makes more)")
    elif config.auth.required:
        lines.append("  API key    one of yours; `fairlead keys create --name NAME` makes another")
    if config.limits.store == "memory" and _limited(config):
        lines.append(
            "  limits     counted by this process alone; several gateways need `limits.store: redis`"
        )
    lines += [
        f"  dashboard  {base}/",
        "  try it     "
        f"curl {base}/v1/chat/completions -H 'authorization: Bearer {key}' "
        "-H 'content-type: application/json' "
        f"""-d '{{"model":"{example}","messages":[{{"role":"user","content":"Hello"}}]}}'""",
    ]
    if secret is None:
        # Shells expand variables in double quotes only.
        lines[-1] = lines[-1].replace(f"'authorization: Bearer {key}'", f'"authorization: Bearer {key}"')
    return "\n".join(lines)


def _limited(config: cfg.Config) -> bool:
    unlimited = cfg.Tenant()
    return any(
        (one.limits, one.each_key, one.keys) != (unlimited.limits, unlimited.each_key, unlimited.keys)
        for one in config.tenants.values()
    )


def _shortened(names: Sequence[str], limit: int = 8) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")

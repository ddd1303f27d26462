"""What the types of the section `telemetry` cannot say.

Targets must exist and belong to one pool of GPUs at most, the number of GPUs
must be known from somewhere, and an address must be one. Pure, as `rules` is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from fairlead.config import otel_rules, secrets
from fairlead.config.fault import Fault, Path, nearest
from fairlead.config.options import Config
from fairlead.config.scrape_options import Endpoint, GpuPool

_POOL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")

UrlFault = Callable[[str], str | None]


def faults(config: Config, url_fault: UrlFault) -> list[Fault]:
    """Every broken rule of the section; `url_fault` says why a text is no URL."""
    targets = _targets(config)
    found: list[Fault] = []
    for index, endpoint in enumerate(config.telemetry.scrape):
        found += _endpoint(("telemetry", "scrape", index), endpoint, targets, url_fault)
    owners: dict[str, str] = {}
    for name, pool in config.telemetry.gpus.items():
        found += _pool(name, pool, targets, owners)
    found += otel_rules.faults(config.telemetry.otel, url_fault)
    return found


def _targets(config: Config) -> frozenset[str]:
    """Names of all targets; `*` stands where one takes any model."""
    return frozenset(
        f"{target.provider}/{target.model or '*'}"
        for model in config.models.values()
        for target in model.targets
    )


def _endpoint(
    path: Path, endpoint: Endpoint, targets: frozenset[str], url_fault: UrlFault
) -> Iterator[Fault]:
    if wrong := url_fault(endpoint.url):
        yield Fault((*path, "url"), wrong)
    if endpoint.bearer is not None and (broken := secrets.fault(endpoint.bearer.reference)):
        yield Fault((*path, "bearer"), *broken)
    if endpoint.target is not None:
        if endpoint.kind == "dcgm":
            yield Fault(
                (*path, "target"), "has no effect with `kind: dcgm`", "use `telemetry.gpus.NAME.match`"
            )
        yield from _known((*path, "target"), endpoint.target, targets)
    elif endpoint.kind not in ("auto", "dcgm", "triton"):
        yield Fault(path, "`target` is missing: whose engine is it?")
    if endpoint.timeout_s > endpoint.interval_s:
        yield Fault(
            (*path, "timeout_s"), f"{endpoint.timeout_s:g} is more than `interval_s`, {endpoint.interval_s:g}"
        )


def _pool(name: str, pool: GpuPool, targets: frozenset[str], owners: dict[str, str]) -> Iterator[Fault]:
    path: Path = ("telemetry", "gpus", name)
    if not _POOL_NAME.match(name):
        yield Fault(path, "a pool's name is letters, digits, `.`, `_` and `-`, at most 63")
    if pool.count is None and pool.match is None:
        yield Fault(
            path,
            "how many GPUs these are is not known",
            "set `count`, or `match` to count those that are read",
        )
    if pool.count is not None and pool.replicas > pool.count:
        yield Fault((*path, "replicas"), f"{pool.replicas} is more than `count`, {pool.count}")
    if (pool.prompt_weight is None) != (pool.output_weight is None):
        yield Fault(path, "`prompt_weight` and `output_weight` are set together or not at all")
    elif pool.prompt_weight == 0 and pool.output_weight == 0:
        yield Fault(path, "`prompt_weight` and `output_weight` cannot both be 0")
    for index, target in enumerate(pool.targets):
        where = (*path, "targets", index)
        if target in owners:
            yield Fault(where, f"`{target}` belongs to `{owners[target]}` already")
        else:
            owners[target] = name
            yield from _known(where, target, targets)


def _known(path: Path, target: str, targets: frozenset[str]) -> Iterator[Fault]:
    if target not in targets:
        choices: Mapping[str, None] = dict.fromkeys(targets)
        yield Fault(
            path, f"no target is named `{target}`", nearest(target, choices) or "it is `provider/model`"
        )

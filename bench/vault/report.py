"""The tables of the vault's benchmark, for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

import datetime
import os
import platform
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
OTHERS: Final = "\n## Other benchmarks\n"
"""What follows this heading is left alone by `bench.gateway`, which writes the rest of the page."""
BEGIN: Final = "<!-- the vault: begin of what bench.vault.throughput writes -->"
END: Final = "<!-- the vault: end -->"
NOISY: Final = 0.25


@dataclass
class Figures:
    """What was measured: seconds of every round, by job and contestant."""

    size_bytes: int
    rounds: int
    versions: dict[str, str]
    seconds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    memory: dict[str, float] = field(default_factory=dict)
    rss_mib: dict[str, float] = field(default_factory=dict)
    load: float = 0.0

    def add(self, job: str, name: str, seconds: float) -> None:
        """Note one round's time."""
        self.seconds[job][name].append(seconds)

    def rates(self, job: str, name: str) -> list[float]:
        """GB/s of every round."""
        return [self.size_bytes / taken / 1e9 for taken in self.seconds[job][name]]

    def ratios(self, name: str) -> list[float]:
        """How fast a contestant seals, as a multiple of `cp` in the same round."""
        pairs = zip(self.seconds["seal"]["cp"], self.seconds["seal"][name], strict=True)
        return [copied / taken for copied, taken in pairs]


class Promise(NamedTuple):
    """One promise, with what was measured."""

    text: str
    limit: str
    measured: str
    kept: bool


def promises(figures: Figures) -> list[Promise]:
    """What the format promises, held against the figures."""
    ratio, bare = (median(figures.ratios(name)) for name in ("fairlead", "fairlead, no digest"))
    opened = median(figures.rates("open_cpu", "fairlead, 1 thread"))
    copied = figures.memory["memcpy"] / 1e9
    grown = max(figures.rss_mib.values())
    return [
        Promise("seal, x `cp`", ">= 0.8", f"{bare:.2f}", bare >= 0.8),
        Promise("seal with SHA-256 of the plaintext, x `cp`", ">= 0.8", f"{ratio:.2f}", ratio >= 0.8),
        Promise(
            "decrypt and authenticate, GB/s a core",
            f">= 5, or 0.8 x memcpy ({copied:.1f})",
            f"{opened:.1f}",
            opened >= min(5.0, 0.8 * copied),
        ),
        Promise("memory above start, 2 GiB, MiB", "<= 64", f"{grown:.0f}", grown <= 64),
    ]


def table(figures: Figures) -> str:
    """Rates of everybody, medians with their range."""
    lines = ["| seal, file to file | GB/s | x `cp` | processor, s/GB |", "|---|---:|---:|---:|"]
    for name in figures.seconds["seal"]:
        rates, ratios = figures.rates("seal", name), figures.ratios(name)
        busy = [1 / rate for rate in figures.rates("seal_cpu", name)]
        lines.append(f"| {_shown(figures, name)} | {_range(rates)} | {_range(ratios)} | {_range(busy)} |")
    lines += ["", "| open: decrypt and authenticate | GB/s | GB/s a core |", "|---|---:|---:|"]
    for name in figures.seconds["open"]:
        core = _range(figures.rates("open_cpu", name)) if figures.seconds["open_cpu"][name] else ""
        lines.append(f"| {_shown(figures, name)} | {_range(figures.rates('open', name))} | {core} |")
    return "\n".join(lines)


def section(figures: Figures) -> str:
    """The section of docs/benchmarks.md."""
    kept = "\n".join(
        f"| {promise.text} | {promise.limit} | {promise.measured} | {'yes' if promise.kept else '**no**'} |"
        for promise in promises(figures)
    )
    size = f"{figures.size_bytes / (1 << 30):g} GiB"
    hashed = figures.memory["sha256"] / 1e9
    today = datetime.datetime.now(datetime.UTC).date()
    return f"""{BEGIN}
### The vault: sealing and opening a file of {size}

```console server
$ python -m bench.vault.throughput --write-docs
```

- Measured on {today}: {_processor()}, {os.cpu_count()} cores, Linux {platform.release().split("-")[0]}.
- The same random bytes, warm in the page cache, into a new file on the same file system, without waiting
  for the disk; in turns, {figures.rounds} rounds, after one that does not count. Medians, with the lowest
  and the highest; *x `cp`* is within a round.
- Opening throws the plaintext away; *a core* is by processor time, which other programs disturb less.
- `fairlead` computes the plaintext's SHA-256 in the same pass, as the vault does by default; the others
  compute none. SHA-256 cannot be split among cores: alone it does {hashed:.2f} GB/s here.

| promise | limit | measured | kept |
|---|---:|---:|---:|
{kept}

{table(figures)}

Copying in main memory: {figures.memory["memcpy"] / 1e9:.1f} GB/s a core. Memory above start:
{figures.rss_mib["seal"]:.0f} MiB to seal, {figures.rss_mib["open"]:.0f} MiB to open.
{_doubts(figures)}{END}"""


def write_section(figures: Figures, page: Path = PAGE) -> None:
    """Put the section into the page, in place of the one of an earlier run."""
    text = page.read_text()
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
    else:
        before = text if OTHERS in text else f"{text.rstrip()}\n{OTHERS}"
        before, after = f"{before.rstrip()}\n\n", "\n"
    page.write_text(f"{before}{section(figures)}{after}")


def _doubts(figures: Figures) -> str:
    """What to doubt: the machine was not ours alone when the same work took other times."""
    copied = figures.rates("seal", "cp")
    spread = (max(copied) - min(copied)) / median(copied)
    if spread < NOISY and figures.load < (os.cpu_count() or 1):
        return ""
    return (
        f"\nThe machine was shared: `cp` itself varied by {spread:.0%} between rounds, and the load was "
        f"{figures.load:.1f} at the end. With other programs on both cores, a\n"
        "seal of several threads gets no more of them than a copy of one: run it again on a quiet machine. "
        "The processor's\nseconds depend least on the others.\n"
    )


def _shown(figures: Figures, name: str) -> str:
    version = figures.versions.get(name)
    return f"{name} {version}" if version else name


def _range(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

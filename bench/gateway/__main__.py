"""The command line: what to run, where the results go."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.gateway import report
from bench.gateway.contestants import STARTERS, Contestant, install, verify
from bench.gateway.programs import BenchError, Generator, Upstream
from bench.gateway.results import REFERENCE, Machine, Run, Sample, floors
from bench.gateway.scenarios import SCENARIOS, Rig, Settings

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "bench" / "results"
PAGE: Final = ROOT / "docs" / "benchmarks.md"

_OTHERS: Final = "\n## Other benchmarks\n"
"""From here on the page is not this program's."""

_FULL: Final = Settings(
    rounds=5, seconds=5.0, streams=2000, tokens=200, tokens_per_s=20.0, soak=100_000, starts=5
)
_QUICK: Final = Settings(
    rounds=1, seconds=1.0, streams=500, tokens=60, tokens_per_s=20.0, soak=10_000, starts=2
)
_MILLION: Final = 1_000_000


def main(arguments: Sequence[str]) -> int:
    """Measure and report. Returns 1 when `--check` is given and a promise is not kept."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    try:
        if options.install:
            install()
        run = _measure(options, _settings(options), "python -m bench.gateway " + " ".join(arguments))
    except BenchError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    file = RESULTS / f"gateway-{stamp}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))
    print(report.text(run))
    print(f"\nwritten: {file.relative_to(ROOT)}")
    if options.write_docs:
        _, mark, others = PAGE.read_text(encoding="utf-8").partition(_OTHERS)
        PAGE.write_text(report.page(run) + mark + others, encoding="utf-8")
        print(f"written: {PAGE.relative_to(ROOT)}")
    if options.check:
        return int(any(floor.met is False for floor in floors(run)))
    return 0


def _leave(number: int, _frame: object) -> None:
    """End as by Ctrl-C, so that everything that was started ends too."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gateway",
        description="Measure the gateway against nginx, other LLM gateways and no gateway.",
    )
    parser.add_argument("--quick", action="store_true", help="short runs, one round: does everything work?")
    parser.add_argument("--only", metavar="NAMES", help=f"contestants, of {','.join(STARTERS)}")
    parser.add_argument("--scenarios", metavar="NAMES", help=f"of {','.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, help="how often contestants take turns")
    parser.add_argument("--seconds", type=float, help="length of one closed-loop run")
    parser.add_argument("--streams", type=int, help="slow streams at a time")
    parser.add_argument("--soak", action="store_true", help="a million requests in the soak, not 100,000")
    parser.add_argument(
        "--wrk", action="store_true", help="load by wrk where it can do it, as a check of ours"
    )
    parser.add_argument(
        "--install", action="store_true", help="get LiteLLM and Portkey into bench/.cache/ first"
    )
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a promise is not kept")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    settings = _QUICK if options.quick else _FULL
    changed = {
        name: getattr(options, name)
        for name in ("rounds", "seconds", "streams")
        if getattr(options, name) is not None
    }
    if options.soak:
        changed["soak"] = _MILLION
    return msgspec.structs.replace(settings, **changed)


def _chosen(text: str | None, known: Sequence[str], what: str) -> list[str]:
    if text is None:
        return list(known)
    names = text.split(",")
    for name in names:
        if name not in known:
            raise BenchError(f"no {what} `{name}`; there are {', '.join(known)}")
    return [name for name in known if name in names]


def _measure(options: argparse.Namespace, settings: Settings, command: str) -> Run:
    machine = _machine()
    names = _chosen(options.only, list(STARTERS), "contestant")
    scenarios = _chosen(options.scenarios, list(SCENARIOS), "scenario")
    missing: dict[str, str] = {}
    samples: list[Sample] = []
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-bench-")))
        upstream = stack.enter_context(Upstream(tokens=settings.tokens, tokens_per_s=settings.tokens_per_s))
        contestants: list[Contestant] = []
        for name in names:
            _say(f"starting {name}")
            try:
                contestant = STARTERS[name](upstream.port, directory)
                if contestant.process is not None:
                    stack.enter_context(contestant.process)
                verify(contestant)
            except BenchError as error:
                if name in (REFERENCE, "fairlead"):
                    raise
                missing[name] = str(error)
                continue
            contestants.append(contestant)
        rig = Rig(
            settings=settings,
            upstream=upstream,
            generator=Generator(directory, wrk=options.wrk),
            contestants=contestants,
            directory=directory,
            say=_say,
        )
        for name in scenarios:
            samples.extend(SCENARIOS[name](rig))
    _say("")
    return Run(
        command=command.strip(),
        measured_on=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine,
        versions={contestant.name: contestant.version for contestant in contestants},
        missing=missing,
        settings=msgspec.convert(msgspec.to_builtins(settings), dict[str, float]),
        samples=samples,
    )


def _machine() -> Machine:
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        raise BenchError("two cores are needed: one for the gateway, one for the load")
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            cpu = value.strip()
            break
    return Machine(
        cpu=cpu,
        cores=cores,
        kernel=".".join(platform.release().split(".")[:2]),
        python=platform.python_version(),
        load_before=os.getloadavg()[0],
    )


def _say(text: str) -> None:
    """Progress, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

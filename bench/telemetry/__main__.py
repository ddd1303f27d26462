"""The command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.gateway.programs import BenchError
from bench.telemetry import memory, overhead


def main(arguments: Sequence[str]) -> int:
    """Measure and print. Returns 1 when `--check` is given and a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry", description="What telemetry costs.")
    commands = parser.add_subparsers(dest="command", required=True)
    overhead.add_parser(commands)
    memory.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        kept: bool = options.run(options)
    except BenchError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    return int(options.check and not kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

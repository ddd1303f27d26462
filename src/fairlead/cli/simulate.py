"""`fairlead simulate`: a simulated engine, and experiments on simulated ones.

`engine` runs a simulated inference engine until it is told to stop; `fairness`
is `cli.simulate_fairness`, `cache` is `cli.simulate_cache`. The engine prints one line with its address when
it serves. SIGTERM and SIGINT end it; requests under way get a moment to
finish.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Mapping

from fairlead.cli import simulate_cache, simulate_fairness
from fairlead.errors import FairleadError, InvalidRequest, UsageError
from fairlead.simulate.engine import Latency, Limits
from fairlead.simulate.faults import Fault, parse
from fairlead.simulate.server import EngineConfig, start_engine

_DRAIN_S = 1.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command group."""
    group = subparsers.add_parser("simulate", help="run a simulated inference engine, or experiments")
    commands = group.add_subparsers(dest="simulate_command", metavar="COMMAND", required=True)
    engine = commands.add_parser(
        "engine",
        help="an inference server without a model: real protocol and timing, faults on command",
        description="Serve a provider's API with a continuous-batching latency model and made-up answers.",
    )
    engine.set_defaults(run=run)
    engine.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    engine.add_argument("--port", type=int, default=8100, help="port, 0 for any (default: %(default)s)")
    engine.add_argument("--control-port", type=int, help="second port on 127.0.0.1 that no fault closes")
    engine.add_argument(
        "--model", action="append", metavar="NAME", help="served model name, `*` for any; may be repeated"
    )
    engine.add_argument(
        "--dialect",
        choices=("openai", "anthropic", "gemini", "bedrock"),
        default="openai",
        help="whose wire format it speaks (default: %(default)s)",
    )
    engine.add_argument("--responses", action="store_true", help="serve /v1/responses too")
    engine.add_argument(
        "--enable-per-request-metrics", action="store_true", help="add a `metrics` object to each answer"
    )
    engine.add_argument(
        "--keep-times",
        type=int,
        default=0,
        metavar="N",
        help="keep when each token of the latest N answers was sent, for GET /simulate/times",
    )
    engine.add_argument("--api-key-env", metavar="NAME", help="environment variable with the key to require")
    engine.add_argument(
        "--fault", action="append", metavar="FAULT", help="fault in force from the start; may be repeated"
    )
    # Inherited from a parent whose end must be ours; nothing is read from it.
    engine.add_argument("--parent-fd", type=int, help=argparse.SUPPRESS)
    _add_timing(engine)
    simulate_fairness.add_command(commands)
    simulate_cache.add_command(commands)


def _add_timing(engine: argparse.ArgumentParser) -> None:
    times, limits = Latency(), Limits()
    group = engine.add_argument_group("timing and capacity")
    group.add_argument("--speed", type=float, default=1.0, metavar="N", help="divide every time by N")
    group.add_argument("--instant", action="store_true", help="no delays at all")
    for option, default, text in (
        ("--step-ms", times.base_s, "time of a step"),
        ("--sequence-ms", times.per_sequence_s, "more for each sequence in the batch"),
        ("--prefill-token-ms", times.per_prefill_token_s, "more for each prefilled token"),
    ):
        shown = f"{text} (default: {default * 1000:g})"
        group.add_argument(option, type=float, default=default * 1000, metavar="MS", help=shown)
    for option, count, text in (
        ("--kv-tokens", limits.kv_tokens, "KV-cache capacity and longest context"),
        ("--block-tokens", limits.block_tokens, "tokens in a cache block"),
        ("--max-batch", limits.max_batch, "sequences in a batch"),
        ("--step-tokens", limits.step_tokens, "tokens in a step (chunked prefill)"),
    ):
        group.add_argument(option, type=int, default=count, metavar="N", help=f"{text} (default: {count})")
    group.add_argument("--no-prefix-cache", action="store_true", help="compute every prompt in full")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes; returns the exit status."""
    config = config_from(args, os.environ)
    import uvloop  # here: other commands of this module's group need not load it

    uvloop.run(_serve(config, args))
    return 0


def config_from(args: argparse.Namespace, environ: Mapping[str, str]) -> EngineConfig:
    """The engine that the options describe.

    Raises:
        UsageError: a value is out of range, a fault is none, or the key's variable is not set.
    """
    for name in ("speed", "kv_tokens", "block_tokens", "max_batch", "step_tokens"):
        if not getattr(args, name) > 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0")
    for name in ("step_ms", "sequence_ms", "prefill_token_ms"):
        if not getattr(args, name) >= 0:
            raise UsageError(f"--{name.replace('_', '-')} must not be below 0")
    if args.keep_times < 0:
        raise UsageError("--keep-times must not be below 0")
    if args.block_tokens > args.kv_tokens:
        raise UsageError("--block-tokens must not be above --kv-tokens")
    api_key = None
    if args.api_key_env is not None:
        api_key = environ.get(args.api_key_env)
        if not api_key:
            raise UsageError(f"the environment variable {args.api_key_env} is not set")
    return EngineConfig(
        models=tuple(args.model or ("simulated",)),
        dialect=args.dialect,
        latency=Latency(
            base_s=args.step_ms / 1000,
            per_sequence_s=args.sequence_ms / 1000,
            per_prefill_token_s=args.prefill_token_ms / 1000,
            speed=args.speed,
            instant=args.instant,
        ),
        limits=Limits(
            kv_tokens=args.kv_tokens,
            block_tokens=args.block_tokens,
            max_batch=args.max_batch,
            step_tokens=args.step_tokens,
            prefix_cache=not args.no_prefix_cache,
        ),
        responses=args.responses,
        per_request_metrics=args.enable_per_request_metrics,
        api_key=api_key,
        faults=tuple(_fault(text) for text in args.fault or ()),
        keep_times=args.keep_times,
    )


def _fault(text: str) -> Fault:
    try:
        return parse(text)
    except InvalidRequest as error:
        raise UsageError(error.message, hint="docs/simulate.md lists the faults") from error


async def _serve(config: EngineConfig, args: argparse.Namespace) -> None:
    host, port = args.host, args.port
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    if args.parent_fd is not None:
        loop.add_reader(args.parent_fd, told.set)
    try:
        engine = await start_engine(config, host, port, control_port=args.control_port)
    except OSError as error:
        raise FairleadError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", hint="--port 0 takes any free port"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    control = "" if engine.control_port is None else f", control on http://127.0.0.1:{engine.control_port}"
    print(
        f"simulated {config.dialect} engine on http://{shown}:{engine.port}{control}, "
        f"models: {', '.join(config.models)}",
        flush=True,
    )
    try:
        await told.wait()
    finally:
        await engine.stop(_DRAIN_S)

"""Everything that is read of engines and GPUs, and their cost, built from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fairlead.config import Config, Secret
from fairlead.net.client import Client
from fairlead.storage.ports import Database
from fairlead.telemetry.gpu.accounts import GpuAccounts, pools_by_target
from fairlead.telemetry.gpu.db import GpuLedger
from fairlead.telemetry.gpu.work import GpuSink
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.scrapers.board import Board
from fairlead.telemetry.scrapers.fetch import place_of
from fairlead.telemetry.scrapers.nvml import Nvml, Reader
from fairlead.telemetry.scrapers.watch import EndpointWatch, Scraped
from fairlead.types import Usage


class Gpus:
    """One worker's part of it."""

    def __init__(
        self,
        board: Board,
        ledger: GpuLedger,
        watch: EndpointWatch | None,
        accounts: GpuAccounts | None,
        sink: GpuSink | None,
    ) -> None:
        self.board = board
        """The last readings; the gateway's own watch of engines tells it too."""
        self.ledger = ledger
        self.watch = watch
        """To be run; None where nothing is configured to be read."""
        self.accounts = accounts
        """To be run; None where no GPU has a price."""
        self.sink = sink
        """For the recorder; None likewise."""

    def gpu_seconds(self, target: str, usage: Usage) -> float:
        """About how much GPU time an answer takes at a target; 0.0 when unknown."""
        return self.accounts.gpu_seconds(target, usage) if self.accounts is not None else 0.0

    def readings(self, now: float) -> Iterator[Reading]:
        """All of it as metrics at `now` (monotonic seconds)."""
        yield from self.board.readings(now)
        if self.accounts is not None:
            yield from self.accounts.readings()


def open_gpus(
    config: Config,
    client: Client,
    database: Database,
    *,
    secret: Callable[[Secret], str],
    proxy_for: Callable[[str, str, int], str | None],
    node: str,
    closes: bool,
) -> Gpus:
    """Build what the configuration asks for; nothing is read yet.

    Args:
        config: its section `telemetry` counts.
        client: for the endpoints.
        database: where costs are kept.
        secret: a secret's value.
        proxy_for: the proxy of an address, if any.
        node: this host's name.
        closes: this process closes the windows of GPU cost.

    Raises:
        ConfigError: a secret is missing, or is none.
    """
    options = config.telemetry
    board = Board(claimed=[one.target for one in options.scrape if one.target is not None])
    scraped = [
        Scraped(one, place_of(one, secret(one.bearer) if one.bearer is not None else None, proxy_for))
        for one in options.scrape
    ]
    reader = Reader(Nvml(node).read) if options.nvml else None
    watch = EndpointWatch(client, board, scraped, reader) if scraped or reader is not None else None
    ledger = GpuLedger(database)
    if not options.gpus:
        return Gpus(board, ledger, watch, None, None)
    accounts = GpuAccounts(
        ledger,
        options.gpus,
        board,
        settle_s=options.gpu_settle_s,
        retention_days=config.ledger.retention_days,
        closes=closes,
    )
    return Gpus(board, ledger, watch, accounts, GpuSink(ledger, pools_by_target(options.gpus)))

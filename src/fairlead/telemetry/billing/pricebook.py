"""What each target of a configuration costs, and who says so.

For a call to `model` at a target, the first of these that knows it:

1. the target's own prices (`models.NAME.targets[].input_usd_per_mtok` and the others);
2. `prices.models`, by `PROVIDER/MODEL`, then by `MODEL`;
3. the price table, in the list that the target's provider is billed by.

Otherwise nothing does, and a call has no cost. Engines and the simulated model
are in no list. The table is opened when the first target is found that may be
in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from fairlead.config import Config, Target
from fairlead.config.price_options import ModelPrices
from fairlead.telemetry.billing.cost import Prices, price, price_each, prices_of
from fairlead.telemetry.billing.price_lists import PriceList, price_list
from fairlead.telemetry.billing.prices import Listed, Table, load, shipped

CONFIGURED = "config"
"""`Prices.source` of prices that stand in the configuration."""


class PriceBook:
    """The prices of one configuration."""

    def __init__(self, config: Config, table: Callable[[], Table] | None = None) -> None:
        """Keep the configuration; the table is not opened yet.

        Args:
            config: the whole configuration.
            table: opens the table; what the configuration says when left out.
        """
        options = config.prices
        self._open = table or opener(config)
        self._table: Table | None = None
        self._models = {name: _configured(prices) for name, prices in options.models.items()}
        self._lists: dict[str, PriceList] = {}
        for name, provider in config.providers.items():
            found = price_list(provider, options.providers.get(name)) if options.enabled else None
            if found is not None:
                self._lists[name] = found

    @property
    def table(self) -> Table:
        """The price table. Raises ConfigError when it cannot be opened."""
        if self._table is None:
            self._table = self._open()
        return self._table

    def prices(self, target: Target, model: str) -> Prices | None:
        """What a call to `model` at a target costs; None when nothing says.

        Raises:
            ConfigError: the table cannot be opened, or its entry is none.
        """
        own = prices_of(target)
        if own is not None:
            return msgspec.structs.replace(own, source=CONFIGURED)
        return self.upstream_prices(target.provider, model)

    def upstream_prices(self, provider: str, model: str) -> Prices | None:
        """As `prices`, of a target without prices of its own."""
        configured = self._models.get(f"{provider}/{model}") or self._models.get(model)
        if configured is not None:
            return configured
        listed = self.listed(provider, model)
        return listed.prices if listed is not None else None

    def listed(self, provider: str, model: str) -> Listed | None:
        """The model's entry in the table; None without one."""
        place = self._lists.get(provider)
        return self.table.find(place.name, model, zone=place.zone) if place is not None else None

    def pricing(self, target: Target) -> Callable[[str], Prices | None]:
        """`prices` of a target, by model, for the request path: the table is opened now and not by a request.

        Raises:
            ConfigError: the table cannot be opened, or its entry is none.
        """
        if target.model is not None or prices_of(target) is not None:
            fixed = self.prices(target, target.model or "")
            return lambda model: fixed
        if target.provider in self._lists:
            self._table = self.table
        return lambda model: self.upstream_prices(target.provider, model)


def pricing_of(config: Config) -> dict[str, list[Callable[[str], Prices | None]]]:
    """The pricing of every target, by model name, in the order of its targets.

    Raises:
        ConfigError: the table cannot be opened, or an entry that is needed is none.
    """
    book = PriceBook(config)
    return {name: [book.pricing(target) for target in model.targets] for name, model in config.models.items()}


def opener(config: Config) -> Callable[[], Table]:
    """Opens the table that a configuration names, or else the one that is shipped."""
    file = config.prices.file
    return shipped if file is None else lambda: load(Path(file))


def _configured(said: ModelPrices) -> Prices:
    whole = said.input_usd_per_mtok or 0.0
    read, write = said.cache_read_usd_per_mtok, said.cache_write_usd_per_mtok
    return Prices(
        input=price(whole),
        output=price(said.output_usd_per_mtok or 0.0),
        cache_read=price(whole if read is None else read),
        cache_write=price(whole if write is None else write),
        cache_write_1h=_optional(said.cache_write_1h_usd_per_mtok),
        reasoning=_optional(said.reasoning_usd_per_mtok),
        audio_input=_optional(said.audio_input_usd_per_mtok),
        audio_output=_optional(said.audio_output_usd_per_mtok),
        image_input=_optional(said.image_input_usd_per_mtok),
        image_output=_optional(said.image_output_usd_per_mtok),
        request=price_each(said.request_usd or 0.0),
        audio_second=price_each(said.audio_second_usd or 0.0),
        source=CONFIGURED,
    )


def _optional(usd_per_mtok: float | None) -> int | None:
    return None if usd_per_mtok is None else price(usd_per_mtok)

"""Price tables: what providers charge, by list and model name.

A table is a JSON file with a version, its source and lists of models; the one
that ships is made by `scripts/build_prices.py`. Opening it reads the names
only: a model's prices are decoded when somebody asks for them, so that a table
of thousands of models costs a start two milliseconds.

`Table.find` knows the spellings under which one model is sold and nothing
else. What is not in the table under one of them has no price.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fairlead.errors import ConfigError
from fairlead.telemetry.billing.cost import Prices, price, price_each

_MAX_BYTES: Final = 32 * 1024 * 1024
_FORMAT: Final = 1

_Amount = Annotated[float, Meta(ge=0, le=1e9)]


class _Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices as they are written: dollars per million tokens. None: not said."""

    input: _Amount | None = None
    output: _Amount | None = None
    cache_read: _Amount | None = None
    cache_write: _Amount | None = None
    cache_write_1h: _Amount | None = None
    cache_read_audio: _Amount | None = None
    reasoning: _Amount | None = None
    audio_input: _Amount | None = None
    audio_output: _Amount | None = None
    image_input: _Amount | None = None
    image_output: _Amount | None = None
    request: _Amount | None = None
    audio_second: _Amount | None = None


class _Tier(_Rates, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    above: dict[str, _Rates] = {}


class _Entry(_Tier, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    tiers: dict[str, _Tier] = {}
    factors: dict[str, _Amount] = {}
    """By what everything is multiplied in a zone (`eu`) or mode (`fast`)."""
    context_window: int | None = None
    max_output: int | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    version: Annotated[str, Meta(min_length=1, max_length=80)]
    lists: dict[str, dict[str, msgspec.Raw]]
    source: str = ""
    source_version: str = ""
    date: str = ""
    licence: str = ""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a table."""

    name: str
    """As the table spells it."""
    prices: Prices
    context_window: int | None
    """Tokens; None where the table does not say."""
    max_output: int | None


_file_decoder: Final = msgspec.json.Decoder(_File)
_entry_decoder: Final = msgspec.json.Decoder(_Entry)
_RATES: Final = tuple(_Rates.__struct_fields__)
_EACH: Final = frozenset({"request", "audio_second"})


class Table:
    """One price table."""

    def __init__(self, data: bytes, *, name: str, version: str = "") -> None:
        """Read a table.

        Args:
            data: the JSON.
            name: of the file, for messages.
            version: what it is called in records; made of its own version and its digest when left out.

        Raises:
            ConfigError: it is no price table.
        """
        try:
            file = _file_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{name} is no price table: {error}") from error
        if file.format != _FORMAT:
            raise ConfigError(
                f"{name} is a price table of format {file.format}; this version knows {_FORMAT}"
            )
        self._lists = file.lists
        self._name = name
        self._found: dict[tuple[str, str, str], Listed] = {}
        self.version = version or f"{file.version}#{hashlib.sha256(data).hexdigest()[:8]}"
        """What records call it. Two tables that differ have different ones."""
        self.source = " ".join(filter(None, (file.source, file.source_version)))
        self.date = file.date

    def lists(self) -> Mapping[str, int]:
        """The lists of the table and how many models each has."""
        return {name: len(models) for name, models in self._lists.items()}

    def find(self, listed: str, model: str, *, zone: str = "") -> Listed | None:
        """The model that a provider sells as `model`; None when the table does not know it.

        Args:
            listed: name of the list.
            model: as the upstream is asked for it.
            zone: the region that is billed, where prices depend on it.

        Raises:
            ConfigError: the entry in the table is not one.
        """
        models = self._lists.get(listed)
        if models is None:
            return None
        for name in spellings(listed, model, zone):
            entry = models.get(name)
            if entry is not None:
                return self._listed(listed, name, zone, entry)
        return None

    def check(self) -> None:
        """Read every entry. Raises ConfigError at the first that is none."""
        for listed, models in self._lists.items():
            for name, entry in models.items():
                self._listed(listed, name, "", entry)
        self._found.clear()

    def _listed(self, listed: str, name: str, zone: str, raw: msgspec.Raw) -> Listed:
        key = (listed, name, zone)
        found = self._found.get(key)
        if found is None:
            try:
                entry = _entry_decoder.decode(raw)
                prices = _prices(entry, zone, self.version)
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
                raise ConfigError(f"{self._name}: lists.{listed}.{name}: {error}") from error
            found = self._found[key] = Listed(
                name=name,
                prices=prices,
                context_window=entry.context_window,
                max_output=entry.max_output,
            )
        return found


def shipped() -> Table:
    """The table that comes with this version."""
    folder = resources.files("fairlead.telemetry") / "data"
    newest = max(
        (file for file in folder.iterdir() if re.fullmatch(r"prices-[\d-]+\.json", file.name)),
        key=lambda file: file.name,
    )
    date = newest.name.removeprefix("prices-").removesuffix(".json")
    return Table(newest.read_bytes(), name=newest.name, version=date)


def load(path: Path) -> Table:
    """A table from a file of the user's, every entry checked.

    Raises:
        ConfigError: it cannot be read or is no price table.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the price table {path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"the price table {path} is larger than {_MAX_BYTES} bytes")
    table = Table(data, name=str(path))
    table.check()
    return table


# --- spellings ----------------------------------------------------------------------------------

_DATED: Final = re.compile(r"(?:-\d{4}-\d{2}-\d{2}|[-@]\d{8}|-latest)\Z")
_NUMBERED: Final = re.compile(r"-\d{3}\Z")
_ARN: Final = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:\d*:(?:inference-profile|foundation-model)/")
_GEOGRAPHY: Final = re.compile(r"(?:us|eu|apac|jp|au|ca|us-gov|global)\.(?=[a-z0-9-]+\.)")
_LONGEST: Final = 300


def spellings(listed: str, model: str, zone: str = "") -> Iterator[str]:
    """The names under which a list may hold `model`, the most exact one first.

    As it is, in the zone before without one. Then without what says who sells
    it (`openai/`, `models/`, an ARN), then what is the same model in another
    place (`us.` of Bedrock's inference profiles) or another snapshot of it
    (a date, `-latest`, Gemini's `-001`) or made of it (`ft:`).
    """
    if len(model) > _LONGEST:
        return
    for name in _names(listed, model):
        if zone:
            yield f"{zone}/{name}"
        yield name


def _names(listed: str, model: str) -> Iterator[str]:
    yield model
    prefix = f"{listed}/"
    if model.startswith(prefix):
        model = model[len(prefix) :]
        yield model
    if listed == "gemini" and model.startswith("models/"):
        model = model.removeprefix("models/")
        yield model
    if listed == "bedrock":
        if arn := _ARN.match(model):
            model = model[arn.end() :]
            yield model
        if geography := _GEOGRAPHY.match(model):
            yield model[geography.end() :]
        return  # its names end with a version, which is a part of the model's name
    if model.startswith("ft:"):
        # ft:BASE:ORGANISATION:NAME:ID
        model = ":".join(model.split(":")[:2])
        yield model
    if listed == "gemini" and (number := _NUMBERED.search(model)):
        yield model[: number.start()]
    if date := _DATED.search(model):
        yield model[: date.start()]


# --- entries ------------------------------------------------------------------------------------


def _prices(entry: _Entry, zone: str, source: str) -> Prices:
    """The prices of an entry in a zone, with every tier and every combination with a mode."""
    base = Fraction(str(entry.factors.get(zone, 1))) if zone else Fraction(1)
    modes = {name: Fraction(str(factor)) for name, factor in entry.factors.items() if name != zone}
    tiers: dict[str, Prices] = {}
    for tier in ("", *entry.tiers):
        for mode in _combinations(modes):
            name = "+".join(filter(None, (tier, *sorted(mode))))
            if name:
                factor = base
                for one in mode:
                    factor *= modes[one]
                tiers[name] = _staged(entry, entry.tiers.get(tier), factor, source)
    return msgspec.structs.replace(_staged(entry, None, base, source), tiers=tiers)


def _combinations(modes: Mapping[str, Fraction]) -> Iterator[tuple[str, ...]]:
    names = sorted(modes)[:4]
    for bits in range(1 << len(names)):
        yield tuple(name for place, name in enumerate(names) if bits >> place & 1)


def _staged(entry: _Entry, tier: _Tier | None, factor: Fraction, source: str) -> Prices:
    """The prices of one tier (None: the ordinary one) with their stages."""
    own = _said(tier) if tier is not None else {}
    stages = []
    for threshold in sorted({*entry.above, *(tier.above if tier is not None else ())}, key=int):
        stage = {**_said(entry), **_said(entry.above.get(threshold))}
        if tier is not None and threshold in tier.above:
            stage |= own | _said(tier.above[threshold])
        # A tier without a price for long requests bills them as the ordinary one does.
        stages.append((int(threshold), _resolved(stage, factor, source)))
    plain = _resolved({**_said(entry), **own}, factor, source)
    return msgspec.structs.replace(plain, above=tuple(stages))


def _said(rates: _Rates | None) -> dict[str, float]:
    if rates is None:
        return {}
    return {name: value for name in _RATES if (value := getattr(rates, name)) is not None}


def _resolved(said: Mapping[str, float], factor: Fraction, source: str) -> Prices:
    prices = {
        name: round((price_each(value) if name in _EACH else price(value)) * factor)
        for name, value in said.items()
    }
    whole = prices.get("input", 0)
    return Prices(
        input=whole,
        output=prices.get("output", 0),
        cache_read=prices.get("cache_read", whole),
        cache_write=prices.get("cache_write", whole),
        cache_write_1h=prices.get("cache_write_1h"),
        cache_read_audio=prices.get("cache_read_audio"),
        reasoning=prices.get("reasoning"),
        audio_input=prices.get("audio_input"),
        audio_output=prices.get("audio_output"),
        image_input=prices.get("image_input"),
        image_output=prices.get("image_output"),
        request=prices.get("request", 0),
        audio_second=prices.get("audio_second", 0),
        source=source,
    )

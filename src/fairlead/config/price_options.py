"""The section `prices`: what targets cost that have no prices of their own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from fairlead.config.kinds import Amount, Section


class ModelPrices(Section, frozen=True, kw_only=True):
    """Prices of one model. What is left out costs what the kind it is part of does."""

    input_usd_per_mtok: Annotated[Amount | None, Meta(description="Price per million input tokens.")] = None
    output_usd_per_mtok: Annotated[Amount | None, Meta(description="Price per million output tokens.")] = None
    cache_read_usd_per_mtok: Annotated[
        Amount | None, Meta(description="Price per million input tokens read from the provider's cache.")
    ] = None
    cache_write_usd_per_mtok: Annotated[
        Amount | None, Meta(description="Price per million input tokens written to the provider's cache.")
    ] = None
    cache_write_1h_usd_per_mtok: Annotated[
        Amount | None, Meta(description="The same, of what is kept for an hour instead of minutes.")
    ] = None
    reasoning_usd_per_mtok: Annotated[
        Amount | None, Meta(description="Price per million output tokens that were reasoning.")
    ] = None
    audio_input_usd_per_mtok: Annotated[
        Amount | None, Meta(description="Price per million input tokens of audio.")
    ] = None
    audio_output_usd_per_mtok: Annotated[
        Amount | None, Meta(description="Price per million output tokens of audio.")
    ] = None
    image_input_usd_per_mtok: Annotated[
        Amount | None, Meta(description="Price per million input tokens of images.")
    ] = None
    image_output_usd_per_mtok: Annotated[
        Amount | None, Meta(description="Price per million output tokens of images.")
    ] = None
    request_usd: Annotated[Amount | None, Meta(description="Price of each request, beside its tokens.")] = (
        None
    )
    audio_second_usd: Annotated[
        Amount | None, Meta(description="Price of each second of audio, where usage is told in seconds.")
    ] = None


class PriceOptions(Section, frozen=True, kw_only=True):
    """What targets cost that have no prices of their own. A target's own prices always win."""

    enabled: Annotated[
        bool,
        Meta(description="Look prices up in the table; with false only configured prices count."),
    ] = True
    file: Annotated[
        str | None, Meta(description="JSON file with a price table to use instead of the built-in one.")
    ] = None
    providers: Annotated[
        dict[str, str],
        Meta(
            description="Which list of the table an entry of `providers` is billed by, such as `openai` or "
            "`azure/eu`; `none` for no list. Found by type and address when left out."
        ),
    ] = field(default_factory=dict)
    models: Annotated[
        dict[str, ModelPrices],
        Meta(
            description="Prices by the upstream's model name, or by `PROVIDER/MODEL` for one provider. They "
            "replace the table's."
        ),
    ] = field(default_factory=dict)

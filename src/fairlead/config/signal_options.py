"""The options of `signals`: what answers are like, and whether prompts or answers have become others."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta

from fairlead.config.kinds import Amount, Count, Fraction, Seconds, Section

Feature = Literal["refusal", "repetition", "validity", "language", "grounding"]
ContextSource = Literal["tool_results", "documents", "tags", "system"]
FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)
CONTEXT: Final[tuple[ContextSource, ...]] = ("tool_results", "documents", "tags")


class SignalDrift(Section, frozen=True, kw_only=True):
    """Compare prompts, answers and what is true of answers with the same hours of earlier weeks. Vectors of
    texts are kept in the state store for it."""

    embedder: Annotated[
        str,
        Meta(
            min_length=1,
            description="Who turns texts into vectors: `hashed` (nobody: letters), `minilm` (on this "
            "machine, with `fairlead[embed]`), or a model of this gateway that answers `/v1/embeddings`.",
        ),
    ] = "hashed"
    window: Annotated[
        int, Meta(ge=50, le=5000, description="Sampled requests after which a comparison is made.")
    ] = 250
    reference_days: Annotated[
        int, Meta(ge=1, le=366, description="How far back the requests lie that a window is compared with.")
    ] = 28
    gap_hours: Annotated[
        float, Meta(ge=0, le=720, description="How much older than the window they are at least.")
    ] = 24.0
    min_reference: Annotated[
        int, Meta(ge=100, le=5000, description="Comparable requests without which nothing is said.")
    ] = 300
    kept_per_hour: Annotated[
        int, Meta(ge=10, le=5000, description="Vectors kept of an hour that is over, per model and signal.")
    ] = 100
    per_user: Annotated[Count, Meta(description="Requests of one user that count within an hour.")] = 2
    false_alarms_per_month: Annotated[
        float,
        Meta(gt=0, le=100, description="False alarms that all comparisons together may raise on average."),
    ] = 2.0
    keep_examples: Annotated[
        bool,
        Meta(description="Keep the beginnings of the texts, redacted, to show them as examples of an alarm."),
    ] = False


class SignalReasks(Section, frozen=True, kw_only=True):
    """Ask some questions again, and see how far the answers lie apart. Costs money."""

    usd_per_day: Annotated[
        Amount,
        Meta(description="Most that they may cost a day (UTC), all gateways on one state store together."),
    ]
    share: Annotated[Fraction, Meta(description="Part of the sampled requests that are asked again.")] = 0.01
    times: Annotated[int, Meta(ge=1, le=8, description="How often each is asked again.")] = 3
    timeout_s: Annotated[Seconds, Meta(description="Longest wait for an answer.")] = 120.0


class Signals(Section, frozen=True, kw_only=True):
    """Semantic metrics of a sample of answers, with the extra `fairlead[signals]`. Texts are looked at in a
    process of the gateway's own, leave the machine for nobody but a configured embedder, and are not
    stored."""

    sample: Annotated[Fraction, Meta(description="Part of the requests that is looked at.")] = 0.05
    models: Annotated[
        dict[str, Fraction], Meta(description="Another part, by model; 0 leaves a model out.")
    ] = {}  # noqa: RUF012 - msgspec copies defaults
    max_per_minute: Annotated[Count, Meta(description="Requests looked at, per worker.")] = 600
    max_content_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=16_777_216,
            description="Largest request, and largest answer, that is looked at, in bytes.",
        ),
    ] = 262_144
    max_waiting: Annotated[
        Count, Meta(description="Requests that wait to be looked at; more are dropped.")
    ] = 256
    features: Annotated[
        list[Feature] | None,
        Meta(description="What is computed of an answer, besides whether it was cut off; all when left out."),
    ] = None
    context: Annotated[
        list[ContextSource] | None,
        Meta(
            description="What answers should be grounded in: results of tools, documents (files with text), "
            "texts in tags such as `<context>`, system prompts; all but the last when left out."
        ),
    ] = None
    drift: Annotated[SignalDrift | None, Meta(description="Find changes; off when left out.")] = None
    reasks: Annotated[
        SignalReasks | None, Meta(description="Measure self-consistency; off when left out.")
    ] = None

"""The options of `models.NAME.cache.semantic`: answers given to questions that were put differently."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fairlead.config.kinds import Amount, Count, Fraction, Seconds, Section, Share

Dimensions = Annotated[int, Meta(ge=2, le=8192)]


class SemanticAudit(Section, frozen=True, kw_only=True):
    """How much may be spent on finding out whether what is served is right."""

    share: Annotated[
        Share, Meta(description="Part of the hits that are asked again, at random, and compared.")
    ] = 0.05
    per_hour: Annotated[
        Count, Meta(description="Most audits an hour; likewise most answers for a judge.")
    ] = 600
    usd_per_day: Annotated[
        Amount,
        Meta(
            description="Most that audits and the judge may cost a day (UTC); afterwards nobody is asked. "
            "What has no price counts nothing.",
        ),
    ] = 1.0


class SemanticJudge(Section, frozen=True, kw_only=True):
    """Who says whether two answers mean the same, when their texts, JSON and numbers do not tell."""

    model: Annotated[
        str | None,
        Meta(description="Model of this gateway that is asked last; without one, what is undecided differs."),
    ] = None
    same_above: Annotated[
        Share | None,
        Meta(
            description="Cosine of the answers' vectors from which they count as the same; left out: never."
        ),
    ] = None
    different_below: Annotated[
        Fraction, Meta(description="Cosine below which they count as different, with `same_above`.")
    ] = 0.6
    missed_share: Annotated[
        float,
        Meta(
            ge=0,
            lt=1,
            description="Of different answers, the part at most that vectors or the judge take for the same; "
            "the bound is widened by it.",
        ),
    ] = 0.1
    timeout_s: Annotated[Seconds, Meta(description="Longest wait for the judge.")] = 30.0


class SemanticCache(Section, frozen=True, kw_only=True):
    """Give a kept answer to a question that means the same, once that has been verified often enough."""

    embedder: Annotated[
        str,
        Meta(
            min_length=1,
            description="Who makes vectors of questions: `hashed` (from letters), `minilm` (on this machine, "
            "with `fairlead[embed]`), or a model of this gateway that answers `/v1/embeddings`.",
        ),
    ]
    dimensions: Annotated[
        Annotated[int, Meta(ge=2, le=8192)] | None,
        Meta(description="Length of that model's vectors; others are refused."),
    ] = None
    max_false_hit_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=0.5,
            description="Nothing is served unless the 95 % upper bound of the false rate is within it.",
        ),
    ] = 0.02
    max_temperature: Annotated[
        Amount,
        Meta(description="Requests above it are not compared; a request that names none counts as 1."),
    ] = 0.3
    timeout_s: Annotated[
        Seconds, Meta(description="Longest wait for a question's vector; then the model is asked.")
    ] = 0.25
    audit: Annotated[SemanticAudit, Meta(description="What verifying may take.")] = SemanticAudit()
    judge: Annotated[SemanticJudge, Meta(description="Who compares answers.")] = SemanticJudge()

"""Semantic metrics: what answers are like, and whether prompts or answers have become others.

    turn, features            a sampled request and its answer, and what is computed of it
    refusal, repetition,      one metric each
    validity, language,
    grounding, dispersion
    hashed                    texts as vectors, without a model
    permute, shift,           do two samples come from the same traffic? (numpy)
    clusters, compare
    reference, spending       what a window is compared with, and at which level
    tally                     counts, as metrics show them
    db                        items, windows and money spent
    lab                       the process that computes, seen from the gateway

Nothing here is on the path of a request: `gateway.sampling` takes a share of
answers, `lab` has another process compute, and what cannot keep up is dropped
and counted. A metric says that answers changed, not how good they are:
levels differ by model, so alerts belong on changes.
"""

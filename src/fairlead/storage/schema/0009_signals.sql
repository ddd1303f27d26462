-- Semantic metrics: what is compared, what came of it, and what was spent on asking again. No text is in here
-- but the beginnings that `signals.drift.keep_examples` asks for.

-- One row for each sampled request and signal ('prompt', 'answer', 'behaviour').
CREATE TABLE signal_items (
    model TEXT NOT NULL,
    signal TEXT NOT NULL,
    embedder TEXT NOT NULL, -- whose vector it is; '' of behaviour, which has none
    at_us BIGINT NOT NULL, -- Unix microseconds
    id TEXT NOT NULL, -- the request's
    user_mark TEXT NOT NULL, -- a keyed digest; '' where the request names no user
    session_mark TEXT NOT NULL,
    lot INTEGER NOT NULL, -- at random: of an hour that has too many, the lowest stay
    digest BYTEA NOT NULL, -- keyed, of the text
    vector BYTEA NOT NULL, -- a byte a number
    marks INTEGER NOT NULL, -- bits: refused, truncated, degenerate, invalid, mismatched
    example TEXT NOT NULL,
    PRIMARY KEY (model, signal, embedder, at_us, id)
);

CREATE INDEX signal_items_at ON signal_items (at_us);

-- One row for each comparison. Of several gateways that make one, the first to insert it has made it.
CREATE TABLE signal_windows (
    model TEXT NOT NULL,
    signal TEXT NOT NULL,
    number INTEGER NOT NULL, -- from 1
    compared_us BIGINT NOT NULL,
    ended_us BIGINT NOT NULL, -- of its last request
    p_value DOUBLE PRECISION NOT NULL,
    alpha DOUBLE PRECISION NOT NULL,
    outcome BYTEA NOT NULL, -- MessagePack, all of it
    PRIMARY KEY (model, signal, number)
);

-- What may still be spent on a day, and the key that marks of users are made with.
CREATE TABLE signal_spending (
    day TEXT NOT NULL PRIMARY KEY, -- UTC, as 2026-01-31
    microusd BIGINT NOT NULL -- spent or reserved
);

CREATE TABLE signal_secrets (
    name TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

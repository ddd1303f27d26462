-- Roll-ups of the requests, for percentiles over any window. A batch of requests is written together with
-- one row of the journal that holds what of them is rolled up (MessagePack); a job merges journal rows into
-- the roll-ups of their minute, hour and day and deletes them, in one transaction. So each request is in the
-- journal or in all three roll-ups, never in both and never in none, whatever crashes when.
CREATE TABLE rollup_journal (
    id TEXT NOT NULL PRIMARY KEY, -- of the batch, so that writing it twice is harmless
    batch BYTEA NOT NULL
);

-- What a roll-up is of. `id` is the beginning of a digest of the six texts.
CREATE TABLE rollup_series (
    id BIGINT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    target TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    outcome TEXT NOT NULL,
    seen_at BIGINT NOT NULL -- the latest day with a request, in Unix seconds
);

CREATE TABLE rollups (
    span_s INTEGER NOT NULL, -- 60, 3600 or 86400
    start_at BIGINT NOT NULL, -- Unix seconds, a multiple of span_s
    series BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    -- Sketches, in the form of telemetry/sketch.py: microseconds and tokens of the requests that have any.
    ttft BYTEA NOT NULL, -- until the first token
    duration BYTEA NOT NULL,
    gap BYTEA NOT NULL, -- between two content events, each gap on its own
    pace BYTEA NOT NULL, -- the mean gap of each request
    prompt BYTEA NOT NULL, -- input tokens
    output BYTEA NOT NULL, -- output tokens
    PRIMARY KEY (span_s, start_at, series)
);

-- From when on there are roll-ups of each span; older ones have been deleted.
CREATE TABLE rollup_levels (
    span_s INTEGER NOT NULL PRIMARY KEY,
    kept_from BIGINT NOT NULL
);

INSERT INTO rollup_levels (span_s, kept_from) VALUES (60, 0), (3600, 0), (86400, 0);

-- One row. Whoever changes roll-ups raises the version from the one that was read before, or fails.
CREATE TABLE rollup_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);

INSERT INTO rollup_state (id, version) VALUES (1, 0);

-- 0 where a request is neither in the journal nor in roll-ups: those from before there were any. Only such
-- rows are in the index, so it costs a new request nothing.
ALTER TABLE requests ADD COLUMN rolled_up INTEGER NOT NULL DEFAULT 0;

CREATE INDEX requests_not_rolled_up ON requests (started_at) WHERE rolled_up = 0;

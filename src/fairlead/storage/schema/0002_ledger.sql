-- One row for each request. The columns are what lists are filtered by and usage is added up from;
-- `detail` holds the rest of the record (MessagePack), for the one request somebody looks at.
-- Every index costs each request half a microsecond, so there are two: the key, which stays that cheap
-- because the ids of one process ascend (random ones cost ten times as much), and time, which everything
-- else is searched by.
CREATE TABLE requests (
    id TEXT NOT NULL PRIMARY KEY,
    started_at DOUBLE PRECISION NOT NULL, -- Unix seconds
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    target TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    first_token_s DOUBLE PRECISION NOT NULL, -- 0 when there was none
    duration_s DOUBLE PRECISION NOT NULL,
    detail BYTEA NOT NULL
);

CREATE INDEX requests_started_at ON requests (started_at);

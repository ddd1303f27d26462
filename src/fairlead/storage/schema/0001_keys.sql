-- API keys. A row is never deleted: what once was a key stays refused, and stays in the list.
-- Times are Unix seconds. Lists are JSON arrays of strings.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE, -- SHA-256 of the secret, in hexadecimal
    name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    prefix TEXT NOT NULL,
    models TEXT NOT NULL,
    endpoints TEXT NOT NULL,
    ip_ranges TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    revoked_at DOUBLE PRECISION,
    rotated_from TEXT REFERENCES api_keys (id),
    revision BIGINT NOT NULL -- of the last change to this row
);

CREATE INDEX api_keys_revision ON api_keys (revision);

-- One row. Each change of a key increments it first, in the same transaction: the row's lock puts changes
-- in order, and a reader that has seen revision N finds later changes as rows above N.
CREATE TABLE api_key_revision (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL
);

INSERT INTO api_key_revision (id, revision) VALUES (1, 0);

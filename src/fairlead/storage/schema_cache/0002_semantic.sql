-- Questions whose answers are kept, with their vectors. `blob` holds all of it behind a checksum; the other
-- columns repeat what is needed to find and to throw away. `id` grows with every write, so that other
-- processes see what is new.
CREATE TABLE semantic_entries (
    id INTEGER PRIMARY KEY,
    name BYTEA NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    kept_until DOUBLE PRECISION NOT NULL,
    size_bytes BIGINT NOT NULL,
    blob BYTEA NOT NULL
);

CREATE UNIQUE INDEX semantic_entries_by_name ON semantic_entries (name);

CREATE INDEX semantic_entries_by_end ON semantic_entries (kept_until);

-- What each worker has learned of an embedder's candidates.
CREATE TABLE semantic_learned (
    worker INTEGER NOT NULL,
    embedder TEXT NOT NULL,
    saved_at DOUBLE PRECISION NOT NULL,
    blob BYTEA NOT NULL,
    PRIMARY KEY (worker, embedder)
);

-- Kept answers. `blob` is an entry with its checksum; the other columns repeat what it says of itself, so
-- that nothing has to be read to be counted or thrown away.
CREATE TABLE cache_entries (
    id BYTEA NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    kept_until DOUBLE PRECISION NOT NULL,
    size_bytes BIGINT NOT NULL,
    blob BYTEA NOT NULL
);

-- What has ended, and what ends soonest when there is no room, with the sizes: no entry is read for it.
CREATE INDEX cache_entries_by_end ON cache_entries (kept_until, size_bytes);

-- Purges and tenants' shares.
CREATE INDEX cache_entries_by_owner ON cache_entries (tenant, model, created_at, size_bytes);

-- What was thrown away, for processes that have answers in memory too. "" is any tenant, any model.
CREATE TABLE cache_purges (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    before_at DOUBLE PRECISION NOT NULL,
    purged_at DOUBLE PRECISION NOT NULL
);

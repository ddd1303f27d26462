-- The state of limits in process, written behind by the one process that holds it: cells are limits that
-- were touched, reservations are requests under way. `detail` is MessagePack. A row is deleted when
-- forgetting it changes nothing.
CREATE TABLE limit_cells (
    id TEXT NOT NULL PRIMARY KEY,
    detail BYTEA NOT NULL
);

CREATE TABLE limit_reservations (
    id TEXT NOT NULL PRIMARY KEY,
    detail BYTEA NOT NULL
);

-- One row: the moment, in Unix microseconds, that all rows are of. Written with them in one transaction.
CREATE TABLE limit_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    saved_at_us BIGINT NOT NULL
);

INSERT INTO limit_clock (id, saved_at_us) VALUES (1, 0);

-- Costs of past requests under another price table. `requests.cost_microusd` is what holds now; what held
-- before stays here. A revision is one recomputation, numbered from 1.
CREATE TABLE cost_revisions (
    revision INTEGER NOT NULL PRIMARY KEY,
    prices TEXT NOT NULL, -- version of the price table
    since DOUBLE PRECISION NOT NULL, -- Unix seconds: which requests it is of
    until DOUBLE PRECISION NOT NULL,
    begun_at DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION, -- NULL until all of them are done
    changed BIGINT NOT NULL DEFAULT 0 -- requests whose cost is another one now
);

-- The costs of one request through the revisions that changed it; revision 0 is what it cost when it was made.
CREATE TABLE request_costs (
    request_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    started_at DOUBLE PRECISION NOT NULL, -- of the request; what is older than the ledger keeps goes by it
    cost_microusd BIGINT, -- NULL where it was not known
    prices TEXT NOT NULL, -- what priced it: versions of price tables, `config`, or ''
    PRIMARY KEY (request_id, revision)
);

CREATE INDEX request_costs_started_at ON request_costs (started_at);

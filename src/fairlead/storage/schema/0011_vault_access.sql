-- Plaintext that principals were given by the vault; `vault/budgets.py` has the arithmetic. `detail` is JSON.
-- A row is written only by who has read its `revision`, so that two processes cannot spend the same bytes.
CREATE TABLE vault_budgets (
    principal TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    detail BYTEA NOT NULL
);

-- Approvals that were acted on: each is good once. Kept until they would have expired.
CREATE TABLE vault_used_approvals (
    id TEXT NOT NULL PRIMARY KEY,
    expires_at DOUBLE PRECISION NOT NULL
);

-- Grants that were taken back, until they would have expired.
CREATE TABLE vault_revoked_grants (
    id TEXT NOT NULL PRIMARY KEY,
    expires_at DOUBLE PRECISION NOT NULL
);

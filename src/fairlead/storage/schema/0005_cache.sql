-- What the cache did with a request ('' where it had no say), and what its answer saved: tokens, and
-- micro-dollars, NULL where nobody knows.
ALTER TABLE requests ADD COLUMN cache TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN saved_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN saved_microusd BIGINT;

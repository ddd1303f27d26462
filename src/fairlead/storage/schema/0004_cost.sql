-- What a request cost, in micro-dollars; NULL where no target that worked for it has prices.
ALTER TABLE requests ADD COLUMN cost_microusd BIGINT;

-- What GPUs cost and who has used them; `telemetry/gpu_cost.py` has the arithmetic. Times are Unix microseconds,
-- money is micro-dollars.

-- Attempts at targets on GPUs that are not wholly charged yet. Every worker adds its own; the one that closes
-- a window takes away what has ended.
CREATE TABLE gpu_work (
    id TEXT NOT NULL, -- the request's
    attempt INTEGER NOT NULL,
    pool TEXT NOT NULL,
    target TEXT NOT NULL,
    started_us BIGINT NOT NULL,
    first_us BIGINT NOT NULL,
    ended_us BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    begun INTEGER NOT NULL DEFAULT 0, -- an earlier window has been charged for its part
    PRIMARY KEY (id, attempt)
);

CREATE INDEX gpu_work_started ON gpu_work (pool, started_us);

-- One row for each closed window of a pool. Whoever inserts it has closed the window.
CREATE TABLE gpu_windows (
    pool TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    gpus INTEGER NOT NULL,
    busy_us BIGINT NOT NULL,
    gpu_us BIGINT NOT NULL,
    reserved_microusd BIGINT NOT NULL,
    used_microusd BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    weight_prompt BIGINT NOT NULL,
    weight_output BIGINT NOT NULL,
    weight_source TEXT NOT NULL,
    PRIMARY KEY (pool, start_us)
);

-- What a request is charged: a row for each window that it ran in.
CREATE TABLE gpu_shares (
    id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    start_us BIGINT NOT NULL, -- the window's
    pool TEXT NOT NULL,
    target TEXT NOT NULL,
    gpu_us BIGINT NOT NULL,
    microusd BIGINT NOT NULL,
    PRIMARY KEY (id, attempt, start_us)
);

CREATE INDEX gpu_shares_start ON gpu_shares (start_us);

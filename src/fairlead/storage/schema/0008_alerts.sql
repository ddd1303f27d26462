-- What gateways that share a database say to each other about alerts, and what must outlive them.
-- `detail` is MessagePack throughout.

-- Each gateway's latest numbers. `beat` grows with every turn: a gateway whose beat stands still is gone.
CREATE TABLE alert_reports (
    gateway TEXT NOT NULL PRIMARY KEY,
    beat BIGINT NOT NULL,
    detail BYTEA NOT NULL
);

-- One row: which gateway decides and sends.
CREATE TABLE alert_lease (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    holder TEXT NOT NULL,
    beat BIGINT NOT NULL
);

INSERT INTO alert_lease (id, holder, beat) VALUES (1, '', 0);

-- Alerts that are not inactive, by fingerprint.
CREATE TABLE alert_states (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    detail BYTEA NOT NULL
);

-- What each receiver was told of each group.
CREATE TABLE alert_groups (
    receiver TEXT NOT NULL,
    group_key TEXT NOT NULL,
    detail BYTEA NOT NULL,
    PRIMARY KEY (receiver, group_key)
);

-- Notifications to be sent (`due`), and those that nobody took (`dead`).
CREATE TABLE alert_outbox (
    id TEXT NOT NULL PRIMARY KEY,
    receiver TEXT NOT NULL,
    group_key TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    waited_s DOUBLE PRECISION NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    detail BYTEA NOT NULL
);

CREATE TABLE alert_silences (
    id TEXT NOT NULL PRIMARY KEY,
    until DOUBLE PRECISION NOT NULL,
    detail BYTEA NOT NULL
);

-- What was measured: the history of each rule, the evidence of tests, the latest findings.
CREATE TABLE alert_memory (
    name TEXT NOT NULL PRIMARY KEY,
    saved_at DOUBLE PRECISION NOT NULL,
    detail BYTEA NOT NULL
);

-- +goose Up
CREATE TABLE backtests (
    id           TEXT NOT NULL PRIMARY KEY,
    position     INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    active       BOOLEAN NOT NULL,
    state        TEXT NOT NULL
);
CREATE INDEX backtests_listed ON backtests (workspace_id, position);
CREATE INDEX backtests_active ON backtests (position) WHERE active;            -- what is to be worked on
-- Who works on a backtest. This and the results are no read models: the log does not know them.
CREATE TABLE backtest_work (
    backtest_id TEXT NOT NULL PRIMARY KEY,
    owner       TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE backtest_results (
    backtest_id         TEXT NOT NULL,
    position            INTEGER NOT NULL,           -- of the invocation
    execution_id        TEXT NOT NULL,
    shadow_id           TEXT NOT NULL,
    verdict             TEXT NOT NULL,
    reason              TEXT,                    -- why it was skipped
    original_status     TEXT NOT NULL,
    status              TEXT,                    -- of the shadow run, as all that follows
    error_code          TEXT,
    error_message       TEXT,
    output              BLOB,                    -- unless it is the same as the original's, or over 64 KiB
    difference          TEXT,                    -- a JSON Patch
    original_micros     INTEGER,                    -- where both completed, the original at its first attempt
    micros              INTEGER,
    original_prompt     INTEGER,
    original_completion INTEGER,
    original_total      INTEGER,
    prompt              INTEGER,
    completion          INTEGER,
    total               INTEGER,
    PRIMARY KEY (backtest_id, position)
);
CREATE INDEX backtest_results_by_verdict ON backtest_results (backtest_id, verdict, position);
CREATE INDEX backtest_results_by_position ON backtest_results (position);      -- to erase what came of an erased input

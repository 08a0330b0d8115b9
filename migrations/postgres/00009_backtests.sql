-- +goose Up
CREATE TABLE backtests (
    id           TEXT COLLATE "C" PRIMARY KEY,
    position     BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    active       BOOLEAN NOT NULL,
    state        TEXT COLLATE "C" NOT NULL
);
CREATE INDEX backtests_listed ON backtests (workspace_id, position);
CREATE INDEX backtests_active ON backtests (position) WHERE active;            -- what is to be worked on
-- Who works on a backtest. This and the results are no read models: the log does not know them.
CREATE TABLE backtest_work (
    backtest_id TEXT COLLATE "C" PRIMARY KEY,
    owner       TEXT COLLATE "C" NOT NULL,
    lease_until BIGINT NOT NULL
);
CREATE TABLE backtest_results (
    backtest_id         TEXT COLLATE "C" NOT NULL,
    position            BIGINT NOT NULL,           -- of the invocation
    execution_id        TEXT COLLATE "C" NOT NULL,
    shadow_id           TEXT COLLATE "C" NOT NULL,
    verdict             TEXT COLLATE "C" NOT NULL,
    reason              TEXT COLLATE "C",                    -- why it was skipped
    original_status     TEXT COLLATE "C" NOT NULL,
    status              TEXT COLLATE "C",                    -- of the shadow run, as all that follows
    error_code          TEXT COLLATE "C",
    error_message       TEXT COLLATE "C",
    output              BYTEA,                    -- unless it is the same as the original's, or over 64 KiB
    difference          TEXT COLLATE "C",                    -- a JSON Patch
    original_micros     BIGINT,                    -- where both completed, the original at its first attempt
    micros              BIGINT,
    original_prompt     BIGINT,
    original_completion BIGINT,
    original_total      BIGINT,
    prompt              BIGINT,
    completion          BIGINT,
    total               BIGINT,
    PRIMARY KEY (backtest_id, position)
);
CREATE INDEX backtest_results_by_verdict ON backtest_results (backtest_id, verdict, position);
CREATE INDEX backtest_results_by_position ON backtest_results (position);      -- to erase what came of an erased input

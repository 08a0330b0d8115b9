-- +goose Up
-- What waits or runs has a row here, and what has ended has none. While these columns were part of
-- executions every step of an execution changed several indexes.
CREATE TABLE execution_queue (
    id       TEXT NOT NULL PRIMARY KEY,             -- of the execution
    agent_id TEXT NOT NULL,
    due_at   INTEGER,                               -- while it waits for a worker
    worker   TEXT                                   -- while it runs
) WITHOUT ROWID;
INSERT INTO execution_queue (id, agent_id, due_at, worker)
    SELECT id, agent_id, due_at, worker FROM executions WHERE due_at IS NOT NULL OR worker IS NOT NULL;
CREATE INDEX execution_queue_due ON execution_queue (due_at) WHERE due_at IS NOT NULL;         -- what a worker may take
CREATE INDEX execution_queue_running ON execution_queue (worker) WHERE worker IS NOT NULL;     -- what a lost worker held

DROP INDEX executions_due;
DROP INDEX executions_running;
DROP INDEX executions_ended_badly;
ALTER TABLE executions DROP COLUMN due_at;
ALTER TABLE executions DROP COLUMN worker;
-- A column of its own, since an index on the status would change at every step.
ALTER TABLE executions ADD COLUMN ended_badly TEXT;                                            -- 'failed' or 'cancelled'
UPDATE executions SET ended_badly = status WHERE status IN ('failed', 'cancelled');
CREATE INDEX executions_ended_badly ON executions (ended_badly, position) WHERE ended_badly IS NOT NULL;

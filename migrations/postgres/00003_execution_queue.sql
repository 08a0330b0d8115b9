-- +goose Up
-- What waits or runs has a row here, and what has ended has none. While these columns were part of
-- executions every step of an execution put new entries into all indexes of its row.
CREATE TABLE execution_queue (
    id       TEXT COLLATE "C" PRIMARY KEY,         -- of the execution
    agent_id TEXT COLLATE "C" NOT NULL,
    due_at   BIGINT,                               -- while it waits for a worker
    worker   TEXT COLLATE "C"                      -- while it runs
) WITH (fillfactor = 70);
INSERT INTO execution_queue (id, agent_id, due_at, worker)
    SELECT id, agent_id, due_at, worker FROM executions WHERE due_at IS NOT NULL OR worker IS NOT NULL;
CREATE INDEX execution_queue_due ON execution_queue (due_at) WHERE due_at IS NOT NULL;         -- what a worker may take
CREATE INDEX execution_queue_running ON execution_queue (worker) WHERE worker IS NOT NULL;     -- what a lost worker held

DROP INDEX executions_due;
DROP INDEX executions_running;
DROP INDEX executions_ended_badly;
ALTER TABLE executions DROP COLUMN due_at, DROP COLUMN worker;
-- A column of its own, since an index on the status would have a new entry for every step.
ALTER TABLE executions ADD COLUMN ended_badly TEXT COLLATE "C";                                -- 'failed' or 'cancelled'
UPDATE executions SET ended_badly = status WHERE status IN ('failed', 'cancelled');
CREATE INDEX executions_ended_badly ON executions (ended_badly, position) WHERE ended_badly IS NOT NULL;

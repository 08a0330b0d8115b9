-- +goose Up
CREATE TABLE schedules (
    trigger_id TEXT PRIMARY KEY,
    spec       TEXT NOT NULL,         -- what the times come from: while it stays, next_at goes on
    version    INTEGER NOT NULL,         -- of the trigger that began with it
    next_at    INTEGER                   -- the first time that was not seen to; absent when it has ended
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;

-- +goose Up
CREATE TABLE schedules (
    trigger_id TEXT COLLATE "C" PRIMARY KEY,
    spec       TEXT COLLATE "C" NOT NULL,         -- what the times come from: while it stays, next_at goes on
    version    BIGINT NOT NULL,         -- of the trigger that began with it
    next_at    BIGINT                   -- the first time that was not seen to; absent when it has ended
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;

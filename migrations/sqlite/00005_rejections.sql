-- +goose Up
-- Calls that were refused: alike ones of a minute in one row, and no more rows than the service keeps.
CREATE TABLE rejections (
    trigger_id   TEXT NOT NULL, -- '' where no trigger's token was proven
    minute       INTEGER NOT NULL, -- its begin
    reason       TEXT NOT NULL,
    client_ip    TEXT NOT NULL, -- '' for many
    token_prefix TEXT NOT NULL,
    workspace_id TEXT NOT NULL, -- the trigger's
    message      TEXT NOT NULL,
    request_id   TEXT NOT NULL, -- the last call's
    calls        INTEGER NOT NULL,
    first_at     INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    PRIMARY KEY (trigger_id, minute, reason, client_ip, token_prefix)
) WITHOUT ROWID;
CREATE INDEX rejections_latest ON rejections (last_at);                      -- lists, and what is too old
CREATE INDEX rejections_of_trigger ON rejections (trigger_id, last_at);      -- what a trigger may keep

-- +goose Up
-- Calls that were refused: alike ones of a minute in one row, and no more rows than the service keeps.
CREATE TABLE rejections (
    trigger_id   TEXT COLLATE "C" NOT NULL, -- '' where no trigger's token was proven
    minute       BIGINT NOT NULL, -- its begin
    reason       TEXT COLLATE "C" NOT NULL,
    client_ip    TEXT COLLATE "C" NOT NULL, -- '' for many
    token_prefix TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL, -- the trigger's
    message      TEXT COLLATE "C" NOT NULL,
    request_id   TEXT COLLATE "C" NOT NULL, -- the last call's
    calls        BIGINT NOT NULL,
    first_at     BIGINT NOT NULL,
    last_at      BIGINT NOT NULL,
    PRIMARY KEY (trigger_id, minute, reason, client_ip, token_prefix)
);
CREATE INDEX rejections_latest ON rejections (last_at);                      -- lists, and what is too old
CREATE INDEX rejections_of_trigger ON rejections (trigger_id, last_at);      -- what a trigger may keep

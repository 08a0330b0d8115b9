-- +goose Up
CREATE TABLE subscriptions (
    id           TEXT NOT NULL PRIMARY KEY,
    position     INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    active       BOOLEAN NOT NULL,
    deleted      BOOLEAN NOT NULL,
    state        TEXT NOT NULL
);
CREATE INDEX subscriptions_listed ON subscriptions (workspace_id, position) WHERE NOT deleted;
CREATE INDEX subscriptions_active ON subscriptions (id) WHERE active;          -- what is delivered
-- How far each has been delivered. This is no read model: the log does not know it.
CREATE TABLE subscription_deliveries (
    subscription_id TEXT NOT NULL PRIMARY KEY,
    position        INTEGER NOT NULL,           -- up to it all that fits was delivered or skipped
    version         INTEGER NOT NULL,           -- of the subscription that the failures are those of
    next_at         INTEGER,                    -- when a failing event is tried again
    progress        TEXT NOT NULL, -- what failed and what was taken last
    revision        INTEGER NOT NULL,           -- of the row: who has an older one may not change it
    owner           TEXT NOT NULL, -- the process that delivers
    lease_until     INTEGER NOT NULL,
    served_at       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX subscription_deliveries_owned ON subscription_deliveries (owner) WHERE owner <> ''; -- what a process delivers

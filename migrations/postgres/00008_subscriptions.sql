-- +goose Up
CREATE TABLE subscriptions (
    id           TEXT COLLATE "C" PRIMARY KEY,
    position     BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    active       BOOLEAN NOT NULL,
    deleted      BOOLEAN NOT NULL,
    state        TEXT COLLATE "C" NOT NULL
);
CREATE INDEX subscriptions_listed ON subscriptions (workspace_id, position) WHERE NOT deleted;
CREATE INDEX subscriptions_active ON subscriptions (id) WHERE active;          -- what is delivered
-- How far each has been delivered. This is no read model: the log does not know it.
CREATE TABLE subscription_deliveries (
    subscription_id TEXT COLLATE "C" PRIMARY KEY,
    position        BIGINT NOT NULL,           -- up to it all that fits was delivered or skipped
    version         BIGINT NOT NULL,           -- of the subscription that the failures are those of
    next_at         BIGINT,                    -- when a failing event is tried again
    progress        TEXT COLLATE "C" NOT NULL, -- what failed and what was taken last
    revision        BIGINT NOT NULL,           -- of the row: who has an older one may not change it
    owner           TEXT COLLATE "C" NOT NULL, -- the process that delivers
    lease_until     BIGINT NOT NULL,
    served_at       BIGINT NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX subscription_deliveries_owned ON subscription_deliveries (owner) WHERE owner <> ''; -- what a process delivers

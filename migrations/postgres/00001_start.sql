-- +goose Up
-- Text is compared by bytes (COLLATE "C"): ids and names need no language, and bytes are cheaper.

-- The log: the only place where state changes. Rows are added and never changed.
CREATE TABLE events (
    position       BIGINT PRIMARY KEY,             -- 1, 2, 3 … in the order of commits, without gaps
    event_id       TEXT COLLATE "C" NOT NULL,
    workspace_id   TEXT COLLATE "C" NOT NULL,
    stream         TEXT COLLATE "C" NOT NULL,
    version        BIGINT NOT NULL,                -- of the stream; for a fact the one it was admitted under
    fact           BOOLEAN NOT NULL,
    type           TEXT COLLATE "C" NOT NULL,
    schema_version BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL,                -- microseconds since 1970, never falling
    actor          TEXT COLLATE "C" NOT NULL,
    metadata       TEXT COLLATE "C" NOT NULL,
    data           TEXT COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (event_id);                                  -- an event is recorded once
CREATE UNIQUE INDEX events_decisions ON events (stream, version) WHERE NOT fact;        -- loading an aggregate, its head
CREATE INDEX events_facts ON events (stream, position) WHERE fact;                      -- the calls of one trigger

-- What may be erased while the trail stays whole: events hold digests of these.
CREATE TABLE payloads (
    position BIGINT PRIMARY KEY,
    body     BYTEA NOT NULL
);
ALTER TABLE payloads ALTER COLUMN body SET STORAGE EXTERNAL; -- no time spent on compressing

CREATE TABLE idempotency_keys (
    scope      TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    digest     BYTEA NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);                  -- deleting the old ones

-- Keyed hashes of tokens and keys, and sealed signing secrets. Not in the log, because a
-- secret must be sealed anew when the master key changes and erased when it is replaced.
CREATE TABLE credentials (
    id           TEXT COLLATE "C" PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL,
    owner        TEXT COLLATE "C" NOT NULL,
    hash         BYTEA,
    sealed       BYTEA
);
CREATE UNIQUE INDEX credentials_by_hash ON credentials (hash) WHERE hash IS NOT NULL;   -- finding a token's owner

CREATE TABLE settings (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Read models. Each can be dropped and made again from the log.
CREATE TABLE triggers (
    id           TEXT COLLATE "C" PRIMARY KEY,
    position     BIGINT NOT NULL,                  -- of the first event: the order of lists
    workspace_id TEXT COLLATE "C" NOT NULL,
    agent_id     TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    is_active    BOOLEAN NOT NULL,
    deleted      BOOLEAN NOT NULL,
    state        TEXT COLLATE "C" NOT NULL         -- the aggregate as JSON
);
CREATE INDEX triggers_listed ON triggers (workspace_id, position) WHERE NOT deleted;
CREATE INDEX triggers_by_agent ON triggers (agent_id, position) WHERE NOT deleted;

CREATE TABLE agents (
    id           TEXT COLLATE "C" PRIMARY KEY,
    position     BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    archived     BOOLEAN NOT NULL,
    max_concurrency BIGINT NOT NULL,
    state        TEXT COLLATE "C" NOT NULL
);
CREATE INDEX agents_listed ON agents (workspace_id, position) WHERE NOT archived;

CREATE TABLE api_keys (
    id           TEXT COLLATE "C" PRIMARY KEY,
    position     BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    revoked      BOOLEAN NOT NULL,
    state        TEXT COLLATE "C" NOT NULL
);
CREATE INDEX api_keys_listed ON api_keys (workspace_id, position) WHERE NOT revoked;

CREATE TABLE executions (
    position        BIGINT PRIMARY KEY,            -- of the event that created it, and of its input
    id              TEXT COLLATE "C" NOT NULL,
    workspace_id    TEXT COLLATE "C" NOT NULL,
    agent_id        TEXT COLLATE "C" NOT NULL,
    trigger_id      TEXT COLLATE "C",
    status          TEXT COLLATE "C" NOT NULL,
    attempt         BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    worker          TEXT COLLATE "C",              -- while it runs
    due_at          BIGINT,                        -- while it waits for a worker
    created_at      BIGINT NOT NULL,
    started_at      BIGINT,
    completed_at    BIGINT,
    error_code      TEXT COLLATE "C",
    error_message   TEXT COLLATE "C",
    output_position BIGINT,
    media_type      TEXT COLLATE "C",
    session_id      TEXT COLLATE "C",
    user_id         TEXT COLLATE "C",
    metadata        TEXT COLLATE "C",
    retry_of        TEXT COLLATE "C"
) WITH (fillfactor = 70);                          -- every row is updated twice soon after it is made
CREATE UNIQUE INDEX executions_by_id ON executions (id);
CREATE INDEX executions_by_agent ON executions (agent_id, position);
CREATE INDEX executions_by_trigger ON executions (trigger_id, position) WHERE trigger_id IS NOT NULL;
CREATE INDEX executions_by_session ON executions (session_id, position) WHERE session_id IS NOT NULL;
CREATE INDEX executions_due ON executions (due_at) WHERE due_at IS NOT NULL;             -- what a worker may take
CREATE INDEX executions_running ON executions (worker) WHERE worker IS NOT NULL;         -- what a lost worker held
CREATE INDEX executions_ended_badly ON executions (status, position) WHERE status IN ('failed', 'cancelled');

CREATE TABLE trigger_statistics (
    trigger_id   TEXT COLLATE "C" PRIMARY KEY,
    invocations  BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);

-- Who reads the log from where. One member of a group reads at a time, for as long as its lease lasts.
CREATE TABLE consumer_offsets (
    consumer_group TEXT COLLATE "C" PRIMARY KEY,
    position       BIGINT NOT NULL,
    owner          TEXT COLLATE "C" NOT NULL,
    lease_until    BIGINT NOT NULL
);
CREATE TABLE dead_letters (
    consumer_group TEXT COLLATE "C" NOT NULL,
    position       BIGINT NOT NULL,
    error          TEXT NOT NULL,
    failed_at      BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, position)
);

-- A worker process that reports is alive; the executions of one that stops are taken over.
CREATE TABLE workers (
    id          TEXT COLLATE "C" PRIMARY KEY,
    lease_until BIGINT NOT NULL
);

-- Calls per client and second. Losing it in a crash costs nothing but a minute's counts.
CREATE UNLOGGED TABLE rate_limit_slots (
    key   TEXT COLLATE "C" NOT NULL,
    slot  BIGINT NOT NULL,
    taken INT NOT NULL,
    PRIMARY KEY (key, slot)
);

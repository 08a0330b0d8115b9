-- +goose Up
-- The log: the only place where state changes. Rows are added and never changed.
CREATE TABLE events (
    position       INTEGER PRIMARY KEY,             -- 1, 2, 3 … in the order of commits, without gaps
    event_id       TEXT NOT NULL,
    workspace_id   TEXT NOT NULL,
    stream         TEXT NOT NULL,
    version        INTEGER NOT NULL,                -- of the stream; for a fact the one it was admitted under
    fact           BOOLEAN NOT NULL,
    type           TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,                -- microseconds since 1970, never falling
    actor          TEXT NOT NULL,
    metadata       TEXT NOT NULL,
    data           TEXT NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (event_id);                                  -- an event is recorded once
CREATE UNIQUE INDEX events_decisions ON events (stream, version) WHERE NOT fact;        -- loading an aggregate, its head
CREATE INDEX events_facts ON events (stream, position) WHERE fact;                      -- the calls of one trigger

-- What may be erased while the trail stays whole: events hold digests of these.
CREATE TABLE payloads (
    position INTEGER PRIMARY KEY,
    body     BLOB NOT NULL
);

CREATE TABLE idempotency_keys (
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    digest     BLOB NOT NULL,
    subject    TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);                  -- deleting the old ones

-- Keyed hashes of tokens and keys, and sealed signing secrets. Not in the log, because a
-- secret must be sealed anew when the master key changes and erased when it is replaced.
CREATE TABLE credentials (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    owner        TEXT NOT NULL,
    hash         BLOB,
    sealed       BLOB
);
CREATE UNIQUE INDEX credentials_by_hash ON credentials (hash) WHERE hash IS NOT NULL;   -- finding a token's owner

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- Read models. Each can be dropped and made again from the log.
CREATE TABLE triggers (
    id           TEXT PRIMARY KEY,
    position     INTEGER NOT NULL,                  -- of the first event: the order of lists
    workspace_id TEXT NOT NULL,
    agent_id     TEXT NOT NULL,
    name         TEXT NOT NULL,
    is_active    BOOLEAN NOT NULL,
    deleted      BOOLEAN NOT NULL,
    state        TEXT NOT NULL         -- the aggregate as JSON
);
CREATE INDEX triggers_listed ON triggers (workspace_id, position) WHERE NOT deleted;
CREATE INDEX triggers_by_agent ON triggers (agent_id, position) WHERE NOT deleted;

CREATE TABLE agents (
    id           TEXT PRIMARY KEY,
    position     INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    name         TEXT NOT NULL,
    archived     BOOLEAN NOT NULL,
    max_concurrency INTEGER NOT NULL,
    state        TEXT NOT NULL
);
CREATE INDEX agents_listed ON agents (workspace_id, position) WHERE NOT archived;

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    position     INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    revoked      BOOLEAN NOT NULL,
    state        TEXT NOT NULL
);
CREATE INDEX api_keys_listed ON api_keys (workspace_id, position) WHERE NOT revoked;

CREATE TABLE executions (
    position        INTEGER PRIMARY KEY,            -- of the event that created it, and of its input
    id              TEXT NOT NULL,
    workspace_id    TEXT NOT NULL,
    agent_id        TEXT NOT NULL,
    trigger_id      TEXT,
    status          TEXT NOT NULL,
    attempt         INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    worker          TEXT,              -- while it runs
    due_at          INTEGER,                        -- while it waits for a worker
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER,
    error_code      TEXT,
    error_message   TEXT,
    output_position INTEGER,
    media_type      TEXT,
    session_id      TEXT,
    user_id         TEXT,
    metadata        TEXT,
    retry_of        TEXT
);
CREATE UNIQUE INDEX executions_by_id ON executions (id);
CREATE INDEX executions_by_agent ON executions (agent_id, position);
CREATE INDEX executions_by_trigger ON executions (trigger_id, position) WHERE trigger_id IS NOT NULL;
CREATE INDEX executions_by_session ON executions (session_id, position) WHERE session_id IS NOT NULL;
CREATE INDEX executions_due ON executions (due_at) WHERE due_at IS NOT NULL;             -- what a worker may take
CREATE INDEX executions_running ON executions (worker) WHERE worker IS NOT NULL;         -- what a lost worker held
CREATE INDEX executions_ended_badly ON executions (status, position) WHERE status IN ('failed', 'cancelled');

CREATE TABLE trigger_statistics (
    trigger_id   TEXT PRIMARY KEY,
    invocations  INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
);

-- Who reads the log from where. One member of a group reads at a time, for as long as its lease lasts.
CREATE TABLE consumer_offsets (
    consumer_group TEXT PRIMARY KEY,
    position       INTEGER NOT NULL,
    owner          TEXT NOT NULL,
    lease_until    INTEGER NOT NULL
);
CREATE TABLE dead_letters (
    consumer_group TEXT NOT NULL,
    position       INTEGER NOT NULL,
    error          TEXT NOT NULL,
    failed_at      INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, position)
);

-- A worker process that reports is alive; the executions of one that stops are taken over.
CREATE TABLE workers (
    id          TEXT PRIMARY KEY,
    lease_until INTEGER NOT NULL
);

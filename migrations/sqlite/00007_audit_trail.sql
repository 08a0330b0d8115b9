-- +goose Up
-- The Merkle tree over the log, which follows it: hashes of 32 bytes, up to 256 a block. Level 0 has the hashes
-- of the events in the order of positions, each other level the roots of the full blocks below.
CREATE TABLE audit_blocks (
    level  INTEGER NOT NULL,
    block  INTEGER NOT NULL, -- 0, 1, 2 … on its level
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, block)
);

CREATE TABLE audit_checkpoints (
    size    INTEGER PRIMARY KEY, -- the position of the last event that it covers
    note    TEXT NOT NULL, -- signed
    made_at INTEGER NOT NULL
);

-- +goose Up
-- The Merkle tree over the log, which follows it: hashes of 32 bytes, up to 256 a block. Level 0 has the hashes
-- of the events in the order of positions, each other level the roots of the full blocks below.
CREATE TABLE audit_blocks (
    level  BIGINT NOT NULL,
    block  BIGINT NOT NULL, -- 0, 1, 2 … on its level
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, block)
);
ALTER TABLE audit_blocks ALTER COLUMN hashes SET STORAGE EXTERNAL; -- hashes cannot be compressed

CREATE TABLE audit_checkpoints (
    size    BIGINT PRIMARY KEY, -- the position of the last event that it covers
    note    TEXT COLLATE "C" NOT NULL, -- signed
    made_at BIGINT NOT NULL
);

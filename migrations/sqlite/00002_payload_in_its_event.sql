-- +goose Up
-- A payload in the row of its event is one row less for every call. It is no part of the event,
-- which holds its digest: erasing one sets this column to NULL.
ALTER TABLE events ADD COLUMN payload BLOB;
UPDATE events SET payload = (SELECT body FROM payloads WHERE payloads.position = events.position);
DROP TABLE payloads;

-- +goose Up
-- A payload in the row of its event is one row and one index entry less for every call. It is no
-- part of the event, which holds its digest: erasing one sets this column to NULL.
ALTER TABLE events ADD COLUMN payload BYTEA;
ALTER TABLE events ALTER COLUMN payload SET STORAGE EXTERNAL; -- no time spent on compressing
UPDATE events SET payload = payloads.body FROM payloads WHERE payloads.position = events.position;
DROP TABLE payloads;

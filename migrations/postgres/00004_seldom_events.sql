-- +goose Up
-- Who looks for what people did must not read the calls and runs between. Those have no entries here.
CREATE INDEX events_seldom_types ON events (type, position) WHERE type NOT IN ('trigger.invoked', 'execution.started', 'execution.completed');
CREATE INDEX events_seldom_actors ON events (actor, position) WHERE substr(actor, 1, 7) NOT IN ('trigger', 'worker:');

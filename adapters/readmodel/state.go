package readmodel

import (
	"context"
	"encoding/json"
	"fmt"

	"hooktrail/adapters/database"
	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/subscription"
	"hooktrail/domain/trigger"
)

// stateTable keeps the state of aggregates that change seldom, as JSON, beside the columns
// that lists are narrowed by.
type stateTable struct {
	name    string
	columns []string
	evolve  func(state []byte, recorded eventlog.Recorded) ([]byte, []any, error)
	upsert  string
	// follow, if there is one, is told the state after each event.
	follow func(tx *database.Tx, state []byte, recorded eventlog.Recorded) error
}

func newStateTable(name string, evolve func([]byte, eventlog.Recorded) ([]byte, []any, error), columns ...string) stateTable {
	t := stateTable{name: name, columns: columns, evolve: evolve}
	names, holes, sets := "id, position, workspace_id, state", "?, ?, ?, ?", "state = excluded.state"
	for _, c := range columns {
		names, holes, sets = names+", "+c, holes+", ?", sets+", "+c+" = excluded."+c
	}
	t.upsert = "INSERT INTO " + name + " (" + names + ") VALUES (" + holes + ") ON CONFLICT (id) DO UPDATE SET " + sets
	return t
}

// aggregate is a state that events add up to.
type aggregate[A any] interface {
	Evolve(recorded eventlog.Recorded, event eventlog.Event) A
}

func evolver[A aggregate[A]](codec *eventlog.Codec, columns func(A) []any) func([]byte, eventlog.Recorded) ([]byte, []any, error) {
	return func(stored []byte, recorded eventlog.Recorded) ([]byte, []any, error) {
		var state A
		if stored != nil {
			if err := json.Unmarshal(stored, &state); err != nil {
				return nil, nil, fmt.Errorf("read the stored state of %s: %w", recorded.Stream, err)
			}
		}
		event, err := codec.Decode(recorded)
		if err != nil {
			return nil, nil, err
		}
		state = state.Evolve(recorded, event)
		encoded, err := json.Marshal(state)
		return encoded, columns(state), err
	}
}

func triggerTable(name string) stateTable {
	return newStateTable(name, evolver(trigger.Codec, func(t trigger.Trigger) []any {
		return []any{t.AgentID, t.Name, t.Active, t.Deleted}
	}), "agent_id", "name", "is_active", "deleted")
}

func agentTable(name string) stateTable {
	return newStateTable(name, evolver(agent.Codec, func(a agent.Agent) []any {
		return []any{a.Name, a.Archived, a.MaxConcurrency}
	}), "name", "archived", "max_concurrency")
}

func apiKeyTable(name string) stateTable {
	return newStateTable(name, evolver(apikey.Codec, func(k apikey.APIKey) []any {
		return []any{k.Revoked}
	}), "revoked")
}

func subscriptionTable(name string) stateTable {
	return newStateTable(name, evolver(subscription.Codec, func(s subscription.Subscription) []any {
		return []any{s.Active(), s.Deleted}
	}), "active", "deleted")
}

func backtestTable(name string) stateTable {
	return newStateTable(name, evolver(backtest.Codec, func(b backtest.Backtest) []any {
		return []any{b.Active()}
	}), "active")
}

func (t *stateTable) apply(ctx context.Context, tx *database.Tx, events []eventlog.Recorded) error {
	if len(events) == 0 {
		return nil
	}
	states := map[string][]byte{}
	var known []string
	for _, e := range events {
		if _, asked := states[e.Stream.ID()]; !asked {
			states[e.Stream.ID()] = nil
			known = append(known, e.Stream.ID())
		}
	}
	tx.Query(func(scan database.Scan) error {
		var id string
		var state []byte
		err := scan(&id, &state)
		states[id] = state
		return err
	}, "SELECT id, state FROM "+t.name+" WHERE "+tx.Dialect().In("id"), tx.Dialect().List(known))
	if err := tx.Flush(ctx); err != nil {
		return err
	}
	columns := map[string][]any{}
	last := map[string]eventlog.Recorded{}
	first := map[string]eventlog.Position{}
	for _, e := range events {
		id := e.Stream.ID()
		var err error
		if states[id], columns[id], err = t.evolve(states[id], e); err != nil {
			return err
		}
		if t.follow != nil {
			if err := t.follow(tx, states[id], e); err != nil {
				return err
			}
		}
		if _, seen := first[id]; !seen {
			first[id] = e.Position
		}
		last[id] = e
	}
	for _, id := range known {
		args := []any{id, int64(first[id]), last[id].WorkspaceID, string(states[id])}
		tx.Exec(t.upsert, append(args, columns[id]...)...)
	}
	return nil
}

// Package readmodel keeps and reads the views, a projector beside its query. The tables
// are filled in the transaction that appends the events, and by the same code when they
// are rebuilt from the log.
package readmodel

import (
	"context"
	"fmt"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
)

// Models are the read models that an answer shows at once.
type Models struct {
	db            *database.DB
	publicURL     string
	triggers      stateTable
	agents        stateTable
	apiKeys       stateTable
	subscriptions stateTable
	backtests     stateTable
	schedules     scheduleTable
	executions    executionTable
}

// New makes the read models on their live tables. publicURL is part of the trigger's view.
func New(db *database.DB, publicURL string) *Models { return onTables(db, publicURL, "") }

// onTables makes the read models on tables with a suffix to their names.
func onTables(db *database.DB, publicURL, suffix string) *Models {
	schedules := scheduleTable{"schedules" + suffix}
	triggers := triggerTable("triggers" + suffix)
	triggers.follow = schedules.follow
	return &Models{
		db: db, publicURL: publicURL, schedules: schedules,
		triggers: triggers, agents: agentTable("agents" + suffix), apiKeys: apiKeyTable("api_keys" + suffix),
		subscriptions: subscriptionTable("subscriptions" + suffix), backtests: backtestTable("backtests" + suffix),
		executions: newExecutionTable(suffix),
	}
}

// Tables are the names of the tables, in the order in which they are rebuilt.
var Tables = []string{"triggers", "agents", "api_keys", "executions", "execution_queue", "schedules", "subscriptions", "backtests"}

// Apply brings the read models up to date with events that follow what they hold.
func (m *Models) Apply(ctx context.Context, tx *database.Tx, events []eventlog.Recorded) error {
	var moves []scheduleMove
	var triggers, agents, apiKeys, subscriptions, backtests []eventlog.Recorded
	for i := range events {
		switch e := &events[i]; e.Stream.Kind() {
		case eventlog.TriggerStream:
			if !e.Fact {
				triggers = append(triggers, *e)
				continue
			}
			next, is, err := movedBy(e)
			if err != nil {
				return fmt.Errorf("project to %s: %w", m.schedules.name, err)
			}
			if is {
				moves = append(moves, scheduleMove{e, next})
			}
		case eventlog.AgentStream:
			agents = append(agents, *e)
		case eventlog.APIKeyStream:
			apiKeys = append(apiKeys, *e)
		case eventlog.SubscriptionStream:
			if !e.Fact {
				subscriptions = append(subscriptions, *e)
			}
		case eventlog.BacktestStream:
			backtests = append(backtests, *e)
		}
	}
	for _, part := range []struct {
		table  *stateTable
		events []eventlog.Recorded
	}{{&m.triggers, triggers}, {&m.agents, agents}, {&m.apiKeys, apiKeys}, {&m.subscriptions, subscriptions}, {&m.backtests, backtests}} {
		if err := part.table.apply(ctx, tx, part.events); err != nil {
			return fmt.Errorf("project to %s: %w", part.table.name, err)
		}
	}
	if err := m.executions.apply(tx, events); err != nil {
		return fmt.Errorf("project to %s: %w", m.executions.name, err)
	}
	m.schedules.move(tx, moves)
	return nil
}

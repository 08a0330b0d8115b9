package readmodel

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/subscription"
	"hooktrail/domain/trigger"
)

type stateRow struct {
	Position  int64   `db:"position"`
	State     string  `db:"state"`
	LastUsed  *int64  `db:"last_used_at"`
	NextRun   *int64  `db:"next_at"`
	Delivered *int64  `db:"delivered"`
	Progress  *string `db:"progress"`
}

func (r stateRow) read(into any) error {
	if err := json.Unmarshal([]byte(r.State), into); err != nil {
		return fmt.Errorf("read a stored state: %w", err)
	}
	return nil
}

func (m *Models) one(ctx context.Context, row *stateRow, query string, args ...any) (bool, error) {
	err := m.db.Get(ctx, row, query, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, m.db.Failure("read a view", err)
}

// viewPage reads a page of a table and shows each state.
func viewPage[V any](ctx context.Context, m *Models, columns, table, joins string, where conditions, p application.Paging, show func(stateRow) (V, error)) (application.Page[V], error) {
	var rows []stateRow
	total, err := m.page(ctx, &rows, columns, table, joins, "v", where, p)
	page := application.Page[V]{Total: total, Items: make([]V, 0, len(rows))}
	if err != nil {
		return page, m.db.Failure("list "+table, err)
	}
	for i, row := range rows {
		if i == p.Limit {
			page.Next = eventlog.Position(rows[i-1].Position)
			break
		}
		view, err := show(row)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, view)
	}
	return page, nil
}

const triggerColumns = "v.position, v.state, s.last_used_at, n.next_at"

func (m *Models) triggerJoins() string {
	return " AS v LEFT JOIN trigger_statistics s ON s.trigger_id = v.id LEFT JOIN " + m.schedules.name + " n ON n.trigger_id = v.id "
}

func (m *Models) showTrigger(row stateRow) (application.TriggerView, error) {
	var t trigger.Trigger
	err := row.read(&t)
	view := application.NewTriggerView(t, database.TimeOrNil(row.LastUsed), m.publicURL)
	if next := database.TimeOrNil(row.NextRun); next != nil && t.Options.Schedule != nil {
		view.NextRuns = t.Options.Schedule.Upcoming(*next, application.ShownRuns)
	}
	return view, err
}

// Trigger shows a trigger that is not deleted.
func (m *Models) Trigger(ctx context.Context, workspace, id string) (application.TriggerView, bool, error) {
	var row stateRow
	found, err := m.one(ctx, &row, "SELECT "+triggerColumns+" FROM "+m.triggers.name+m.triggerJoins()+"WHERE v.id = ? AND v.workspace_id = ? AND NOT v.deleted", id, workspace)
	if err != nil || !found {
		return application.TriggerView{}, false, err
	}
	view, err := m.showTrigger(row)
	return view, true, err
}

// Triggers lists triggers, the newest first.
func (m *Models) Triggers(ctx context.Context, workspace string, f application.TriggerFilter, p application.Paging) (application.Page[application.TriggerView], error) {
	where := conditions{}
	where.add("v.workspace_id = ?", workspace)
	where.terms = append(where.terms, "NOT v.deleted")
	where.addText("v.agent_id = ?", f.AgentID)
	where.addText(`lower(v.name) LIKE ? ESCAPE '\'`, containing(f.Name))
	if f.IsActive != nil {
		where.add("v.is_active = ?", *f.IsActive)
	}
	return viewPage(ctx, m, triggerColumns, m.triggers.name, m.triggerJoins(), where, p, m.showTrigger)
}

// containing is the LIKE pattern for texts with that part, in any case of its ASCII letters:
// these are the ones that lower() changes, in SQLite and under the collation "C".
func containing(part string) string {
	if part == "" {
		return ""
	}
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, part)
	return "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(lower) + "%"
}

// ActiveTriggersOf counts the triggers that run an agent.
func (m *Models) ActiveTriggersOf(ctx context.Context, agentID string) (int, error) {
	var count int
	err := m.db.Get(ctx, &count, "SELECT count(*) FROM "+m.triggers.name+" WHERE agent_id = ? AND NOT deleted", agentID)
	return count, m.db.Failure("count triggers", err)
}

// LastUsed tells when a trigger was last invoked; nil for never.
func (m *Models) LastUsed(ctx context.Context, triggerID string) (*time.Time, error) {
	var at int64
	err := m.db.Get(ctx, &at, "SELECT last_used_at FROM trigger_statistics WHERE trigger_id = ?", triggerID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, m.db.Failure("read trigger statistics", err)
	}
	return database.TimeOrNil(&at), nil
}

const plainColumns = "v.position, v.state"

func showAgent(row stateRow) (application.AgentView, error) {
	var a agent.Agent
	err := row.read(&a)
	return application.NewAgentView(a), err
}

// Agent shows an agent; an archived one too, since executions still name it.
func (m *Models) Agent(ctx context.Context, workspace, id string) (application.AgentView, bool, error) {
	var row stateRow
	found, err := m.one(ctx, &row, "SELECT "+plainColumns+" FROM "+m.agents.name+" AS v WHERE v.id = ? AND v.workspace_id = ? AND NOT v.archived", id, workspace)
	if err != nil || !found {
		return application.AgentView{}, false, err
	}
	view, err := showAgent(row)
	return view, true, err
}

// Agents lists agents that are not archived, the newest first.
func (m *Models) Agents(ctx context.Context, workspace string, f application.AgentFilter, p application.Paging) (application.Page[application.AgentView], error) {
	where := conditions{}
	where.add("v.workspace_id = ?", workspace)
	where.terms = append(where.terms, "NOT v.archived")
	where.addText(`lower(v.name) LIKE ? ESCAPE '\'`, containing(f.Name))
	return viewPage(ctx, m, plainColumns, m.agents.name, " AS v ", where, p, showAgent)
}

// APIKeys lists keys that are not revoked, the newest first.
func (m *Models) APIKeys(ctx context.Context, workspace string, p application.Paging) (application.Page[application.APIKeyView], error) {
	where := conditions{}
	where.add("v.workspace_id = ?", workspace)
	where.terms = append(where.terms, "NOT v.revoked")
	return viewPage(ctx, m, plainColumns, m.apiKeys.name, " AS v ", where, p, func(row stateRow) (application.APIKeyView, error) {
		var k apikey.APIKey
		err := row.read(&k)
		return application.NewAPIKeyView(k), err
	})
}

// CountAPIKeys counts the keys that are not revoked.
func (m *Models) CountAPIKeys(ctx context.Context) (int, error) {
	var count int
	err := m.db.Get(ctx, &count, "SELECT count(*) FROM "+m.apiKeys.name+" WHERE NOT revoked")
	return count, m.db.Failure("count API keys", err)
}

const (
	subscriptionColumns = "v.position, v.state, d.position AS delivered, d.progress"
	subscriptionJoins   = " AS v LEFT JOIN subscription_deliveries d ON d.subscription_id = v.id "
)

func showSubscription(row stateRow) (application.SubscriptionView, error) {
	var s subscription.Subscription
	if err := row.read(&s); err != nil {
		return application.SubscriptionView{}, err
	}
	position, progress := s.StartAfter, subscription.Progress{}
	if row.Delivered != nil {
		position = eventlog.Position(*row.Delivered)
		if err := json.Unmarshal([]byte(*row.Progress), &progress); err != nil {
			return application.SubscriptionView{}, fmt.Errorf("read how subscription %s goes: %w", s.ID, err)
		}
	}
	return application.NewSubscriptionView(s, position, progress), nil
}

// Subscription shows a subscription that is not deleted.
func (m *Models) Subscription(ctx context.Context, workspace, id string) (application.SubscriptionView, bool, error) {
	var row stateRow
	found, err := m.one(ctx, &row, "SELECT "+subscriptionColumns+" FROM "+m.subscriptions.name+subscriptionJoins+"WHERE v.id = ? AND v.workspace_id = ? AND NOT v.deleted", id, workspace)
	if err != nil || !found {
		return application.SubscriptionView{}, false, err
	}
	view, err := showSubscription(row)
	return view, true, err
}

// Subscriptions lists subscriptions, the newest first.
func (m *Models) Subscriptions(ctx context.Context, workspace string, f application.SubscriptionFilter, p application.Paging) (application.Page[application.SubscriptionView], error) {
	where := conditions{}
	where.add("v.workspace_id = ?", workspace)
	where.terms = append(where.terms, "NOT v.deleted")
	if f.IsActive != nil {
		where.add("v.active = ?", *f.IsActive)
	}
	return viewPage(ctx, m, subscriptionColumns, m.subscriptions.name, subscriptionJoins, where, p, showSubscription)
}

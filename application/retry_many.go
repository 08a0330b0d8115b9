package application

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
)

// Bounds of one request to retry many.
const (
	MaxRetries      = 1000
	retriesAtOnce   = 16
	maxRetryKey     = 255 // bytes
	retryListPart   = 100
	retryLookAtMost = 100_000 // executions that are looked through
)

// RetryMany asks for executions that have ended to be run once more.
type RetryMany struct {
	// IDs names them; else the filter does, which needs Since.
	IDs       []string   `json:"ids"`
	TriggerID string     `json:"trigger_id"`
	AgentID   string     `json:"agent_id"`
	Status    string     `json:"status"` // default failed
	Since     *time.Time `json:"since"`
	Until     *time.Time `json:"until"` // default: now
	// Limit is the most that are retried by this request: the latest ones; 1 to MaxRetries, which is
	// the default too.
	Limit  int  `json:"limit"`
	DryRun bool `json:"dry_run"`
}

// RetriedMany is what became of a request to retry many.
type RetriedMany struct {
	DryRun bool `json:"dry_run"`
	// Retried is how many were retried now, or would be; Already how many had been under the same key.
	Retried int `json:"retried"`
	Already int `json:"already"`
	// More says that there are more than the limit: ask once more with the same key.
	More       bool         `json:"more"`
	Executions []RetriedOne `json:"executions"`
	Skipped    []NotRetried `json:"skipped"`
}

// RetriedOne is an execution that was retried.
type RetriedOne struct {
	RetryOf     string `json:"retry_of"`
	ExecutionID string `json:"execution_id,omitempty"` // the new one; absent in a dry run
	Already     bool   `json:"already,omitempty"`
}

// NotRetried is an execution that was not retried, and why.
type NotRetried struct {
	ExecutionID string     `json:"execution_id"`
	Code        fault.Code `json:"code"`
	Reason      string     `json:"reason"`
}

func (r RetryMany) filter(now time.Time) (ExecutionFilter, error) {
	wrong := map[string]string{}
	f := ExecutionFilter{TriggerID: r.TriggerID, AgentID: r.AgentID, Status: execution.Status(orDefault(r.Status, string(execution.Failed))), Until: now}
	if !f.Status.Final() {
		wrong["status"] = "must be one of completed, failed, cancelled: only what has ended can be retried"
	}
	if r.Limit < 0 || r.Limit > MaxRetries {
		wrong["limit"] = "must be from 1 to 1000"
	}
	switch narrowed := r.TriggerID != "" || r.AgentID != "" || r.Status != "" || r.Since != nil || r.Until != nil; {
	case len(r.IDs) > MaxRetries:
		wrong["ids"] = "has more than 1000 entries"
	case len(r.IDs) > 0 && narrowed:
		wrong["ids"] = "has no filter beside it"
	case len(r.IDs) == 0 && r.Since == nil:
		wrong["since"] = "is required, the time of the first execution to retry; or ids"
	}
	if r.Since != nil {
		f.Since = *r.Since
	}
	if r.Until != nil {
		f.Until = *r.Until
	}
	return f, fault.Fields(wrong)
}

// RetryExecutions retries many executions, each as a new one. With a key, each is retried under it
// once: a request that was cut off, or asks for more than the limit, goes on when it is made again.
func (app *Application) RetryExecutions(ctx context.Context, caller Caller, r RetryMany, key string) (RetriedMany, error) {
	outcome := RetriedMany{DryRun: r.DryRun, Executions: []RetriedOne{}, Skipped: []NotRetried{}}
	filter, err := r.filter(app.Now())
	if err != nil {
		return outcome, err
	}
	if len(key) > maxRetryKey || strings.ContainsFunc(key, unicode.IsControl) {
		return outcome, fault.Field("Idempotency-Key", "must be at most 255 bytes of printable text")
	}
	b := retrying{app: app, caller: caller, key: key, limit: r.Limit, outcome: &outcome}
	if b.limit == 0 {
		b.limit = MaxRetries
	}
	if key == "" {
		b.key = app.NewID()
		b.first = true
	}
	if len(r.IDs) > 0 {
		err = b.pickNamed(ctx, r.IDs)
	} else {
		err = b.pick(ctx, filter)
	}
	if err != nil {
		return outcome, err
	}
	return outcome, b.retry(ctx)
}

// retrying is one request.
type retrying struct {
	app     *Application
	caller  Caller
	key     string
	first   bool // nothing can have been made under the key before
	limit   int
	picked  []string
	outcome *RetriedMany
}

func (b *retrying) newID(id string) string {
	return execution.RetryID(b.caller.WorkspaceID, b.key, id)
}

// already notes an execution that was retried under the key before.
func (b *retrying) already(ctx context.Context, id string) (bool, error) {
	if b.first {
		return false, nil
	}
	_, there, err := b.app.Views.Execution(ctx, b.caller.WorkspaceID, b.newID(id))
	if err != nil {
		return false, refusal(err)
	}
	if there {
		b.outcome.Already++
		if len(b.outcome.Executions) < MaxRetries {
			b.outcome.Executions = append(b.outcome.Executions, RetriedOne{RetryOf: id, ExecutionID: b.newID(id), Already: true})
		}
	}
	return there, nil
}

// add picks one; false when the limit is reached.
func (b *retrying) add(ctx context.Context, id string) (bool, error) {
	already, err := b.already(ctx, id)
	if err != nil || already {
		return true, err
	}
	if len(b.picked) == b.limit {
		b.outcome.More = true
		return false, nil
	}
	b.picked = append(b.picked, id)
	return true, nil
}

func (b *retrying) pickNamed(ctx context.Context, ids []string) error {
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		if room, err := b.add(ctx, id); err != nil || !room {
			return err
		}
	}
	return nil
}

// pick reads what fits, the latest first, and puts it in the order in which it came.
func (b *retrying) pick(ctx context.Context, f ExecutionFilter) error {
	var cursor eventlog.Position
	for looked := 0; looked < retryLookAtMost; {
		page, err := b.app.Views.Executions(ctx, b.caller.WorkspaceID, f, Paging{Page: 1, Limit: retryListPart, Cursor: cursor})
		if err != nil {
			return refusal(err)
		}
		for _, view := range page.Items {
			if view.RetryOf != "" && view.ID == b.newID(view.RetryOf) {
				continue // made by an earlier request under this key: to retry it would be to retry twice
			}
			if room, err := b.add(ctx, view.ID); err != nil || !room {
				slices.Reverse(b.picked)
				return err
			}
		}
		looked += len(page.Items)
		if cursor = page.Next; cursor == 0 {
			break
		}
	}
	slices.Reverse(b.picked)
	return nil
}

// retry makes the new executions. What is made is on record at once, whatever becomes of the rest.
func (b *retrying) retry(ctx context.Context) error {
	type ending struct {
		id  string
		err error
	}
	endings := make([]ending, len(b.picked))
	makers, ctx := errgroup.WithContext(ctx)
	makers.SetLimit(retriesAtOnce)
	for i, id := range b.picked {
		makers.Go(func() error {
			endings[i] = ending{id: id}
			if b.outcome.DryRun {
				endings[i].err = b.app.wouldRetry(ctx, b.caller, id)
			} else {
				_, endings[i].err = b.app.retryAs(ctx, b.caller, id, b.newID(id))
			}
			return internal(endings[i].err)
		})
	}
	if err := makers.Wait(); err != nil {
		return err
	}
	for _, e := range endings {
		var why *fault.Error
		if errors.As(e.err, &why) {
			b.outcome.Skipped = append(b.outcome.Skipped, NotRetried{ExecutionID: e.id, Code: why.Code, Reason: why.Message})
			continue
		}
		b.outcome.Retried++
		made := RetriedOne{RetryOf: e.id}
		if !b.outcome.DryRun {
			made.ExecutionID = b.newID(e.id)
		}
		b.outcome.Executions = append(b.outcome.Executions, made)
	}
	return nil
}

// internal gives an error that is not about the execution.
func internal(err error) error {
	if err == nil {
		return nil
	}
	_, failed := testError(err)
	return failed
}

// wouldRetry faults as a retry would for its commonest causes, and changes nothing.
func (app *Application) wouldRetry(ctx context.Context, caller Caller, id string) error {
	view, _, _, err := app.retriable(ctx, caller, id)
	if err == nil {
		_, err = app.GetAgent(ctx, caller, view.AgentID)
	}
	return err
}

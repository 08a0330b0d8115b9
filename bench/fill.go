package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/segmentio/ksuid"
	"golang.org/x/sync/errgroup"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
)

// onlyTheLog leaves the read models to the rebuild that follows.
type onlyTheLog struct{}

func (onlyTheLog) Apply(context.Context, *database.Tx, []eventlog.Recorded) error { return nil }

// fillBody is the payload of the calls of a filled log: small, since what is measured there
// grows with the number of events and not with their size.
const fillBody = `{"action":"opened","number":42,"text":"xxxxxxxxxxxxxxxxxxxxxxxx"}`

const fillBatch = 15000 // events of a transaction

// fill gives the log a number of events of the kinds that calls leave: an agent, triggers, and
// calls of these with their executions. The server must be stopped. It goes through the event
// store, so that the log is what the service itself would have written.
func (b *bed) fill(ctx context.Context, events, triggers int) (*filler, error) {
	db, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	store := eventstore.New(db, onlyTheLog{}, eventstore.Config{Now: time.Now})
	defer store.Close()
	workspace, err := db.Setting(ctx, "default_workspace")
	if err != nil {
		return nil, err
	}
	f := newFiller(string(workspace), triggers)
	group, ctx := errgroup.WithContext(ctx)
	batches := make(chan []eventlog.Append, 2)
	group.Go(func() error {
		defer close(batches)
		return f.produce(ctx, events, batches)
	})
	group.Go(func() error {
		began, told, done := time.Now(), time.Now(), 0
		for batch := range batches {
			if _, err := store.AppendLocked(ctx, func(context.Context, *database.Tx) ([]eventlog.Append, error) { return batch, nil }); err != nil {
				return err
			}
			done += len(batch)
			if time.Since(told) > 5*time.Second {
				told = time.Now()
				rate := float64(done) / time.Since(began).Seconds()
				progress("filled %d of %d events, %.0f/s, %s to go", done, events, rate, time.Duration(float64(events-done)/rate*float64(time.Second)).Round(time.Second))
			}
		}
		return nil
	})
	return f, group.Wait()
}

// filler makes up what a long life would have left in the log.
type filler struct {
	workspace, agent string
	triggers         []string
	digest           trigger.Digest
	calls            int
	execution        string // the last one
	batch            []eventlog.Append
}

func newFiller(workspace string, triggers int) *filler {
	f := &filler{workspace: workspace, agent: ksuid.New().String(), triggers: make([]string, max(triggers, 1))}
	sum := sha256.Sum256([]byte(fillBody))
	f.digest = trigger.Digest{SHA256: hex.EncodeToString(sum[:]), Size: len(fillBody)}
	for i := range f.triggers {
		f.triggers[i] = ksuid.New().String()
	}
	return f
}

// produce makes the batches while the ones before are written.
func (f *filler) produce(ctx context.Context, events int, batches chan<- []eventlog.Append) error {
	flush := func(least int) error {
		if len(f.batch) < least {
			return nil
		}
		select {
		case batches <- f.batch:
			f.batch = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := f.register(); err != nil {
		return err
	}
	for i := range f.triggers {
		if err := f.create(i); err != nil {
			return err
		}
		if err := flush(fillBatch); err != nil {
			return err
		}
	}
	for done := 1 + len(f.triggers); done < events; done += 3 {
		if err := f.call(); err != nil {
			return err
		}
		if err := flush(fillBatch); err != nil {
			return err
		}
	}
	return flush(1)
}

// step adds one event to the batch.
func (f *filler) step(codec *eventlog.Codec, event eventlog.Event, id string, stream eventlog.StreamID, expected int64, payload []byte, meta eventlog.Metadata, keep ...eventlog.Credential) error {
	proposed, err := codec.Encode(event)
	if err != nil {
		return err
	}
	proposed.ID, proposed.Payload = id, payload
	f.batch = append(f.batch, eventlog.Append{
		WorkspaceID: f.workspace, Stream: stream, Expected: expected, Events: []eventlog.Proposed{proposed}, Meta: meta, Keep: keep,
	})
	return nil
}

func (f *filler) register() error {
	registered := agent.Registered{Settings: agent.Settings{
		Name: "filled", Runner: agent.Runner{Kind: agent.RunnerNone}, TimeoutSeconds: 300, Retry: agent.DefaultRetry(),
	}}
	return f.step(agent.Codec, registered, ksuid.New().String(), eventlog.Stream(eventlog.AgentStream, f.agent), 0, nil, eventlog.Metadata{Actor: eventlog.System})
}

// create makes a trigger with the hash of a token that nobody has.
func (f *filler) create(number int) error {
	stream, token := eventlog.Stream(eventlog.TriggerStream, f.triggers[number]), ksuid.New().String()
	hash := sha256.Sum256([]byte(token))
	created := trigger.Created{AgentID: f.agent, Name: fmt.Sprintf("filled %d", number), Active: true, TokenID: token, TokenPrefix: "wht_filled"}
	return f.step(trigger.Codec, created, ksuid.New().String(), stream, 0, nil, eventlog.Metadata{Actor: eventlog.System},
		eventlog.Credential{ID: token, WorkspaceID: f.workspace, Owner: stream, Hash: hash[:]})
}

// failsEach is of how many executions one fails, so that there are some to list.
const failsEach = 1000

// call adds what one call leaves in the log.
func (f *filler) call() error {
	f.calls++
	id, trig := ksuid.New().String(), f.triggers[f.calls%len(f.triggers)]
	f.execution = id
	called := eventlog.Metadata{Actor: eventlog.ActorOf("trigger", trig), CorrelationID: id}
	worked := eventlog.Metadata{Actor: eventlog.ActorOf("worker", f.agent), CorrelationID: id}
	stream := eventlog.Stream(eventlog.ExecutionStream, id)
	invoked := trigger.Invoked{ExecutionID: id, AgentID: f.agent, Runs: true, Input: f.digest, TokenID: trig, ClientIP: "127.0.0.1"}
	if err := f.step(trigger.Codec, invoked, id, eventlog.Stream(eventlog.TriggerStream, trig), 1, []byte(fillBody), called); err != nil {
		return err
	}
	if err := f.step(execution.Codec, execution.Started{Attempt: 1, Worker: f.agent}, ksuid.New().String(), stream, 0, nil, worked); err != nil {
		return err
	}
	if f.calls%failsEach == 0 {
		failed := execution.GaveUp{Attempt: 1, Error: execution.Error{Code: "filled", Message: "made up"}}
		return f.step(execution.Codec, failed, ksuid.New().String(), stream, 1, nil, worked)
	}
	return f.step(execution.Codec, execution.Succeeded{Attempt: 1, Output: f.digest}, ksuid.New().String(), stream, 1, []byte(fillBody), worked)
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/segmentio/ksuid"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
)

// onlyTheLog leaves the read models to the rebuild that follows.
type onlyTheLog struct{}

func (onlyTheLog) Apply(context.Context, *database.Tx, []eventlog.Recorded) error { return nil }

// fill gives the log a number of events of the kinds that calls leave: invoked, started,
// completed, spread over 1,000 triggers. The server must be stopped.
func (b *bed) fill(ctx context.Context, s settings, dir string) error {
	open := func() (*database.DB, error) {
		if b.url != "" {
			return database.OpenPostgres(ctx, b.url)
		}
		return database.OpenSQLite(filepath.Join(dir, "hooktrail.db"))
	}
	db, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	store := eventstore.New(db, onlyTheLog{}, eventstore.Config{Now: time.Now})
	defer store.Close()
	workspace, err := db.Setting(ctx, "default_workspace")
	if err != nil {
		return err
	}
	f := &filler{workspace: string(workspace), body: benchBody(), agent: ksuid.New().String()}
	sum := sha256.Sum256(f.body)
	f.digest = trigger.Digest{SHA256: hex.EncodeToString(sum[:]), Size: len(f.body)}
	for range 1000 {
		f.triggers = append(f.triggers, ksuid.New().String())
	}
	const callsAtOnce = 500
	for done := 0; done < s.events; done += 3 * callsAtOnce {
		_, err := store.AppendLocked(ctx, func(context.Context, *database.Tx) ([]eventlog.Append, error) {
			var appends []eventlog.Append
			for range callsAtOnce {
				one, err := f.call()
				if err != nil {
					return nil, err
				}
				appends = append(appends, one...)
			}
			return appends, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type filler struct {
	workspace, agent string
	triggers         []string
	body             []byte
	digest           trigger.Digest
	calls            int
}

// call gives what one call leaves in the log.
func (f *filler) call() ([]eventlog.Append, error) {
	f.calls++
	id, trig := ksuid.New().String(), f.triggers[f.calls%len(f.triggers)]
	stream := eventlog.Stream(eventlog.ExecutionStream, id)
	steps := []struct {
		codec    *eventlog.Codec
		event    eventlog.Event
		id       string
		stream   eventlog.StreamID
		expected int64
		payload  []byte
		actor    eventlog.Actor
	}{
		{
			trigger.Codec,
			trigger.Invoked{ExecutionID: id, AgentID: f.agent, Runs: true, Input: f.digest, TokenID: trig, ClientIP: "127.0.0.1"},
			id, eventlog.Stream(eventlog.TriggerStream, trig), 1, f.body, eventlog.ActorOf("trigger", trig),
		},
		{execution.Codec, execution.Started{Attempt: 1, Worker: f.agent}, ksuid.New().String(), stream, 0, nil, eventlog.ActorOf("worker", f.agent)},
		{execution.Codec, execution.Succeeded{Attempt: 1, Output: f.digest}, ksuid.New().String(), stream, 1, nil, eventlog.ActorOf("worker", f.agent)},
	}
	var appends []eventlog.Append
	for _, step := range steps {
		proposed, err := step.codec.Encode(step.event)
		if err != nil {
			return nil, err
		}
		proposed.ID, proposed.Payload = step.id, step.payload
		appends = append(appends, eventlog.Append{
			WorkspaceID: f.workspace, Stream: step.stream, Expected: step.expected, Events: []eventlog.Proposed{proposed},
			Meta: eventlog.Metadata{Actor: step.actor, CorrelationID: id},
		})
	}
	return appends, nil
}

var rebuilt = regexp.MustCompile(`rebuilt all read models from (\d+) events in (\S+) \((\d+) events/s\)`)

// rebuild measures the making of the read models from the log.
func (r *report) rebuild(ctx context.Context, s settings, environment []string) error {
	cmd := exec.CommandContext(ctx, s.binary, "projections", "rebuild")
	cmd.Env = append(os.Environ(), environment...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("rebuild: %w: %s", err, output)
	}
	found := rebuilt.FindSubmatch(output)
	if found == nil {
		return fmt.Errorf("rebuild said: %s", output)
	}
	rate, err := strconv.ParseFloat(string(found[3]), 64)
	if err != nil {
		return err
	}
	r.add(cell{Name: "projections rebuild, events/s", PerSecond: rate, Note: string(found[1]) + " events in " + string(found[2])})
	return nil
}

package application_test

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// TestWhatOneReplicaChangesTheNextCallOnAnotherObeys holds guarantee 2 of SPEC, section 7:
// each case changes a trigger through one replica after the other has it in memory.
func TestWhatOneReplicaChangesTheNextCallOnAnotherObeys(t *testing.T) {
	type scene struct {
		*world

		here, there *replica
		made        application.IssuedTrigger
		call        application.Call
	}
	rotate := func(s scene, grace time.Duration) application.IssuedTrigger {
		issued, err := s.there.RotateTriggerToken(s.Context(), s.caller(), s.made.ID, grace)
		require.NoError(s, err)
		return issued
	}
	rotateSecret := func(s scene, grace time.Duration) application.IssuedTrigger {
		issued, err := s.there.RotateTriggerSecret(s.Context(), s.caller(), s.made.ID, "", grace)
		require.NoError(s, err)
		return issued
	}
	schema := json.RawMessage(`{"required":["id"]}`)
	cases := map[string]func(s scene){
		"deactivated, then activated": func(s scene) {
			s.there.update(s.made.ID, application.UpdateTrigger{IsActive: new(false)})
			s.here.refused(fault.TriggerInactive, s.call)
			s.there.update(s.made.ID, application.UpdateTrigger{IsActive: new(true)})
			s.here.accepted(s.call)
		},
		"deleted": func(s scene) {
			require.NoError(s, s.there.DeleteTrigger(s.Context(), s.caller(), s.made.ID, 0))
			s.here.refused(fault.Unauthorized, s.call)
		},
		"another token at once": func(s scene) {
			issued := rotate(s, 0)
			s.here.refused(fault.Unauthorized, s.call)
			s.here.accepted(call(issued.Token, "", `{}`))
		},
		"another token with grace": func(s scene) {
			issued := rotate(s, time.Minute)
			s.clock.advance(time.Minute - 1)
			s.here.accepted(s.call)
			s.here.accepted(call(issued.Token, "", `{}`))
			s.clock.advance(1)
			s.here.refused(fault.Unauthorized, s.call)
			s.here.accepted(call(issued.Token, "", `{}`))
		},
		"grace cut short": func(s scene) {
			rotate(s, time.Hour)
			s.here.accepted(s.call)
			rotate(s, 0)
			s.here.refused(fault.Unauthorized, s.call)
		},
		"a secret, others, none": func(s scene) {
			first := rotateSecret(s, 0).Secret
			s.here.refused(fault.InvalidSignature, s.call)
			s.here.accepted(call(s.made.Token, first, `{}`))
			second := rotateSecret(s, time.Minute).Secret
			s.here.accepted(call(s.made.Token, second, `{}`))
			s.here.accepted(call(s.made.Token, first, `{}`))
			s.clock.advance(time.Minute)
			s.here.refused(fault.InvalidSignature, call(s.made.Token, first, `{}`))
			third := rotateSecret(s, 0).Secret
			s.here.refused(fault.InvalidSignature, call(s.made.Token, second, `{}`))
			s.here.accepted(call(s.made.Token, third, `{}`))
			require.NoError(s, s.there.RemoveTriggerSecret(s.Context(), s.caller(), s.made.ID))
			s.here.accepted(s.call)
		},
		"another agent": func(s scene) {
			other := s.there.agent(nil)
			s.there.update(s.made.ID, application.UpdateTrigger{AgentID: &other.ID})
			require.Equal(s, other.ID, s.here.accepted(s.call).AgentID)
		},
		"another schema": func(s scene) {
			_, err := s.there.UpdateAgent(s.Context(), s.caller(), s.made.AgentID, application.AgentRequest{InputSchema: schema}, 0)
			require.NoError(s, err)
			s.here.refused(fault.SchemaMismatch, s.call)
			_, err = s.there.UpdateAgent(s.Context(), s.caller(), s.made.AgentID, application.AgentRequest{InputSchema: json.RawMessage(`null`)}, 0)
			require.NoError(s, err)
			s.here.accepted(s.call)
		},
		"another runner": func(s scene) {
			_, err := s.there.UpdateAgent(s.Context(), s.caller(), s.made.AgentID, application.AgentRequest{Runner: runsOn(agent.Runner{Kind: agent.RunnerNone})}, 0)
			require.NoError(s, err)
			s.here.accepted(s.call)
			events, err := s.here.store.List(s.Context(), application.EventFilter{WorkspaceID: s.workspace, Type: "trigger.invoked", Limit: 1})
			require.NoError(s, err)
			invoked, err := trigger.Codec.Decode(events[0])
			require.NoError(s, err)
			require.False(s, invoked.(trigger.Invoked).Runs)
		},
		"other addresses": func(s scene) {
			s.there.options(s.made.ID, `{"allowed_ips":["198.51.100.1"]}`)
			s.here.refused(fault.Forbidden, s.call)
			s.there.options(s.made.ID, `{"allowed_ips":null}`)
			s.here.accepted(s.call)
		},
		"a smaller body": func(s scene) {
			s.there.options(s.made.ID, `{"max_body_bytes":1}`)
			s.here.refused(fault.PayloadTooLarge, s.call)
			s.there.options(s.made.ID, `{"max_body_bytes":null}`)
			s.here.accepted(s.call)
		},
		"an end": func(s scene) {
			s.there.options(s.made.ID, `{"expires_at":"`+s.clock.now().Add(time.Minute).Format(time.RFC3339Nano)+`"}`)
			s.here.accepted(s.call)
			s.clock.advance(time.Minute)
			s.here.refused(fault.TriggerInactive, s.call)
		},
	}
	onBoth(t, func(w *world) {
		here, there := w.replica(), w.replica()
		for name, test := range cases {
			s := scene{world: w, here: here, there: there, made: there.trigger(there.agent(nil).ID, nil)}
			s.call = call(s.made.Token, "", `{}`)
			here.accepted(s.call) // now it is in memory here
			w.Log(name)
			test(s)
		}
	})
}

// TestNoCallIsAcceptedAfterDeactivationIsAnswered holds the same while calls are under way.
func TestNoCallIsAcceptedAfterDeactivationIsAnswered(t *testing.T) {
	onBoth(t, func(w *world) {
		here, there := w.replica(), w.replica()
		made := there.trigger(there.agent(nil).ID, nil)
		here.accepted(call(made.Token, "", `{}`))
		var answered atomic.Bool
		var late, accepted atomic.Int32
		underWay := make(chan struct{})
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				for {
					tooLate := answered.Load()
					if _, err := here.invoke(call(made.Token, "", `{}`)); err != nil {
						return
					}
					if tooLate {
						late.Add(1)
						return
					}
					if accepted.Add(1) == 10 {
						close(underWay)
					}
				}
			})
		}
		<-underWay
		there.update(made.ID, application.UpdateTrigger{IsActive: new(false)})
		answered.Store(true)
		calls.Wait()
		require.Zero(w, late.Load())
		newest, err := there.store.List(w.Context(), application.EventFilter{
			WorkspaceID: w.workspace, Stream: eventlog.Stream(eventlog.TriggerStream, made.ID), Limit: 1,
		})
		require.NoError(w, err)
		require.Equal(w, "trigger.deactivated", newest[0].Type, "nothing was accepted behind it")
	})
}

// TestACallTrustsNoReadingThatBeganBeforeIt: calls share the reading of a trigger, but one
// that came in after a change was answered must not be refused by a reading from before it.
func TestACallTrustsNoReadingThatBeganBeforeIt(t *testing.T) {
	w := embedded(t)
	there := w.replica()
	made := there.trigger(there.agent(nil).ID, func(c *application.CreateTrigger) { c.IsActive = new(false) })
	stream := eventlog.Stream(eventlog.TriggerStream, made.ID)
	read, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	here := w.replica(watching(&watched{decisions: func(s eventlog.StreamID) {
		if s == stream {
			once.Do(func() { close(read); <-goOn })
		}
	}}), hashing(func(n int32) {
		if n == 9 { // all but the first are about to join the reading of the first
			close(goOn)
		}
	}))
	var calls sync.WaitGroup
	calls.Go(func() { _, _ = here.invoke(call(made.Token, "", `{}`)) })
	<-read
	there.update(made.ID, application.UpdateTrigger{IsActive: new(true)})
	errs := make([]error, 8)
	for i := range errs {
		calls.Go(func() { _, errs[i] = here.invoke(call(made.Token, "", `{}`)) })
	}
	calls.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// countedHashes tells how many tokens have been hashed: the last thing before a trigger is read.
type countedHashes struct {
	application.Secrets

	count atomic.Int32
	tell  func(n int32)
}

func (c *countedHashes) HashToken(token string) []byte {
	hash := c.Secrets.HashToken(token)
	c.tell(c.count.Add(1))
	return hash
}

func hashing(tell func(n int32)) func(*setup) {
	return func(s *setup) { s.parts.Secrets = &countedHashes{Secrets: s.parts.Secrets, tell: tell} }
}

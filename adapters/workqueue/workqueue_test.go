package workqueue_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/readmodel"
	"hooktrail/adapters/workqueue"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const workspace = "w1"

// shop is two replicas that hand out executions.
type shop struct {
	*testing.T

	backend *databasetest.Backend
	db      *database.DB
	store   *eventstore.Store
	queues  [2]*workqueue.Queue
	mu      sync.Mutex
	clock   time.Time
}

func onShop(t *testing.T, test func(s *shop)) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) { test(newShop(t, b)) })
}

func newShop(t *testing.T, b *databasetest.Backend) *shop {
	t.Helper()
	s := &shop{T: t, backend: b, clock: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	for i := range s.queues {
		db := b.Open(t)
		store := eventstore.New(db, readmodel.New(db, ""), eventstore.Config{Now: s.now})
		t.Cleanup(store.Close)
		s.queues[i] = workqueue.New(db, store, s.now)
		s.db, s.store = db, store
	}
	for _, worker := range []string{"k1", "k2"} {
		require.NoError(t, s.queues[0].KeepAlive(t.Context(), worker, time.Hour))
	}
	return s
}

func (s *shop) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *shop) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

func (s *shop) append(codec *eventlog.Codec, stream eventlog.StreamID, expected int64, payload []byte, event eventlog.Event) error {
	proposed, err := codec.Encode(event)
	if err != nil {
		return err
	}
	proposed.ID, proposed.Payload = ksuid.New().String(), payload
	_, err = s.store.Append(s.Context(), eventlog.Append{
		WorkspaceID: workspace, Stream: stream, Expected: expected, Events: []eventlog.Proposed{proposed}, Meta: eventlog.Metadata{Actor: eventlog.System},
	})
	return err
}

func (s *shop) agent(id string, maxConcurrency, maxAttempts int) {
	s.Helper()
	settings := agent.Settings{Name: id, Runner: agent.Runner{Kind: agent.RunnerEcho}, MaxConcurrency: maxConcurrency}.Defaults("")
	settings.Retry.MaxAttempts = maxAttempts
	require.NoError(s, s.append(agent.Codec, eventlog.Stream(eventlog.AgentStream, id), 0, nil, agent.Registered{Settings: settings}))
}

// invoke makes n executions of an agent, one microsecond after the other.
func (s *shop) invoke(agentID string, n int) (ids []string) {
	s.Helper()
	for i := range n {
		id := fmt.Sprintf("%s-%d-%s", agentID, i, ksuid.New())
		s.pass(time.Microsecond)
		require.NoError(s, s.append(trigger.Codec, eventlog.Stream(eventlog.TriggerStream, "t1"), 0, []byte(`{"of":"`+id+`"}`),
			trigger.Invoked{ExecutionID: id, AgentID: agentID, Runs: true}))
		ids = append(ids, id)
	}
	return ids
}

// start decides as the application does.
func (s *shop) start(worker string) func(application.Due) (eventlog.Append, error) {
	return func(due application.Due) (eventlog.Append, error) {
		a := eventlog.Append{
			WorkspaceID: due.Execution.WorkspaceID, Stream: eventlog.Stream(eventlog.ExecutionStream, due.Execution.ID), Expected: due.Execution.Version,
			Meta: eventlog.Metadata{Actor: eventlog.ActorOf("worker", worker)},
		}
		events, err := due.Execution.Start(worker, due.Agent.Retry, s.now())
		for _, event := range events {
			proposed, encodeErr := execution.Codec.Encode(event)
			if encodeErr != nil {
				return a, encodeErr
			}
			proposed.ID = ksuid.New().String()
			a.Events = append(a.Events, proposed)
		}
		return a, err
	}
}

func (s *shop) claim(queue int, worker string, limit int) []application.Claimed {
	s.Helper()
	claimed, err := s.queues[queue].Claim(s.Context(), limit, s.start(worker))
	require.NoError(s, err)
	require.LessOrEqual(s, len(claimed), limit)
	return claimed
}

func ids(claimed []application.Claimed) []string {
	var list []string
	for _, c := range claimed {
		list = append(list, c.Execution.ID)
	}
	return list
}

// succeed records the good end of an attempt.
func (s *shop) succeed(c application.Claimed) error {
	events, err := c.Execution.Complete(trigger.Digest{}, nil)
	if err != nil {
		return err
	}
	return s.append(execution.Codec, eventlog.Stream(eventlog.ExecutionStream, c.Execution.ID), c.Execution.Version, []byte(`{}`), events[0])
}

// story gives the events of an execution's own stream.
func (s *shop) story(id string) (events []eventlog.Event) {
	s.Helper()
	recorded, err := s.store.Decisions(s.Context(), eventlog.Stream(eventlog.ExecutionStream, id), 0)
	require.NoError(s, err)
	for _, r := range recorded {
		event, err := execution.Codec.Decode(r)
		require.NoError(s, err)
		events = append(events, event)
	}
	return events
}

func TestClaim(t *testing.T) {
	onShop(t, func(s *shop) {
		require.Empty(s, s.claim(0, "k1", 10), "an empty queue")
		s.agent("a", 0, 5)
		made := s.invoke("a", 5)
		require.NoError(s, s.append(trigger.Codec, "trigger-t1", 0, nil, trigger.Invoked{ExecutionID: "outside", AgentID: "a", Runs: false}))
		require.Empty(s, s.claim(0, "k1", 0))

		first := s.claim(0, "k1", 2)
		require.Equal(s, made[:2], ids(first), "the longest waiting first")
		require.Equal(s, made[2:], ids(s.claim(1, "k2", 10)), "and none twice; what is done outside is nobody's")
		require.Empty(s, s.claim(0, "k1", 10))

		c := first[0]
		require.Equal(s, execution.Execution{
			ID: made[0], WorkspaceID: workspace, AgentID: "a", TriggerID: "t1", Status: execution.Running, Attempt: 1, Worker: "k1", Version: 1, StartedAt: c.Execution.StartedAt,
		}, c.Execution)
		require.Equal(s, "a", c.Agent.ID)
		require.Equal(s, `{"of":"`+made[0]+`"}`, string(c.Input))
		require.False(s, c.InputErased)
		view, found, err := readmodel.New(s.db, "").Execution(s.Context(), workspace, made[0])
		require.NoError(s, err)
		require.True(s, found)
		require.Equal(s, []any{execution.Running, 1, view.CreatedAt}, []any{view.Status, view.Attempt, c.CreatedAt})
		require.Equal(s, []eventlog.Event{execution.Started{Attempt: 1, Worker: "k1"}}, s.story(made[0]))
		require.NoError(s, s.succeed(c), "the version that it was claimed with is the one to go on from")
	})
}

func TestClaimRefused(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 5)
		made := s.invoke("a", 3)
		refusal := fmt.Errorf("not now")
		_, err := s.queues[0].Claim(s.Context(), 10, func(due application.Due) (eventlog.Append, error) {
			if due.Execution.ID == made[2] {
				return eventlog.Append{}, refusal
			}
			return s.start("k1")(due)
		})
		require.ErrorIs(s, err, refusal)
		require.Empty(s, s.story(made[0]), "nothing was started")
		require.Equal(s, made, ids(s.claim(0, "k1", 10)))
	})
}

// TestClaimedByOne has workers of two replicas claim at the same time.
func TestClaimedByOne(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 5)
		made := s.invoke("a", 60)
		var mu sync.Mutex
		owners := map[string]string{}
		var workers sync.WaitGroup
		for i := range 4 {
			worker := fmt.Sprintf("worker %d", i)
			require.NoError(s, s.queues[0].KeepAlive(s.Context(), worker, time.Hour))
			workers.Go(func() {
				for {
					claimed, err := s.queues[i%2].Claim(s.Context(), 1+i, s.start(worker))
					if err != nil {
						s.Error(err)
						return
					}
					if len(claimed) == 0 {
						return
					}
					mu.Lock()
					for _, c := range claimed {
						if other, twice := owners[c.Execution.ID]; twice {
							s.Errorf("%s and %s claimed %s", other, worker, c.Execution.ID)
						}
						owners[c.Execution.ID] = worker
					}
					mu.Unlock()
				}
			})
		}
		workers.Wait()
		require.Len(s, owners, len(made))
		for _, id := range made {
			require.Equal(s, []eventlog.Event{execution.Started{Attempt: 1, Worker: owners[id]}}, s.story(id))
		}
	})
}

func TestConcurrencyOfAnAgent(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("narrow", 2, 5)
		s.agent("wide", 0, 5)
		narrow := s.invoke("narrow", 6)
		wide := s.invoke("wide", 2)
		first := s.claim(0, "k1", 3)
		require.Equal(s, narrow[:2], ids(first))
		require.Equal(s, wide, ids(s.claim(1, "k2", 3)), "a queue of one agent does not hide the other's")
		require.Empty(s, s.claim(0, "k1", 3))
		require.NoError(s, s.succeed(first[0]))
		require.Equal(s, narrow[2:3], ids(s.claim(1, "k2", 3)))
		require.Empty(s, s.claim(0, "k1", 3))
	})
}

// TestConcurrencyOverReplicas claims and ends at the same time on two replicas: by the log, no
// more run at any position than may.
func TestConcurrencyOverReplicas(t *testing.T) {
	onShop(t, func(s *shop) {
		const most = 3
		s.agent("a", most, 5)
		made := s.invoke("a", 40)
		var workers sync.WaitGroup
		var mu sync.Mutex
		left := len(made)
		for i := range 4 {
			workers.Go(func() {
				for {
					mu.Lock()
					over := left == 0
					mu.Unlock()
					if over || s.Failed() {
						return
					}
					claimed, err := s.queues[i%2].Claim(s.Context(), 5, s.start("k1"))
					if err != nil {
						s.Error(err)
						return
					}
					for _, c := range claimed {
						if err := s.succeed(c); err != nil {
							s.Error(err)
						}
					}
					mu.Lock()
					left -= len(claimed)
					mu.Unlock()
				}
			})
		}
		workers.Wait()
		log, err := s.store.After(s.Context(), 0, 10_000)
		require.NoError(s, err)
		running, highest := 0, 0
		for _, e := range log {
			switch e.Type {
			case "execution.started":
				running++
			case "execution.completed":
				running--
			}
			require.LessOrEqual(s, running, most, "at position %d", e.Position)
			highest = max(highest, running)
		}
		require.Zero(s, running)
		require.Equal(s, most, highest)
	})
}

func TestNextDue(t *testing.T) {
	onShop(t, func(s *shop) {
		next := func() (at time.Time, found bool) {
			at, found, err := s.queues[1].NextDue(s.Context())
			require.NoError(s, err)
			return at, found
		}
		_, found := next()
		require.False(s, found)
		s.agent("a", 0, 5)
		s.invoke("a", 1)
		at, found := next()
		require.True(s, found)
		require.Equal(s, s.now(), at)

		claimed := s.claim(0, "k1", 1)[0]
		_, found = next()
		require.False(s, found, "what runs is not due")

		events, err := claimed.Execution.Fail(execution.Failure{Error: execution.Error{Code: "x"}}, claimed.Agent.Retry, 0.5, s.now())
		require.NoError(s, err)
		require.NoError(s, s.append(execution.Codec, eventlog.Stream(eventlog.ExecutionStream, claimed.Execution.ID), claimed.Execution.Version, nil, events[0]))
		at, found = next()
		require.True(s, found)
		require.Equal(s, s.now().Add(10*time.Second), at)
		s.pass(10*time.Second - time.Microsecond)
		require.Empty(s, s.claim(0, "k1", 1), "not yet")
		s.pass(time.Microsecond)
		again := s.claim(1, "k2", 1)
		require.Len(s, again, 1)
		require.Equal(s, []any{2, int64(3)}, []any{again[0].Execution.Attempt, again[0].Execution.Version})
	})
}

func TestErasedInput(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 5)
		made := s.invoke("a", 2)
		require.NoError(s, s.append(trigger.Codec, "trigger-t1", 0, []byte{}, trigger.Invoked{ExecutionID: "empty", AgentID: "a", Runs: true, MediaType: "application/x-www-form-urlencoded"}))
		require.NoError(s, s.db.Write(s.Context(), func(tx *database.Tx) error {
			tx.Exec("UPDATE events SET payload = NULL WHERE position = (SELECT position FROM executions WHERE id = ?)", made[0])
			return nil
		}))
		claimed := s.claim(0, "k1", 10)
		require.Equal(s, append(made, "empty"), ids(claimed))
		for i, want := range []struct {
			erased bool
			input  string
			media  string
		}{{true, "", ""}, {false, `{"of":"` + made[1] + `"}`, ""}, {false, "", "application/x-www-form-urlencoded"}} {
			require.Equal(s, want.erased, claimed[i].InputErased)
			require.Equal(s, want.input, string(claimed[i].Input))
			require.Equal(s, want.media, claimed[i].MediaType)
		}
	})
}

package application_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/backtests"
	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/deliveries"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/ratelimit"
	"hooktrail/adapters/readmodel"
	"hooktrail/adapters/runner"
	"hooktrail/adapters/secretbox"
	"hooktrail/adapters/senders"
	"hooktrail/adapters/workqueue"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const publicURL = "https://hooks.example.com"

// world is one database and a clock; replicas of the application are opened on it.
type world struct {
	*testing.T

	backend   *databasetest.Backend
	clock     *clock
	master    secretbox.MasterKeys
	workspace string
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

// onBoth runs a test on both databases.
func onBoth(t *testing.T, test func(w *world)) {
	t.Helper()
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) { test(newWorld(t, b)) })
}

// embedded is a world on SQLite, for what does not depend on the database.
func embedded(t *testing.T) *world {
	t.Parallel()
	return newWorld(t, databasetest.SQLite(t.TempDir()+"/hooktrail.db"))
}

func newWorld(t *testing.T, b *databasetest.Backend) *world {
	key, err := secretbox.GenerateMasterKey(rand.Reader)
	require.NoError(t, err)
	master, err := secretbox.ParseMasterKeys(key)
	require.NoError(t, err)
	return &world{
		T: t, backend: b, master: master, workspace: ksuid.New().String(),
		clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
	}
}

// replica is one process's application with what it is made of.
type replica struct {
	*application.Application

	world   *world
	store   *eventstore.Store
	metrics *recorder
	logs    *lines
}

// setup is what a test may change about a replica before it is made.
type setup struct {
	config application.Config
	parts  application.Dependencies
}

// replica makes the application on the world's database, as another process would.
func (w *world) replica(changes ...func(*setup)) *replica {
	w.Helper()
	db := w.backend.Open(w)
	appended := application.NewBroadcast()
	models := readmodel.New(db, publicURL)
	store := eventstore.New(db, models, eventstore.Config{Now: w.clock.now, Appended: func(bool) { appended.Send() }})
	w.Cleanup(store.Close)
	w.listen(db, appended)
	ring, err := keyring.Open(w.Context(), db, func() (secretbox.MasterKeys, error) { return w.master, nil })
	require.NoError(w, err)
	r := &replica{world: w, store: store, metrics: &recorder{}, logs: &lines{}}
	s := &setup{
		config: application.Config{WorkspaceID: w.workspace, PublicURL: publicURL, DefaultRunner: agent.RunnerEcho, MaxBodyBytes: 1000},
		parts: application.Dependencies{
			Store: store, Views: models, Queue: workqueue.New(db, store, w.clock.now), Secrets: ring,
			Deliveries: deliveries.New(db, w.clock.now), Sender: runner.NewSender(runner.HTTPConfig{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
			Backtests: backtests.New(db),
			Runner:    runner.Set{agent.RunnerEcho: runner.Echo{}}, Limiter: ratelimit.NewMemory(w.clock.now, 0), Senders: senders.Of,
			Logger: slog.New(slog.NewTextHandler(r.logs, nil)), Now: w.clock.now, NewID: func() string { return ksuid.New().String() },
			Random: rand.Reader, Jitter: func() float64 { return 0.5 }, Observe: r.metrics, Appended: appended, Due: application.NewBroadcast(),
		},
	}
	for _, change := range changes {
		change(s)
	}
	r.Application, err = application.New(s.config, s.parts)
	require.NoError(w, err)
	return r
}

// listen wakes a replica when another one has appended; on SQLite replicas are in one
// process, and a broadcast of each other's appends is not needed by any test.
func (w *world) listen(db *database.DB, appended *application.Broadcast) {
	ctx, stop := context.WithCancel(context.WithoutCancel(w.Context()))
	listening := make(chan struct{})
	var once sync.Once
	var running sync.WaitGroup
	running.Go(func() {
		db.Listen(ctx, database.AppendChannel, func(string) {
			once.Do(func() { close(listening) })
			appended.Send()
		})
	})
	w.Cleanup(func() { stop(); running.Wait() })
	select {
	case <-listening: // it is told once at the start, when nothing can be missed any more
	case <-w.Context().Done():
	}
}

// recorder is the metrics that a test looks at.
type recorder struct {
	mu         sync.Mutex
	invoked    []string
	attempts   []string
	deliveries []string
}

func (r *recorder) Invoked(outcome string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.invoked = append(r.invoked, outcome)
}

func (r *recorder) AttemptEnded(runner, outcome string, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, runner+" "+outcome)
}

func (r *recorder) Delivered(outcome string, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deliveries = append(r.deliveries, outcome)
}

func (r *recorder) AttemptStarted(time.Duration) {}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (w *world) caller(scopes ...apikey.Scope) application.Caller {
	return application.Caller{WorkspaceID: w.workspace, Key: apikey.APIKey{ID: "key-1", Scopes: scopes}, RequestID: "request-1"}
}

var client = netip.MustParseAddr("192.0.2.7")

func (r *replica) agent(edit func(*application.AgentRequest)) application.IssuedAgent {
	r.world.Helper()
	request := application.AgentRequest{Name: new("triage")}
	if edit != nil {
		edit(&request)
	}
	issued, err := r.CreateAgent(r.world.Context(), r.world.caller(), request)
	require.NoError(r.world, err)
	return issued
}

func runsOn(r agent.Runner) *application.RunnerRequest {
	return &application.RunnerRequest{Runner: r}
}

func (r *replica) trigger(agentID string, edit func(*application.CreateTrigger)) application.IssuedTrigger {
	r.world.Helper()
	request := application.CreateTrigger{AgentID: agentID, Name: "orders"}
	if edit != nil {
		edit(&request)
	}
	issued, err := r.CreateTrigger(r.world.Context(), r.world.caller(), request)
	require.NoError(r.world, err)
	return issued
}

// call is a webhook call with that body, signed when there is a secret.
func call(token, secret, body string) application.Call {
	c := application.Call{Token: application.Present(token), Body: []byte(body), Signed: []byte(body), Client: client, RequestID: "request-2"}
	if secret != "" {
		c.Signatures = []string{trigger.Sign([]byte(secret), c.Signed)}
	}
	return c
}

func (r *replica) invoke(c application.Call) (application.Invocation, error) {
	return r.InvokeTrigger(r.world.Context(), c)
}

func (r *replica) accepted(c application.Call) application.Invocation {
	r.world.Helper()
	invocation, err := r.invoke(c)
	require.NoError(r.world, err)
	return invocation
}

func (r *replica) refused(want fault.Code, c application.Call) {
	r.world.Helper()
	_, err := r.invoke(c)
	require.Equal(r.world, want, fault.CodeOf(err), "%v", err)
}

// update changes a trigger.
func (r *replica) update(id string, u application.UpdateTrigger) {
	r.world.Helper()
	_, err := r.UpdateTrigger(r.world.Context(), r.world.caller(), id, u, 0)
	require.NoError(r.world, err)
}

// options changes a trigger's options.
func (r *replica) options(id, patch string) {
	r.world.Helper()
	r.update(id, application.UpdateTrigger{Options: json.RawMessage(patch)})
}

func (r *replica) execution(id string) application.ExecutionView {
	r.world.Helper()
	view, err := r.GetExecution(r.world.Context(), r.world.caller(), id)
	require.NoError(r.world, err)
	return view
}

// types lists the events of a stream in order.
func (r *replica) types(stream eventlog.StreamID) []string {
	r.world.Helper()
	start := eventlog.Position(0)
	events, err := r.store.List(r.world.Context(), application.EventFilter{WorkspaceID: r.world.workspace, Stream: stream, After: &start, Limit: 100})
	require.NoError(r.world, err)
	types := make([]string, len(events))
	for i, e := range events {
		types[i] = e.Type
	}
	return types
}

package e2e_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/kafkatest"
	hooktrail "hooktrail/sdk/go"
)

// TestFollowersKill9 has four processes that append to one PostgreSQL, and followers of every kind, and
// kills and restarts both for HOOKTRAIL_TEST_KILL_SECONDS. Every follower gets every event, and
// none out of the order of its stream. What comes twice is counted.
func TestFollowersKill9(t *testing.T) {
	t.Parallel()
	const writers = 4
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := kafkatest.Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	kafka := &kafkaBroker{t: t, Server: server}
	nats := &natsBroker{t: t, dir: t.TempDir(), port: -1}
	nats.start()
	t.Cleanup(nats.stop)
	env := quickTakeover.with(reachable).with(nats.settings()).with(kafka.settings())

	s := postgresStore(ownPostgres(t).DSN("postgres"))
	services, targets := make([]*service, writers), make([]*target, writers)
	for i := range services {
		services[i] = s.serve(t, env)
		targets[i] = at(services[i].base)
	}
	trigger := services[0].echoTrigger()
	receiver := newSubscriber(t)
	services[0].subscribe(receiver, `, "trigger_id": "`+trigger.ID+`"`)
	tails := []*streamFollower{followStream(t, targets[0], s.key), followStream(t, targets[writers-1], s.key)}
	book := newLedger(trigger.Token, targets...)
	stop := book.run(t, writers)

	followers := []func(){
		tails[0].restart,
		func() { receiver.stop(); receiver.start() },
		func() { nats.stop(); nats.start() },
		tails[1].restart,
		func() { kafka.stop(); kafka.start() },
	}
	kills := 0
	for deadline := time.Now().Add(killSeconds(t)); kills < len(followers) || time.Now().Before(deadline); kills++ {
		awaitCount(t, &book.accepted, book.accepted.Load()+50)
		i := kills % writers
		services[i].kill()
		followers[kills%len(followers)]()
		services[i] = s.serve(t, env)
		targets[i].move(services[i].base)
	}
	awaitCount(t, &book.accepted, book.accepted.Load()+50)
	stop()
	book.check(t, services...)

	var calls []loggedEvent
	for _, e := range loggedEvents(services[0]) {
		if e.Type == "trigger.invoked" {
			calls = append(calls, e)
		}
	}
	requireFollowed(t, "webhook", calls, receiver.received)
	logged := loggedEvents(services[0])
	for i, name := range []string{"nats", "kafka"} {
		eventually(t, func() bool { return services[i].metric("hooktrail_"+name+"_waiting") == 0 }, "%s has not got all events", name)
	}
	requireFollowed(t, "Server-Sent Events", logged, tails[0].received)
	requireFollowed(t, "Server-Sent Events of another process", logged, tails[1].received)
	requireFollowed(t, "NATS", logged, func() []string { return idsOf(nats.received()) })
	requireFollowed(t, "Kafka", logged, func() []string { return idsOf(kafka.received()) })
	awaitCounted(t, services[0], s.open(t), trigger.ID, int64(len(calls)))
	t.Logf("%d events of %d calls, %d kills of the %d writers and of followers", len(logged), len(calls), kills, writers)
	for _, service := range services {
		service.stop()
	}
}

// requireFollowed waits until a follower has got all events, and compares the order in each stream.
func requireFollowed(t *testing.T, follower string, want []loggedEvent, received func() []string) {
	t.Helper()
	position, stream := map[string]int64{}, map[string]string{}
	for _, e := range want {
		position[e.ID], stream[e.ID] = e.Position, e.Stream
	}
	var got []string
	eventually(t, func() bool {
		got = received()
		seen := map[string]bool{}
		for _, id := range got {
			seen[id] = true
		}
		return len(seen) >= len(want)
	}, "%s: events are missing of %d", follower, len(want))
	seen, last, ahead := map[string]bool{}, map[string]int64{}, int64(0)
	outOfLog := 0
	for _, id := range got {
		_, logged := position[id]
		require.True(t, logged, "%s: an event that is not in the log", follower)
		if seen[id] {
			continue
		}
		seen[id] = true
		require.Greater(t, position[id], last[stream[id]], "%s: an event of %s came behind a later one", follower, stream[id])
		last[stream[id]] = position[id]
		if position[id] < ahead {
			outOfLog++
		}
		ahead = max(ahead, position[id])
	}
	t.Logf("%s: all %d events, %d of them again; %d behind a later one of another stream", follower, len(want), len(got)-len(seen), outOfLog)
}

func idsOf(events []published) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

// streamFollower follows the log by Server-Sent Events from its beginning, and goes on where it was when it is
// restarted or its server is.
type streamFollower struct {
	t        testing.TB
	at       *target
	key      string
	end      func()
	position atomic.Int64
	mu       sync.Mutex
	ids      []string // as they came
}

func followStream(t testing.TB, where *target, key string) *streamFollower {
	f := &streamFollower{t: t, at: where, key: key}
	f.start()
	t.Cleanup(func() { f.end() })
	return f
}

func (f *streamFollower) start() {
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() {
		for ctx.Err() == nil {
			base, moved := f.at.read()
			f.follow(ctx, base, moved)
		}
	})
	f.end = func() { cancel(); following.Wait() }
}

// follow takes events until the server has moved.
func (f *streamFollower) follow(ctx context.Context, base string, moved <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-moved:
			cancel()
		case <-ctx.Done():
		}
	}()
	client, err := hooktrail.New(hooktrail.Options{BaseURL: base, APIKey: hooktrail.Secret(f.key)})
	if err != nil {
		f.t.Error(err)
		return
	}
	after := f.position.Load()
	for event, err := range client.Events.Tail(ctx, hooktrail.TailEvents{After: &after}) {
		if err != nil {
			<-ctx.Done() // the server was killed before it answered
			return
		}
		f.mu.Lock()
		f.ids = append(f.ids, event.ID)
		f.mu.Unlock()
		f.position.Store(event.Position)
	}
}

func (f *streamFollower) restart() {
	f.end()
	f.start()
}

func (f *streamFollower) received() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.ids...)
}

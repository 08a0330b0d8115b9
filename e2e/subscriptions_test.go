package e2e_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// subscriber is a downstream service on an address that it keeps when it is started again.
type subscriber struct {
	t      testing.TB
	addr   string
	key    *standardwebhooks.Webhook
	server *http.Server
	closed chan struct{}

	taken atomic.Int64
	mu    sync.Mutex
	ids   []string // as they came
	wrong []string
}

func newSubscriber(t testing.TB) *subscriber {
	s := &subscriber{t: t}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *subscriber) start() {
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var listener net.Listener
	eventually(s.t, func() bool {
		var err error
		listener, err = net.Listen("tcp", addr)
		return err == nil
	}, "cannot listen on %s again", addr)
	s.addr = listener.Addr().String()
	s.server, s.closed = &http.Server{Handler: http.HandlerFunc(s.take)}, make(chan struct{})
	go func(server *http.Server, closed chan struct{}) { _ = server.Serve(listener); close(closed) }(s.server, s.closed)
}

// stop ends all connections, in the middle of requests too.
func (s *subscriber) stop() {
	_ = s.server.Close()
	<-s.closed
}

func (s *subscriber) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var event struct{ ID, Type string }
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.key.Verify(body, r.Header)
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	if err != nil || event.ID != r.Header.Get("Webhook-Id") {
		s.wrong = append(s.wrong, string(body))
	}
	s.ids = append(s.ids, event.ID)
	s.taken.Add(1)
	w.WriteHeader(http.StatusNoContent)
}

func (s *subscriber) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(s.t, s.wrong, "deliveries whose signature does not fit")
	return append([]string{}, s.ids...)
}

type subscriptionData struct {
	ID, Secret string
	IsActive   bool `json:"is_active"`
	Position   int64
}

// subscribe makes a subscription of the calls and gives it to its receiver.
func (c *client) subscribe(s *subscriber, more string) subscriptionData {
	c.tb.Helper()
	made := read[subscriptionData](c.tb, c.api(http.StatusCreated, http.MethodPost, "/api/v1/subscriptions",
		`{"name": "downstream", "url": "http://`+s.addr+`/", "types": ["trigger.invoked"]`+more+`}`))
	key, err := standardwebhooks.NewWebhook(made.Secret)
	require.NoError(c.tb, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key
	return made
}

// TestSubscriptionKill9 kills the server and restarts the receiver while four callers are at work:
// every call that is in the log is delivered, in order.
func TestSubscriptionKill9(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		env := quickTakeover.with(reachable)
		service := s.serve(t, env)
		where := at(service.base)
		trigger := service.echoTrigger()
		to := newSubscriber(t)
		made := service.subscribe(to, `, "trigger_id": "`+trigger.ID+`"`)
		book := newLedger(trigger.Token, where)
		stop := book.run(t, 4)
		restart := func() {
			service.kill()
			service = s.serve(t, env)
			where.move(service.base)
		}

		awaitCount(t, &to.taken, 50)
		restart()
		awaitCount(t, &to.taken, to.taken.Load()+50)
		to.stop()
		awaitCount(t, &book.accepted, book.accepted.Load()+50)
		restart() // while the receiver is away
		to.start()
		awaitCount(t, &to.taken, to.taken.Load()+50)
		to.stop()
		to.start()
		awaitCount(t, &to.taken, to.taken.Load()+50)
		restart()
		awaitCount(t, &book.accepted, book.accepted.Load()+50)
		stop()

		var want []string
		for _, e := range all[struct{ ID, Type string }](&service.client, "/api/v1/events?after=0") {
			if e.Type == "trigger.invoked" {
				want = append(want, e.ID)
			}
		}
		var got []string
		eventually(t, func() bool {
			seen := map[string]bool{}
			got = got[:0]
			for _, id := range to.received() {
				if !seen[id] {
					seen[id] = true
					got = append(got, id)
				}
			}
			return len(got) >= len(want)
		}, "%d events are in the log; received: %v", len(want), lazily(func() string {
			return service.get("/api/v1/subscriptions/" + made.ID).body
		}))
		require.Equal(t, want, got, "all, and in the order of the log")
		twice := len(to.received()) - len(want)
		t.Logf("%d calls, %d delivered twice", len(want), twice)
		require.Less(t, twice, len(want), "what comes twice is what a kill left unsaved")

		// What is disabled gets nothing, from the answer on.
		eventually(t, func() bool {
			return strings.Contains(service.get("/api/v1/subscriptions/"+made.ID+"/deliveries").body, `"status":"delivered"`)
		}, "the last success is not shown")
		before := to.taken.Load()
		off := read[subscriptionData](t, service.api(http.StatusOK, http.MethodPatch, "/api/v1/subscriptions/"+made.ID, `{"is_active": false}`))
		require.False(t, off.IsActive)
		other := newSubscriber(t)
		service.subscribe(other, "")
		service.accepted(trigger.Token, `{}`)
		awaitCount(t, &other.taken, 1)
		require.Equal(t, before, to.taken.Load(), "a disabled subscription was delivered to")
		service.api(http.StatusOK, http.MethodPatch, "/api/v1/subscriptions/"+made.ID, `{"is_active": true}`)
		awaitCount(t, &to.taken, before+1)
		service.stop()
	})
}

// TestSubscriptionsOverReplicas has two processes on one database: one of them delivers, and the
// other takes over when it is killed.
func TestSubscriptionsOverReplicas(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		s := postgresStore(ownPostgres(t).DSN("postgres"))
		env := quickTakeover.with(reachable)
		one, two := s.serve(t, env), s.serve(t, env)
		trigger := one.echoTrigger()
		to := newSubscriber(t)
		one.subscribe(to, "")
		for n := range 20 {
			one.accepted(trigger.Token, `{}`)
			two.accepted(trigger.Token, `{}`)
			awaitCount(t, &to.taken, int64(2*n+2))
		}
		require.Len(t, to.received(), 40, "without a fault nothing comes twice")
		one.kill()
		began := time.Now()
		two.accepted(trigger.Token, `{}`)
		awaitCount(t, &to.taken, 41)
		t.Logf("taken over after %s", time.Since(began))
		two.stop()
	})
}

// TestSubscriptionsPage runs the receiver that docs/subscriptions.md shows.
func TestSubscriptionsPage(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		page, err := os.ReadFile("../docs/subscriptions.md")
		require.NoError(t, err)
		_, rest, found := strings.Cut(string(page), "```go\n")
		require.True(t, found, "the page shows a receiver")
		shown, _, _ := strings.Cut(rest, "```")
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(shown), 0o600))
		receiver := filepath.Join(dir, "receiver")
		built, err := exec.Command("go", "build", "-o", receiver, filepath.Join(dir, "main.go")).CombinedOutput()
		require.NoError(t, err, "%s", built)

		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := listener.Addr().String()
		require.NoError(t, listener.Close())
		service := s.serve(t, reachable)
		made := read[subscriptionData](t, service.api(http.StatusCreated, http.MethodPost, "/api/v1/subscriptions",
			`{"name": "page", "url": "http://`+addr+`", "types": ["execution.completed"]}`))

		printed := newOutput()
		cmd := exec.Command(receiver)
		cmd.Env, cmd.Stdout, cmd.SysProcAttr = []string{"SECRET=" + made.Secret, "ADDR=" + addr}, printed, dieWithParent()
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		forged := newClient(t, "http://"+addr, "")
		eventually(t, func() bool {
			a, err := forged.try(http.MethodPost, "/", `{}`, "Webhook-Id", "x", "Webhook-Timestamp", "1", "Webhook-Signature", "v1,x")
			return err == nil && a.status == http.StatusUnauthorized
		}, "the receiver takes what is not signed, or nothing")
		id := service.accepted(service.echoTrigger().Token, `{}`)
		eventually(t, func() bool { return strings.Contains(printed.String(), `"subject":"execution-`+id+`"`) }, "the receiver has not printed the event: %s", printed)
		require.NotContains(t, printed.String(), ": {}\n")
		service.stop()
	})
}

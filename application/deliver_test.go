package application_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/subscription"
	"hooktrail/ports/delivery"
)

// received is an event that a receiver was sent.
type received struct {
	SpecVersion, ID, Source, Type, Subject, Sequence string
	Time                                             time.Time
	Data                                             map[string]any
	position                                         int64
	header                                           http.Header
	body                                             []byte
}

// receiver is a downstream service on an address that it keeps when it is started again.
type receiver struct {
	*testing.T

	addr   string
	server *httptest.Server

	mu     sync.Mutex
	all    []received // that were taken
	calls  int
	answer func(w http.ResponseWriter, r *http.Request, e received)
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{T: t, answer: func(http.ResponseWriter, *http.Request, received) {}}
	r.start()
	t.Cleanup(func() { r.server.Close() })
	return r
}

func (r *receiver) start() {
	addr := r.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var listener net.Listener
	require.Eventually(r, func() (up bool) {
		var err error
		listener, err = net.Listen("tcp", addr)
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	r.addr = listener.Addr().String()
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(r.take))
	_ = r.server.Listener.Close()
	r.server.Listener = listener
	r.server.Start()
}

func (r *receiver) take(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	e := received{header: request.Header.Clone(), body: body}
	if err := json.Unmarshal(body, &e); err != nil {
		r.Errorf("what was sent is no JSON: %v", err)
	}
	e.position, _ = strconv.ParseInt(e.Sequence, 10, 64)
	r.mu.Lock()
	r.calls++
	answer := r.answer
	r.mu.Unlock()
	recorder := httptest.NewRecorder()
	answer(recorder, request, e)
	if recorder.Code < 300 {
		r.mu.Lock()
		r.all = append(r.all, e)
		r.mu.Unlock()
	}
	for name, values := range recorder.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(recorder.Code)
	_, _ = w.Write(recorder.Body.Bytes())
}

func (r *receiver) answering(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ received) { w.WriteHeader(status) }
}

func (r *receiver) got() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received{}, r.all...)
}

func (r *receiver) called() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func (r *receiver) types() []string {
	types := []string{}
	for _, e := range r.got() {
		types = append(types, e.Type)
	}
	return types
}

func (r *replica) subscribe(to *receiver, edit func(*application.SubscriptionRequest)) application.IssuedSubscription {
	r.world.Helper()
	request := application.SubscriptionRequest{Name: new("billing"), URL: new("http://" + to.addr + "/events"), Types: &[]string{"agent.*"}}
	if edit != nil {
		edit(&request)
	}
	issued, err := r.CreateSubscription(r.world.Context(), r.world.caller(), request)
	require.NoError(r.world, err)
	return issued
}

func (r *replica) subscription(id string) application.SubscriptionView {
	r.world.Helper()
	view, err := r.GetSubscription(r.world.Context(), r.world.caller(), id)
	require.NoError(r.world, err)
	return view
}

// deliver delivers all that is due at the world's time.
func (r *replica) deliver(d *application.Deliverer) {
	r.world.Helper()
	for more := true; more; {
		more = false
		require.NoError(r.world, d.Renew(r.world.Context()))
		waiting, _, err := d.Waiting(r.world.Context())
		require.NoError(r.world, err)
		for _, each := range waiting {
			again, err := d.Deliver(r.world.Context(), each)
			require.NoError(r.world, err)
			more = more || again
		}
	}
}

func (r *replica) deliverer() *application.Deliverer { return r.NewDeliverer("process-1", time.Minute) }

func TestDelivery(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		to := newReceiver(w.T)
		r.agent(nil) // before the subscription
		made := r.subscribe(to, nil)
		d := r.deliverer()
		r.deliver(d)
		require.Empty(w, to.got(), "from now on")

		agent := r.agent(nil)
		r.trigger(agent.ID, nil)
		_, err := r.UpdateAgent(w.Context(), w.caller(), agent.ID, application.AgentRequest{Name: new("b")}, 0)
		require.NoError(w, err)
		r.deliver(d)
		r.deliver(d)
		require.Equal(w, []string{"agent.registered", "agent.updated"}, to.types(), "what fits, in order, once")

		e := to.got()[0]
		require.Equal(w, "1.0", e.SpecVersion)
		require.Equal(w, "/workspaces/"+w.workspace+"/agents/"+agent.ID, e.Source)
		require.Equal(w, "agent-"+agent.ID, e.Subject)
		require.Equal(w, w.clock.now(), e.Time)
		require.Equal(w, e.ID, e.header.Get("Webhook-Id"))
		require.Equal(w, "application/cloudevents+json", e.header.Get("Content-Type"))
		require.Equal(w, "triage", e.Data["name"])
		receiver, err := standardwebhooks.NewWebhook(made.Secret)
		require.NoError(w, err)
		require.NoError(w, receiver.Verify(e.body, e.header))

		view := r.subscription(made.ID)
		require.Equal(w, to.got()[1].position, int64(view.LastSuccess.Position))
		require.Equal(w, 200, view.LastSuccess.ResponseStatus)
		require.GreaterOrEqual(w, view.Position, view.LastSuccess.Position)

		// Another process goes on where this one ended, and nothing comes twice.
		r.agent(nil)
		other := w.replica()
		other.deliver(other.NewDeliverer("process-2", time.Minute))
		r.deliver(d)
		require.Len(w, to.got(), 3)
		require.Equal(w, []string{"delivered", "delivered"}, r.metrics.deliveries)
	})
}

func TestDeliveryFromAnyStart(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		for range 120 { // more than one batch
			r.agent(nil)
		}
		head, err := r.Head(w.Context())
		require.NoError(w, err)
		for from, first := range map[string]int64{`"beginning"`: 1, `1`: 1, `"7"`: 7, fmt.Sprint(head): int64(head)} {
			to := newReceiver(w.T)
			made := r.subscribe(to, func(s *application.SubscriptionRequest) { s.From = json.RawMessage(from) })
			r.deliver(r.deliverer())
			got := to.got()
			require.Len(w, got, int(head)-int(first)+1, from)
			for i, e := range got {
				require.Equal(w, first+int64(i), e.position)
			}
			require.NoError(w, r.DeleteSubscription(w.Context(), w.caller(), made.ID, 0))
		}
	})
}

func TestDeliveryOfWhatFits(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		one, other := r.agent(nil), r.agent(nil)
		first, second := r.trigger(one.ID, nil), r.trigger(other.ID, nil)
		x := r.accepted(call(first.Token, "", `{}`)).ID
		y := r.accepted(call(second.Token, "", `{}`)).ID
		claimed, err := r.ClaimExecutions(w.Context(), "worker-1", 10)
		require.NoError(w, err)
		for _, c := range claimed {
			r.RunExecution(w.Context(), c)
		}
		types := func(list ...string) func(*application.SubscriptionRequest) {
			return func(s *application.SubscriptionRequest) { s.Types = &list }
		}
		for name, c := range map[string]struct {
			edit func(*application.SubscriptionRequest)
			want []string // types
		}{
			"one type":         {types("trigger.created"), []string{"trigger.created", "trigger.created"}},
			"beginnings":       {types("trigger.inv*", "agent.*"), []string{"agent.registered", "agent.registered", "trigger.invoked", "trigger.invoked"}},
			"both":             {types("trigger.created", "agent.*"), []string{"agent.registered", "agent.registered", "trigger.created", "trigger.created"}},
			"a stream":         {func(s *application.SubscriptionRequest) { s.Types, s.Streams = nil, &[]string{"execution-" + x} }, []string{"execution.started", "execution.completed"}},
			"a kind of stream": {func(s *application.SubscriptionRequest) { s.Types, s.Streams = &[]string{"*"}, &[]string{"trigger-*"} }, []string{"trigger.created", "trigger.created", "trigger.invoked", "trigger.invoked"}},
			"a trigger": {
				func(s *application.SubscriptionRequest) { s.Types, s.TriggerID = nil, &first.ID },
				[]string{"trigger.created", "trigger.invoked", "execution.started", "execution.completed"},
			},
			"an agent": {
				func(s *application.SubscriptionRequest) { s.Types, s.AgentID = nil, &other.ID },
				[]string{"agent.registered", "trigger.invoked", "execution.started", "execution.completed"},
			},
			"all of it at once": {
				func(s *application.SubscriptionRequest) {
					s.Types, s.AgentID, s.TriggerID, s.Streams = &[]string{"execution.*"}, &other.ID, &second.ID, &[]string{"execution-*"}
				},
				[]string{"execution.started", "execution.completed"},
			},
			"nothing": {func(s *application.SubscriptionRequest) { s.TriggerID, s.AgentID = &first.ID, &other.ID }, []string{}},
		} {
			to := newReceiver(w.T)
			made := r.subscribe(to, func(s *application.SubscriptionRequest) { c.edit(s); s.From = json.RawMessage(`"beginning"`) })
			r.deliver(r.deliverer())
			require.Equal(w, c.want, to.types(), name)
			if name == "an agent" {
				require.Equal(w, "execution-"+y, to.got()[3].Subject)
			}
			require.NoError(w, r.DeleteSubscription(w.Context(), w.caller(), made.ID, 0))
		}
	})
}

// TestRetriesOverADay plays the schedule with a clock of its own, and what it ends in.
func TestRetriesOverADay(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		to.answering(422)
		r.agent(nil)
		r.agent(nil)
		d := r.deliverer()
		start := w.clock.now()
		for tries := 1; ; tries++ {
			r.deliver(d)
			r.deliver(d) // nothing comes before its time
			require.Equal(w, tries, to.called(), "one event holds back those behind it")
			view := r.subscription(made.ID)
			require.Equal(w, 422, view.Failing.ResponseStatus)
			require.True(w, view.Failing.Rejected, "it can be seen that the event itself is refused")
			require.Equal(w, tries, view.Failing.Attempts)
			if !view.IsActive {
				require.Equal(w, subscription.Rejected, view.DisabledCode)
				require.Contains(w, view.DisabledReason, "skip it")
				require.Nil(w, view.Failing.NextAt)
				break
			}
			require.True(w, view.Failing.NextAt.After(w.clock.now()))
			_, next, err := d.Waiting(w.Context())
			require.NoError(w, err)
			require.Equal(w, *view.Failing.NextAt, next)
			w.clock.advance(view.Failing.NextAt.Sub(w.clock.now()))
		}
		require.Equal(w, subscription.Persistence, w.clock.now().Sub(start))
		require.Equal(w, 21, to.called())
		require.Contains(w, r.types(eventlog.Stream(eventlog.SubscriptionStream, made.ID)), "subscription.disabled")

		w.clock.advance(time.Hour)
		r.deliver(d)
		require.Equal(w, 21, to.called(), "a disabled one is left alone")

		// The poison event is skipped, and those behind it are delivered.
		to.answering(200)
		view, err := r.SkipDelivery(w.Context(), w.caller(), made.ID, "")
		require.NoError(w, err)
		require.Nil(w, view.Failing)
		_, err = r.SkipDelivery(w.Context(), w.caller(), made.ID, "")
		require.Equal(w, fault.Conflict, fault.CodeOf(err))
		_, err = r.UpdateSubscription(w.Context(), w.caller(), made.ID, application.SubscriptionRequest{IsActive: new(true)}, 0)
		require.NoError(w, err)
		r.deliver(d)
		require.Len(w, to.got(), 1)
		list, err := r.ListDeliveries(w.Context(), w.caller(), made.ID)
		require.NoError(w, err)
		require.Equal(w, []string{"delivered", "skipped"}, []string{list.Items[0].Status, list.Items[1].Status})
		require.Equal(w, 21, list.Items[1].Attempts)
	})
}

func TestAReceiverThatComesBack(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		to.server.Close()
		for range 3 {
			r.agent(nil)
		}
		d := r.deliverer()
		r.deliver(d)
		view := r.subscription(made.ID)
		require.Contains(w, view.Failing.Error, "connection refused")
		require.False(w, view.Failing.Rejected)
		list, err := r.ListDeliveries(w.Context(), w.caller(), made.ID)
		require.NoError(w, err)
		require.Equal(w, []string{"pending", "pending", "failing"}, []string{list.Items[0].Status, list.Items[1].Status, list.Items[2].Status})

		to.start()
		r.deliver(d)
		require.Empty(w, to.got(), "it waits for its time")
		w.clock.advance(time.Second)
		r.deliver(d)
		require.Len(w, to.got(), 3)
		require.Nil(w, r.subscription(made.ID).Failing)

		// Who mends something need not wait for the time of the next attempt.
		to.answering(500)
		r.agent(nil)
		r.deliver(d)
		to.answering(200)
		r.deliver(d)
		require.Len(w, to.got(), 3)
		_, err = r.UpdateSubscription(w.Context(), w.caller(), made.ID, application.SubscriptionRequest{Name: new("mended")}, 0)
		require.NoError(w, err)
		r.deliver(d)
		require.Len(w, to.got(), 4)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	w := embedded(t)
	r := w.replica()
	to := newReceiver(w.T)
	made := r.subscribe(to, nil)
	to.mu.Lock()
	to.answer = func(w http.ResponseWriter, _ *http.Request, _ received) {
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	to.mu.Unlock()
	r.agent(nil)
	r.deliver(r.deliverer())
	require.Equal(w, w.clock.now().Add(90*time.Second), *r.subscription(made.ID).Failing.NextAt)
}

func TestGoneDisablesAtOnce(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		to.answering(http.StatusGone)
		r.agent(nil)
		r.deliver(r.deliverer())
		view := r.subscription(made.ID)
		require.False(w, view.IsActive)
		require.Equal(w, subscription.Gone, view.DisabledCode)
		require.Equal(w, 1, to.called())
	})
}

func TestRotatedSecretSignsForItsGrace(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		d := r.deliverer()
		verifies := func(secret string, e received) bool {
			receiver, err := standardwebhooks.NewWebhook(secret)
			require.NoError(w, err)
			return receiver.Verify(e.body, e.header) == nil
		}
		last := func() received {
			r.agent(nil)
			r.deliver(d)
			got := to.got()
			return got[len(got)-1]
		}
		rotated, err := r.RotateSubscriptionSecret(w.Context(), w.caller(), made.ID, time.Hour)
		require.NoError(w, err)
		require.NotEqual(w, made.Secret, rotated.Secret)
		e := last()
		require.True(w, verifies(made.Secret, e))
		require.True(w, verifies(rotated.Secret, e))
		w.clock.advance(time.Hour)
		e = last()
		require.False(w, verifies(made.Secret, e), "its grace period is over")
		require.True(w, verifies(rotated.Secret, e))
		third, err := r.RotateSubscriptionSecret(w.Context(), w.caller(), made.ID, 0)
		require.NoError(w, err)
		e = last()
		require.False(w, verifies(rotated.Secret, e))
		require.True(w, verifies(third.Secret, e))
	})
}

func TestRedelivery(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		d := r.deliverer()
		for range 3 {
			r.agent(nil)
		}
		r.deliver(d)
		first := to.got()[0]

		again, err := r.RedeliverEvent(w.Context(), w.caller(), made.ID, first.ID)
		require.NoError(w, err)
		require.Equal(w, "delivered", again.Redelivery.Status)
		require.Equal(w, first.ID, to.got()[3].ID)
		require.Equal(w, "0", to.got()[3].header.Get("Hooktrail-Attempt"))

		_, err = r.RewindSubscription(w.Context(), w.caller(), made.ID, fmt.Appendf(nil, "%d", first.position))
		require.NoError(w, err)
		r.deliver(d)
		require.Len(w, to.got(), 7)
		require.Equal(w, first.ID, to.got()[4].ID)

		// An event that fails is out of the way when it is sent again with success.
		to.answering(400)
		r.agent(nil)
		r.agent(nil)
		r.deliver(d)
		failing := r.subscription(made.ID).Failing
		failed, err := r.RedeliverEvent(w.Context(), w.caller(), made.ID, failing.EventID)
		require.NoError(w, err)
		require.Equal(w, "failed", failed.Redelivery.Status)
		require.True(w, failed.Redelivery.Rejected)
		to.answering(200)
		mended, err := r.RedeliverEvent(w.Context(), w.caller(), made.ID, failing.EventID)
		require.NoError(w, err)
		require.Nil(w, mended.Failing)
		r.deliver(d)
		require.Len(w, to.got(), 9, "none comes twice")

		_, err = r.RedeliverEvent(w.Context(), w.caller(), made.ID, "nothing")
		require.ErrorContains(w, err, "names no event")
		stream := eventlog.Stream(eventlog.SubscriptionStream, made.ID)
		require.Equal(w, []string{"subscription.created", "subscription.event_redelivered", "subscription.rewound", "subscription.event_redelivered", "subscription.event_redelivered"}, r.types(stream), "what people do is on record")
	})
}

// TestDisablingTakesEffectAtOnce ends the attempt that is under way, and sends nothing after.
func TestDisablingTakesEffectAtOnce(t *testing.T) {
	onBoth(t, func(w *world) {
		for name, end := range map[string]func(r *replica, id string) error{
			"disabled": func(r *replica, id string) error {
				_, err := r.UpdateSubscription(w.Context(), w.caller(), id, application.SubscriptionRequest{IsActive: new(false)}, 0)
				return err
			},
			"deleted": func(r *replica, id string) error { return r.DeleteSubscription(w.Context(), w.caller(), id, 0) },
		} {
			r := w.replica()
			to := newReceiver(w.T)
			made := r.subscribe(to, nil)
			entered, left := make(chan struct{}), make(chan struct{})
			to.mu.Lock()
			to.answer = func(_ http.ResponseWriter, request *http.Request, _ received) {
				close(entered)
				<-request.Context().Done()
				close(left)
			}
			to.mu.Unlock()
			r.agent(nil)
			r.agent(nil)
			var running sync.WaitGroup
			running.Go(func() { r.deliver(r.deliverer()) })
			<-entered
			require.NoError(w, end(r, made.ID), name)
			<-left
			running.Wait()
			r.deliver(r.deliverer())
			require.Equal(w, 1, to.called(), name)
			if name == "disabled" {
				require.Nil(w, r.subscription(made.ID).Failing, "what was broken off has not failed")
			}
		}
	})
}

// TestDisablingInAnotherProcessTakesEffectAtOnce: the request under way ends, and none begins.
func TestDisablingInAnotherProcessTakesEffectAtOnce(t *testing.T) {
	onBoth(t, func(w *world) {
		r, other := w.replica(), w.replica()
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		entered, disabled := make(chan struct{}), make(chan struct{})
		to.mu.Lock()
		to.answer = func(http.ResponseWriter, *http.Request, received) {
			close(entered)
			<-disabled
		}
		to.mu.Unlock()
		for range 3 {
			r.agent(nil)
		}
		var running sync.WaitGroup
		running.Go(func() { r.deliver(r.deliverer()) })
		<-entered
		_, err := other.UpdateSubscription(w.Context(), w.caller(), made.ID, application.SubscriptionRequest{IsActive: new(false)}, 0)
		require.NoError(w, err)
		close(disabled)
		running.Wait()
		require.Equal(w, 1, to.called())
		require.Equal(w, to.got()[0].position, int64(r.subscription(made.ID).LastSuccess.Position), "what was taken is saved")

		to.answering(200)
		_, err = other.UpdateSubscription(w.Context(), w.caller(), made.ID, application.SubscriptionRequest{IsActive: new(true)}, 0)
		require.NoError(w, err)
		r.deliver(r.deliverer())
		require.Equal(w, 3, to.called(), "it goes on where it ended")
	})
}

// TestWithoutALeaseNothingIsSent, as in a process that was suspended for long.
func TestWithoutALeaseNothingIsSent(t *testing.T) {
	w := embedded(t)
	r := w.replica()
	to := newReceiver(w.T)
	r.subscribe(to, nil)
	to.mu.Lock()
	to.answer = func(http.ResponseWriter, *http.Request, received) { w.clock.advance(time.Minute) }
	to.mu.Unlock()
	r.agent(nil)
	r.agent(nil)
	d := r.deliverer()
	require.NoError(w, d.Renew(w.Context()))
	waiting, _, err := d.Waiting(w.Context())
	require.NoError(w, err)
	_, err = d.Deliver(w.Context(), waiting[0])
	require.NoError(w, err)
	require.Equal(w, 1, to.called(), "the lease ended in between")
	waiting, _, err = d.Waiting(w.Context())
	require.NoError(w, err)
	_, err = d.Deliver(w.Context(), waiting[0])
	require.NoError(w, err)
	require.Equal(w, 1, to.called())
	r.deliver(d)
	require.Equal(w, 2, to.called())
}

// TestWhoLostItsLeaseSavesNothing: another process took over, so the late report must not move
// the subscription.
func TestWhoLostItsLeaseSavesNothing(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		r.agent(nil)
		slow := r.deliverer()
		require.NoError(w, slow.Renew(w.Context()))
		entered, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		to.mu.Lock()
		to.answer = func(w http.ResponseWriter, _ *http.Request, _ received) {
			first := false
			once.Do(func() { first = true })
			if first {
				close(entered)
				<-release
				w.WriteHeader(http.StatusInternalServerError)
			}
		}
		to.mu.Unlock()
		waiting, _, err := slow.Waiting(w.Context())
		require.NoError(w, err)
		var running sync.WaitGroup
		running.Go(func() {
			if _, err := slow.Deliver(w.Context(), waiting[0]); err != nil {
				w.Errorf("deliver: %v", err)
			}
		})
		<-entered
		require.NoError(w, slow.Close(w.Context())) // as when the lease lapses
		other := w.replica()
		other.deliver(other.NewDeliverer("process-2", time.Minute))
		require.Len(w, to.got(), 1)
		close(release)
		running.Wait()
		view := r.subscription(made.ID)
		require.Nil(w, view.Failing)
		require.Equal(w, to.got()[0].position, int64(view.LastSuccess.Position))
	})
}

// forgetful deliveries lose what they are to save, as often as it says.
type forgetful struct {
	application.Deliveries

	mu   sync.Mutex
	lose int
}

func (f *forgetful) Save(ctx context.Context, d application.SubscriptionDelivery, release bool) (application.SubscriptionDelivery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lose > 0 {
		f.lose--
		return d, eventlog.ErrUnavailable
	}
	return f.Deliveries.Save(ctx, d, release)
}

// TestADeliveryThatCouldNotBeGivenBack goes on in the process that has it, which keeps the lease.
func TestADeliveryThatCouldNotBeGivenBack(t *testing.T) {
	onBoth(t, func(w *world) {
		broken := &forgetful{lose: 1}
		r := w.replica(func(s *setup) { broken.Deliveries, s.parts.Deliveries = s.parts.Deliveries, broken })
		to := newReceiver(w.T)
		r.subscribe(to, nil)
		r.agent(nil)
		d := r.deliverer()
		require.NoError(w, d.Renew(w.Context()))
		waiting, _, err := d.Waiting(w.Context())
		require.NoError(w, err)
		_, err = d.Deliver(w.Context(), waiting[0])
		require.ErrorIs(w, err, eventlog.ErrUnavailable)
		other := w.replica()
		other.deliver(other.NewDeliverer("process-2", time.Minute))
		require.Len(w, to.got(), 1, "it is leased")
		r.agent(nil)
		r.deliver(d)
		require.Len(w, to.got(), 3, "what was not saved comes again")
		require.Equal(w, to.got()[0].ID, to.got()[1].ID)
	})
}

// TestMoreSubscriptionsThanPlaces gives each its turn.
func TestMoreSubscriptionsThanPlaces(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica(func(s *setup) { s.parts.Now = time.Now })
		receivers := make([]*receiver, 7)
		for i := range receivers {
			receivers[i] = newReceiver(w.T)
			r.subscribe(receivers[i], nil)
		}
		for range 130 {
			r.agent(nil)
		}
		ctx, cancel := context.WithCancel(w.Context())
		var running sync.WaitGroup
		running.Go(func() {
			delivery.Run(ctx, r.Application, delivery.Config{Owner: "process-1", Concurrency: 2, Wake: r.Appended.Next}, r.Logger)
		})
		for _, to := range receivers {
			require.Eventually(w, func() bool { return len(to.got()) == 130 }, time.Minute, 5*time.Millisecond)
		}
		cancel()
		running.Wait()
		for _, to := range receivers {
			require.Equal(w, 130, to.called(), "none comes twice")
		}
	})
}

// TestDeliveryUnderFire has four writers at work while the receiver and the process that delivers
// are restarted: no event is missed, and each stream stays in order.
func TestDeliveryUnderFire(t *testing.T) {
	onBoth(t, func(w *world) {
		const writers, perWriter = 4, 60
		r := w.replica(func(s *setup) { s.parts.Now = time.Now })
		to := newReceiver(w.T)
		made := r.subscribe(to, nil)
		run := func(replica *replica) (stop func()) {
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() {
				delivery.Run(ctx, replica.Application, delivery.Config{Owner: replica.NewID(), Lease: time.Second, Wake: replica.Appended.Next}, replica.Logger)
			})
			return func() { cancel(); running.Wait() }
		}
		stop := run(r)
		var writing sync.WaitGroup
		for i := range writers {
			writing.Go(func() {
				a, err := r.CreateAgent(w.Context(), w.caller(), application.AgentRequest{Name: new(fmt.Sprint("agent ", i))})
				if err != nil {
					w.Errorf("write: %v", err)
					return
				}
				for n := range perWriter {
					if _, err := r.UpdateAgent(w.Context(), w.caller(), a.ID, application.AgentRequest{Description: new(fmt.Sprint(n))}, 0); err != nil {
						w.Errorf("write: %v", err)
					}
				}
			})
		}
		for _, reached := range []int{20, 60, 120} {
			require.Eventually(w, func() bool { return len(to.got()) >= reached }, time.Minute, time.Millisecond)
			to.server.CloseClientConnections()
			to.server.Close()
			stop()
			to.start()
			stop = run(r)
		}
		writing.Wait()
		defer func() { stop() }()

		missing := writers * (perWriter + 1)
		require.Eventually(w, func() bool {
			seen := map[string]bool{}
			for _, e := range to.got() {
				seen[e.ID] = true
			}
			return len(seen) == missing
		}, 30*time.Second, 10*time.Millisecond, "an event is missed")
		highest, seen, twice := int64(0), map[string]bool{}, 0
		for _, e := range to.got() {
			if seen[e.ID] {
				twice++
				continue
			}
			seen[e.ID] = true
			require.Greater(w, e.position, highest, "the first time that events come they are in order")
			highest = e.position
		}
		require.Less(w, twice, 100, "duplicates are those that a restart left unsaved")
		w.Logf("%d events, %d came twice", len(seen), twice)
		require.Eventually(w, func() bool { return r.subscription(made.ID).Position >= eventlog.Position(highest) }, time.Minute, 10*time.Millisecond)
	})
}

// TestASlowReceiverHoldsUpNobody: others are delivered and appends go on meanwhile.
func TestASlowReceiverHoldsUpNobody(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica(func(s *setup) { s.parts.Now = time.Now })
		slow, quick := newReceiver(w.T), newReceiver(w.T)
		release := make(chan struct{})
		slow.answer = func(_ http.ResponseWriter, request *http.Request, _ received) {
			select {
			case <-release:
			case <-request.Context().Done():
			}
		}
		for range 3 {
			r.subscribe(slow, nil)
		}
		r.subscribe(quick, nil)
		ctx, cancel := context.WithCancel(w.Context())
		var running sync.WaitGroup
		running.Go(func() {
			delivery.Run(ctx, r.Application, delivery.Config{Owner: "process-1", Wake: r.Appended.Next, Grace: time.Millisecond}, r.Logger)
		})
		r.agent(nil)
		require.Eventually(w, func() bool { return slow.called() == 3 }, time.Minute, time.Millisecond)
		for range 20 {
			r.agent(nil)
		}
		require.Eventually(w, func() bool { return len(quick.got()) == 21 }, time.Minute, time.Millisecond)
		require.Equal(w, 3, slow.called(), "each is served by one at a time")
		close(release)
		require.Eventually(w, func() bool { return len(slow.got()) == 63 }, time.Minute, time.Millisecond)
		cancel()
		running.Wait()
	})
}

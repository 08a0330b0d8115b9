package messages_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"hooktrail/ports/messages"
)

var (
	errAway    = errors.New("away")
	errRefused = errors.New("too large")
)

// destination answers each publication with what is next in answers, then takes all.
type destination struct {
	mu      sync.Mutex
	answers []error
	tries   []string // payloads
	taken   chan string
}

func (d *destination) Publish(_ string, all ...*message.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range all {
		d.tries = append(d.tries, string(m.Payload))
		if len(d.answers) > 0 {
			err := d.answers[0]
			d.answers = d.answers[1:]
			if err != nil {
				return err
			}
		}
		d.taken <- string(m.Payload)
	}
	return nil
}

func (*destination) Close() error { return nil }

// oneByOne gives messages with these payloads, each again until it is acknowledged.
type oneByOne []string

func (o oneByOne) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for i := 0; i < len(o); {
			m := message.NewMessage(o[i], []byte(o[i]))
			m.SetContext(ctx)
			select {
			case out <- m:
			case <-ctx.Done():
				return
			}
			select {
			case <-m.Acked():
				i++
			case <-m.Nacked():
			case <-ctx.Done():
				return
			}
		}
		<-ctx.Done()
	}()
	return out, nil
}

func (oneByOne) Close() error { return nil }

// relay runs a router with a relay and gives it one, two, three.
func relay(t *testing.T, broker, deadLetters *destination) (*messages.Relay, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	r := &messages.Relay{
		Broker: "b", Topic: "topic", Publisher: broker, Logger: logger,
		Refused: func(err error) bool { return errors.Is(err, errRefused) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		_ = messages.Run(ctx, slog.New(slog.DiscardHandler), deadLetters, messages.Handler{Group: "b", Subscriber: oneByOne{"one", "two", "three"}, Handle: r.Handle, GiveUp: r.Refused})
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return r, &log
}

func TestRelayTriesUntilTheBrokerTakes(t *testing.T) {
	t.Parallel()
	broker := &destination{answers: []error{nil, errAway, errAway, errAway}, taken: make(chan string, 3)}
	deadLetters := &destination{taken: make(chan string, 3)}
	r, log := relay(t, broker, deadLetters)
	for _, want := range []string{"one", "two", "three"} {
		require.Equal(t, want, <-broker.taken)
	}
	require.Equal(t, []string{"one", "two", "two", "two", "two", "three"}, broker.tries)
	require.False(t, r.Failing())
	require.Empty(t, deadLetters.tries, "an outage is no reason to give up")
	require.Equal(t, 1, strings.Count(log.String(), "does not take events"), log)
	require.Equal(t, 1, strings.Count(log.String(), "takes events again"), log)
}

func TestRelayPassesARefusedEventWhenThatIsRecorded(t *testing.T) {
	t.Parallel()
	broker := &destination{answers: []error{nil, errRefused, errRefused}, taken: make(chan string, 3)}
	deadLetters := &destination{answers: []error{errAway}, taken: make(chan string, 3)}
	_, log := relay(t, broker, deadLetters)
	require.Equal(t, "one", <-broker.taken)
	require.Equal(t, "two", <-deadLetters.taken)
	require.Equal(t, "three", <-broker.taken)
	require.Equal(t, []string{"one", "two", "two", "three"}, broker.tries, "without a record it is tried again")
	require.Equal(t, 2, strings.Count(log.String(), "level=ERROR"), log)
}

package messages

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"
)

// Relay passes the events of the log on to a broker, one after the other, and tries each until
// the broker has it.
type Relay struct {
	// Broker is its name in the log.
	Broker    string
	Topic     string
	Publisher message.Publisher
	// Refused tells whether an error means that the broker will never take the message.
	Refused func(error) bool
	Logger  *slog.Logger

	failing atomic.Bool
}

// Failing tells whether the last attempt did not succeed and is being repeated.
func (r *Relay) Failing() bool { return r.failing.Load() }

// Handle returns when the broker has confirmed the message or refused it for good, or when the
// message's context ends.
func (r *Relay) Handle(m *message.Message) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 100*time.Millisecond, 2*time.Second
	for {
		err := r.Publisher.Publish(r.Topic, m)
		if err == nil {
			if r.failing.CompareAndSwap(true, false) {
				r.Logger.Info("the broker takes events again", "broker", r.Broker, "position", m.Metadata.Get("position"))
			}
			return nil
		}
		if r.Refused(err) {
			r.failing.Store(false)
			r.Logger.Error("the broker refused an event for good; it is kept as a dead letter, and those behind it go on",
				"broker", r.Broker, "event_id", m.UUID, "position", m.Metadata.Get("position"), "error", err)
			return err
		}
		if m.Context().Err() == nil && r.failing.CompareAndSwap(false, true) {
			r.Logger.Warn("the broker does not take events; they wait in the log, and this one is tried until it does",
				"broker", r.Broker, "event_id", m.UUID, "position", m.Metadata.Get("position"), "error", err)
		}
		select {
		case <-m.Context().Done():
			return m.Context().Err()
		case <-time.After(pauses.NextBackOff()):
		}
	}
}

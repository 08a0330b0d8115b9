// Package messages is where the log drives us: handlers that follow it behind the answers.
package messages

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"hooktrail/domain/eventlog"
)

// Handler is one consumer group and what it does with each message.
type Handler struct {
	Group      string
	Subscriber message.Subscriber
	Handle     message.NoPublishHandlerFunc
	// GiveUp tells which errors put a message aside as a dead letter, at once; any other has it
	// handled again, without end. nil puts aside whatever has failed five times.
	GiveUp func(error) bool
}

// Topic is the name under which handlers subscribe to the log.
const Topic = "events"

// Run follows the log with all handlers until ctx ends. A message that is given up is put aside
// as a dead letter, so that it cannot hold up its group; until that is recorded the group waits.
func Run(ctx context.Context, logger *slog.Logger, deadLetters message.Publisher, handlers ...Handler) error {
	adapter := watermill.NewSlogLogger(logger)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 5 * time.Second}, adapter)
	if err != nil {
		return fmt.Errorf("make the message router: %w", err)
	}
	for _, h := range handlers {
		if h.GiveUp != nil {
			poison, err := middleware.PoisonQueueWithFilter(deadLetters, h.Group, h.GiveUp)
			if err != nil {
				return fmt.Errorf("make the poison queue of %s: %w", h.Group, err)
			}
			router.AddConsumerHandler(h.Group, Topic, h.Subscriber, h.Handle).AddMiddleware(poison, middleware.Recoverer)
			continue
		}
		poison, err := middleware.PoisonQueue(deadLetters, h.Group)
		if err != nil {
			return fmt.Errorf("make the poison queue of %s: %w", h.Group, err)
		}
		retry := middleware.Retry{MaxRetries: 5, InitialInterval: 50 * time.Millisecond, Multiplier: 3, MaxInterval: 5 * time.Second, Logger: adapter}
		router.AddConsumerHandler(h.Group, Topic, h.Subscriber, h.Handle).AddMiddleware(poison, retry.Middleware, middleware.Recoverer)
	}
	if err := router.Run(ctx); err != nil {
		return fmt.Errorf("follow the event log: %w", err)
	}
	return nil
}

// Counter counts what happened on a stream, the last of it at a time.
type Counter interface {
	Add(stream eventlog.StreamID, count int64, last time.Time)
}

// Count is the handler for messages that each stand for a number of events of one stream.
func Count(counter Counter) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		micros, err := strconv.ParseInt(m.Metadata.Get("recorded_at"), 10, 64)
		if err != nil {
			return fmt.Errorf("message without a time: %w", err)
		}
		count, err := strconv.ParseInt(string(m.Payload), 10, 64)
		if err != nil {
			return fmt.Errorf("message without a count: %w", err)
		}
		counter.Add(eventlog.StreamID(m.Metadata.Get("stream")), count, time.UnixMicro(micros).UTC())
		return nil
	}
}

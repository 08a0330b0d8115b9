package hooktrail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	hooktrail "hooktrail/sdk/go"
)

// streaming is a transport whose answers are streams, each of them written by its function.
type streaming struct {
	write []func(w io.Writer)
	seen  []*http.Request
	at    []time.Time
	ended int // bodies that the client has closed
}

func (s *streaming) RoundTrip(request *http.Request) (*http.Response, error) {
	n := len(s.seen)
	s.seen, s.at = append(s.seen, request), append(s.at, time.Now())
	if n >= len(s.write) {
		return nil, errors.New("the test has no more streams")
	}
	r, w := io.Pipe()
	context.AfterFunc(request.Context(), func() { _ = w.CloseWithError(context.Cause(request.Context())) })
	go func() {
		s.write[n](w)
		_ = w.Close()
	}()
	header := http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: closing{r, &s.ended}, Request: request}, nil
}

type closing struct {
	*io.PipeReader
	ended *int
}

func (c closing) Close() error {
	*c.ended++
	return c.PipeReader.Close()
}

func streamed(position int) string {
	return fmt.Sprintf("id: %d\nevent: agent.registered\ndata: {\"position\": %d, \"type\": \"agent.registered\"}\n\n", position, position)
}

func written(texts ...string) func(io.Writer) {
	return func(w io.Writer) {
		for _, text := range texts {
			_, _ = io.WriteString(w, text)
		}
	}
}

func followed(ctx context.Context, t *testing.T, s http.RoundTripper, tail hooktrail.TailEvents) (positions []int64, last error) {
	t.Helper()
	c, err := hooktrail.New(hooktrail.Options{APIKey: testKey, BaseURL: "http://hooktrail.test", HTTPClient: &http.Client{Transport: s, Timeout: time.Second}, MaxRetries: -1})
	require.NoError(t, err)
	for e, err := range c.Events.Tail(ctx, tail) {
		if last = err; err == nil {
			positions = append(positions, e.Position)
		}
	}
	return positions, last
}

func TestStream(t *testing.T) {
	t.Parallel()
	t.Run("is read however it is cut", func(t *testing.T) {
		t.Parallel()
		text := "\ufeff: a comment\n\n" + streamed(3) + strings.ReplaceAll(streamed(5), "\n", "\r\n") + strings.ReplaceAll(streamed(8), "\n", "\r") +
			"id: 9\n\nid:10\nretry: 5\ndata: {\"position\":\ndata:10}\n\nid: 12\ndata: {\"posi"
		for size := 1; size < 40; size += 3 {
			synctest.Test(t, func(t *testing.T) {
				s := &streaming{write: []func(io.Writer){func(w io.Writer) {
					for rest := []byte(text); len(rest) > 0; rest = rest[min(size, len(rest)):] {
						_, _ = w.Write(bytes.Clone(rest[:min(size, len(rest))]))
					}
				}, written(streamed(12)), written()}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				positions, err := followed(ctx, t, s, hooktrail.TailEvents{After: new(int64(2))})
				require.Equal(t, []int64{3, 5, 8, 10, 12}, positions)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, "after=2", s.seen[0].URL.RawQuery)
				require.Empty(t, s.seen[0].Header.Get("Last-Event-ID"))
				require.Equal(t, "10", s.seen[1].Header.Get("Last-Event-ID"))
				require.Equal(t, "12", s.seen[2].Header.Get("Last-Event-ID"))
			})
		}
	})
	t.Run("keeps its place by marks, and gives nothing twice", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &streaming{write: []func(io.Writer){written("id: 7\n\n", streamed(9), "id: 4000\n\n"), written(streamed(9), streamed(4001))}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			positions, _ := followed(ctx, t, s, hooktrail.TailEvents{After: new(int64(2)), Type: "agent.registered"})
			require.Equal(t, []int64{9, 4001}, positions)
			require.Equal(t, "4000", s.seen[1].Header.Get("Last-Event-ID"))
			require.Equal(t, "after=4000&type=agent.registered", s.seen[1].URL.RawQuery)
		})
	})
	t.Run("that falls silent is opened again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			silent := func(w io.Writer) {
				for range 4 { // as long as it beats it is alive
					_, _ = io.WriteString(w, "id: 5\n\n")
					time.Sleep(29 * time.Second)
				}
				time.Sleep(time.Hour)
			}
			s := &streaming{write: []func(io.Writer){silent, written(streamed(6))}}
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
			defer cancel()
			positions, _ := followed(ctx, t, s, hooktrail.TailEvents{After: new(int64(2))})
			require.Equal(t, []int64{6}, positions)
			require.InDelta(t, (3*29 + 30), s.at[1].Sub(s.at[0]).Seconds(), 1)
			require.Equal(t, "/api/v1/events/stream", s.seen[1].URL.Path)
			time.Sleep(time.Hour) // until the writer is done
		})
	})
	t.Run("that never gives anything is no stream", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &streaming{write: []func(io.Writer){func(io.Writer) { time.Sleep(time.Hour) }}}
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			_, err := followed(ctx, t, s, hooktrail.TailEvents{After: new(int64(2))})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, "/api/v1/events", s.seen[1].URL.Path)
			require.Equal(t, 30*time.Second, s.at[1].Sub(s.at[0]))
			time.Sleep(time.Hour)
		})
	})
	t.Run("is left at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &streaming{write: []func(io.Writer){func(w io.Writer) {
				_, _ = io.WriteString(w, streamed(3))
				time.Sleep(time.Hour)
			}}}
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("closing time")
			begun := time.Now()
			time.AfterFunc(time.Second, func() { cancel(why) })
			positions, err := followed(ctx, t, s, hooktrail.TailEvents{After: new(int64(2))})
			require.Equal(t, []int64{3}, positions)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, why)
			require.Equal(t, time.Second, time.Since(begun))
			require.Equal(t, 1, s.ended)
			time.Sleep(time.Hour)
		})
	})
	t.Run("is not begun again at once where each breaks", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &streaming{}
			for range 1000 {
				s.write = append(s.write, written())
			}
			told := 0
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := followed(ctx, t, s, hooktrail.TailEvents{After: new(int64(2)), OnInterruption: func(err error, _ time.Duration) {
				require.ErrorIs(t, err, hooktrail.ErrConnection)
				told++
			}})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, len(s.seen), 40)
			require.Positive(t, told)
		})
	})
}

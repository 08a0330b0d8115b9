package workqueue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// TestAClockBehindTheLog: what is new is due at once although its time has not come here, as
// after the clock was set back; a retry has a time to wait for.
func TestAClockBehindTheLog(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 5)
		s.invoke("a", 1)
		failing := s.claim(0, "k1", 1)[0]
		retry := s.now().Add(time.Minute)
		require.NoError(s, s.append(execution.Codec, eventlog.Stream(eventlog.ExecutionStream, failing.Execution.ID), failing.Execution.Version, nil,
			execution.AttemptFailed{Attempt: 1, RetryAt: retry}))
		s.pass(time.Hour)
		made := s.invoke("a", 2)
		s.pass(-2 * time.Hour)

		at, found, err := s.queues[1].NextDue(s.Context())
		require.NoError(s, err)
		require.True(s, found)
		require.Equal(s, s.now(), at)
		require.Equal(s, made, ids(s.claim(1, "k2", 10)))
		at, _, err = s.queues[1].NextDue(s.Context())
		require.NoError(s, err)
		require.Equal(s, retry, at)

		s.pass(retry.Sub(s.now()) - time.Microsecond)
		require.Empty(s, s.claim(1, "k2", 10))
		s.pass(time.Microsecond)
		require.Equal(s, []string{failing.Execution.ID}, ids(s.claim(1, "k2", 10)))
	})
}

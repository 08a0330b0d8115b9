package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSharedDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deadline := sharedDeadline{after: 10 * time.Second}
		pass := func(d time.Duration) { <-time.After(d) } // on the test's own clock
		first := deadline.context()
		pass(900 * time.Millisecond)
		require.Equal(t, first, deadline.context(), "one for all of a second")
		pass(200 * time.Millisecond)
		second := deadline.context()
		require.NotEqual(t, first, second)
		pass(9 * time.Second)
		require.NoError(t, second.Err(), "none ends early")
		require.NoError(t, first.Err(), "nor does one that was given out late")
		pass(3 * time.Second)
		require.ErrorIs(t, first.Err(), context.DeadlineExceeded)
		require.ErrorIs(t, second.Err(), context.DeadlineExceeded)
	})
}

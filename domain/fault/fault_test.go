package fault_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/fault"
)

func TestCodeOf(t *testing.T) {
	refused := fault.New(fault.Conflict, "it is %s", "running")
	for name, c := range map[string]struct {
		err  error
		want fault.Code
	}{
		"nothing":            {nil, ""},
		"a fault":            {refused, fault.Conflict},
		"a wrapped fault":    {fmt.Errorf("change: %w", refused), fault.Conflict},
		"a joined fault":     {errors.Join(errors.New("other"), refused), fault.Conflict},
		"any other error":    {errors.New("disk"), fault.Internal},
		"the outer of two":   {fault.Wrap(refused, fault.Unavailable, "away"), fault.Unavailable},
		"no field is wrong":  {fault.Fields(nil), ""},
		"one field is wrong": {fault.Field("name", "is required"), fault.Validation},
	} {
		require.Equal(t, c.want, fault.CodeOf(c.err), name)
	}
}

func TestFields(t *testing.T) {
	for name, c := range map[string]struct {
		details map[string]string
		message string
	}{
		"one is the message":     {map[string]string{"options.rate_limit": "is 100% wrong"}, "options.rate_limit is 100% wrong"},
		"several are in details": {map[string]string{"name": "is required", "agent_id": "is required"}, "several fields are not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			var f *fault.Error
			require.ErrorAs(t, fault.Fields(c.details), &f)
			require.Equal(t, fault.Validation, f.Code)
			require.Equal(t, c.message, f.Message)
			require.Equal(t, c.details, f.Details)
		})
	}
	require.NoError(t, fault.Fields(map[string]string{}))
}

func TestWrapKeepsTheCauseOutOfTheMessage(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.1: refused")
	f := fault.Wrap(cause, fault.Unavailable, "the database does not answer").Retry(2 * time.Second)
	require.ErrorIs(t, f, cause)
	require.Equal(t, "the database does not answer", f.Message)
	require.Equal(t, "unavailable: the database does not answer: dial tcp 10.0.0.1: refused", f.Error(), "the log tells the cause")
	require.Equal(t, 2*time.Second, f.RetryAfter)
	require.Equal(t, "conflict: it changed", fault.New(fault.Conflict, "it changed").Error())
}

//go:build !unix

package payload_test

import (
	"testing"
	"time"
)

var began = time.Now()

// cpuTime is the time that has passed, where no other is told.
func cpuTime(*testing.T) time.Duration { return time.Since(began) }

//go:build unix

// Package aptget installs packages of Debian and its kin for the tests.
package aptget

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Possible says why nothing can be installed here, with missing as the reason that it would have
// to be; nil when it can.
func Possible(missing error) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("not installing as an ordinary user: %w", missing)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("not installing without apt-get: %w", missing)
	}
	return nil
}

// Update reads the lists of packages.
func Update(ctx context.Context) error { return run(ctx, "update", "-q") }

// Install installs packages without those that they recommend.
func Install(ctx context.Context, packages ...string) error {
	return run(ctx, append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)...)
}

func run(ctx context.Context, arguments ...string) error {
	arguments = append([]string{"-o", "DPkg::Lock::Timeout=120"}, arguments...)
	cmd := exec.CommandContext(ctx, "apt-get", arguments...) //nolint:gosec // the arguments are those of the callers, constants
	// Interrupted, dpkg leaves the package system in a state that it can repair; killed, not always.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", strings.Join(arguments, " "), err)
	}
	return nil
}

//go:build unix

// Command ensure makes sure that this machine has a PostgreSQL server for the tests: as root
// on Debian and its kin it installs one, elsewhere it says what to do.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"hooktrail/internal/aptget"
	"hooktrail/internal/pgtest"
)

const (
	installPatience = 10 * time.Minute
	clusterConfig   = "/etc/postgresql-common/createcluster.conf"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	err := ensure(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ensure:", err)
		os.Exit(1)
	}
}

func ensure(ctx context.Context) error {
	if os.Getenv(pgtest.ServerVariable) != "" {
		fmt.Printf("PostgreSQL: the server that %s names (tests that kill a server need binaries as well)\n", pgtest.ServerVariable)
		return nil
	}
	dir, err := pgtest.BinDir()
	if errors.Is(err, pgtest.ErrNoPostgres) && os.Getenv("PGBIN") == "" {
		if err := install(ctx, err); err != nil {
			return err
		}
		dir, err = pgtest.BinDir()
	}
	if err != nil {
		return err
	}
	version, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output() //nolint:gosec // the path is BinDir's
	if err != nil {
		return fmt.Errorf("%s does not run: %w", filepath.Join(dir, "postgres"), err)
	}
	fmt.Printf("PostgreSQL: %s, %s\n", dir, strings.TrimSpace(string(version)))
	return nil
}

// install takes the distribution's server. missing is the reason, which is given back where
// installing is not ours to do.
func install(ctx context.Context, missing error) (err error) {
	if err := aptget.Possible(missing); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installPatience)
	defer cancel()
	fmt.Println("PostgreSQL: none found, installing the distribution's package")
	if err := aptget.Update(ctx); err != nil {
		return err
	}
	// Installing the server makes and starts a database cluster unless its common package
	// is told otherwise in between; without a cluster there is no service to start.
	if err := aptget.Install(ctx, "postgresql-common"); err != nil {
		return err
	}
	restore, err := forbidMainCluster(clusterConfig)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	return aptget.Install(ctx, "postgresql")
}

// forbidMainCluster switches create_main_cluster off and gives back what undoes that.
func forbidMainCluster(path string) (restore func() error, err error) {
	before, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the cluster settings: %w", err)
	}
	var lines [][]byte
	for line := range bytes.Lines(before) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("create_main_cluster")) {
			lines = append(lines, line)
		}
	}
	without := append(bytes.TrimRight(bytes.Join(lines, nil), "\n"), "\ncreate_main_cluster = false\n"...)
	if err := os.WriteFile(path, without, 0o644); err != nil { //nolint:gosec // as the package has it: a file for all to read
		return nil, fmt.Errorf("write the cluster settings: %w", err)
	}
	return func() error {
		if err := os.WriteFile(path, before, 0o644); err != nil { //nolint:gosec // as above
			return fmt.Errorf("restore the cluster settings: %w", err)
		}
		return nil
	}, nil
}

//go:build unix

// Package pgtest gives tests a real PostgreSQL: a throwaway server made from the machine's
// own binaries, and an empty database for every test that asks.
package pgtest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// ErrNoPostgres says that this machine has no PostgreSQL server, and how to get one.
var ErrNoPostgres = errors.New("no PostgreSQL server binaries (initdb, postgres) found: " +
	"install them (Debian and Ubuntu: apt-get install --no-install-recommends postgresql; " +
	"macOS: brew install postgresql), or name their directory in PGBIN")

const debianBinDirs = "/usr/lib/postgresql/*/bin"

// BinDir gives the directory of PostgreSQL's server binaries: $PGBIN when set, else where
// PATH leads to (symbolic links resolved, since initdb looks for its siblings beside it),
// else the newest version in the place where Debian keeps them off the PATH. The error
// is an [ErrNoPostgres].
func BinDir() (string, error) { return findBinDir(debianBinDirs) }

func findBinDir(packagedDirs string) (string, error) {
	if dir := os.Getenv("PGBIN"); dir != "" {
		if !hasServer(dir) {
			return "", fmt.Errorf("PGBIN is %q, which does not hold initdb and postgres: %w", dir, ErrNoPostgres)
		}
		return dir, nil
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil && hasServer(filepath.Dir(initdb)) {
			return filepath.Dir(initdb), nil
		}
	}
	dirs, err := filepath.Glob(packagedDirs)
	if err != nil {
		return "", fmt.Errorf("look for PostgreSQL in %s: %w", packagedDirs, err)
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !hasServer(dir) })
	if len(dirs) == 0 {
		return "", ErrNoPostgres
	}
	return slices.MaxFunc(dirs, func(a, b string) int { return cmp.Compare(majorVersion(a), majorVersion(b)) }), nil
}

func hasServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// majorVersion reads the 15 of ".../15/bin"; 0 when there is no number.
func majorVersion(binDir string) int {
	version, err := strconv.Atoi(filepath.Base(filepath.Dir(binDir)))
	if err != nil {
		return 0
	}
	return version
}

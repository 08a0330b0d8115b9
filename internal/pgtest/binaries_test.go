//go:build unix

package pgtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBinDirTakesPGBINFirst(t *testing.T) {
	named, onPath := binaries(t, "named"), binaries(t, "path")
	t.Setenv("PGBIN", named)
	t.Setenv("PATH", onPath)
	found, err := findBinDir("")
	require.NoError(t, err)
	require.Equal(t, named, found)
}

func TestBinDirRefusesAWrongPGBIN(t *testing.T) {
	halfThere := binaries(t, "half")
	require.NoError(t, os.Remove(filepath.Join(halfThere, "postgres")))
	notExecutable := binaries(t, "data")
	require.NoError(t, os.Chmod(filepath.Join(notExecutable, "initdb"), 0o600))
	t.Setenv("PATH", binaries(t, "path"))
	for _, dir := range []string{t.TempDir(), halfThere, notExecutable, "/does/not/exist"} {
		t.Setenv("PGBIN", dir)
		_, err := findBinDir("")
		require.ErrorIs(t, err, ErrNoPostgres)
		require.ErrorContains(t, err, "PGBIN")
		require.ErrorContains(t, err, dir)
	}
}

func TestBinDirFollowsLinksOnPath(t *testing.T) {
	installed, links := binaries(t, "real"), t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(installed, "initdb"), filepath.Join(links, "initdb")))
	t.Setenv("PGBIN", "")
	t.Setenv("PATH", links)
	found, err := findBinDir("")
	require.NoError(t, err)
	require.Equal(t, installed, found)
}

func TestBinDirTakesTheNewestPackagedVersion(t *testing.T) {
	packaged := t.TempDir()
	for _, version := range []string{"9", "15", "14"} {
		placeBinaries(t, filepath.Join(packaged, version, "bin"))
	}
	// Only the client of version 17 is installed.
	require.NoError(t, os.MkdirAll(filepath.Join(packaged, "17", "bin"), 0o755))
	t.Setenv("PGBIN", "")
	t.Setenv("PATH", t.TempDir())
	found, err := findBinDir(filepath.Join(packaged, "*", "bin"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(packaged, "15", "bin"), found)
}

func TestBinDirSaysWhatToInstall(t *testing.T) {
	t.Setenv("PGBIN", "")
	t.Setenv("PATH", t.TempDir())
	_, err := findBinDir(filepath.Join(t.TempDir(), "*", "bin"))
	require.ErrorIs(t, err, ErrNoPostgres)
	require.ErrorContains(t, err, "apt-get install")
}

func binaries(t *testing.T, name string) string {
	t.Helper()
	parent, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	dir := filepath.Join(parent, name)
	placeBinaries(t, dir)
	return dir
}

func placeBinaries(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"initdb", "postgres"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700))
	}
}

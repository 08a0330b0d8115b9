//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForbidMainCluster(t *testing.T) {
	const untouched = "# Default values for pg_createcluster(8)\n#create_main_cluster = true\nstart_conf = 'auto'\n"
	for name, settings := range map[string]string{
		"as packaged":     untouched,
		"switched on":     "create_main_cluster = true\nssl = on\n",
		"no newline":      "ssl = on",
		"empty":           "",
		"switched off":    "ssl = on\ncreate_main_cluster = false\n",
		"set twice, last": "create_main_cluster = false\ncreate_main_cluster = true\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "createcluster.conf")
			require.NoError(t, os.WriteFile(path, []byte(settings), 0o600))

			restore, err := forbidMainCluster(path)
			require.NoError(t, err)
			changed, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Regexp(t, `(?m)^create_main_cluster = false\n\z`, string(changed))
			require.NotRegexp(t, `(?m)^create_main_cluster = true`, string(changed))

			require.NoError(t, restore())
			restored, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, settings, string(restored))
		})
	}
}

func TestForbidMainClusterNeedsTheFile(t *testing.T) {
	_, err := forbidMainCluster(filepath.Join(t.TempDir(), "absent.conf"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

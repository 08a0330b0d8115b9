package secretbox_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/secretbox"
)

func TestParseMasterKeys(t *testing.T) {
	good := generate(t)
	raw, err := base64.StdEncoding.DecodeString(good)
	require.NoError(t, err)
	require.Len(t, raw, secretbox.MasterKeyBytes)
	_, wrapped, err := secretbox.Create(parse(t, good))
	require.NoError(t, err)

	for _, spelling := range []string{
		good, " " + good + "\n", strings.TrimRight(good, "="),
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	} {
		_, _, err := secretbox.Open(parse(t, spelling), wrapped)
		require.NoError(t, err, "spelling %d bytes long", len(spelling))
	}
	require.Equal(t, 3, parse(t, good, generate(t), generate(t)).Len())

	short := base64.StdEncoding.EncodeToString(raw[:31])
	long := base64.StdEncoding.EncodeToString(append(raw[:32:32], 7))
	for name, c := range map[string]struct{ in, want string }{
		"nothing":          {"", "no master key given"},
		"blank":            {" \n", "no master key given"},
		"short":            {short, "master key 1 of 1 has 31 bytes, it must have 32"},
		"long second":      {good + "," + long, "master key 2 of 2 has 33 bytes, it must have 32"},
		"trailing comma":   {good + ",", "master key 2 of 2 is empty"},
		"not base64":       {good + ",%" + good[1:], "master key 2 of 2 is not valid base64"},
		"mixed alphabets":  {"-/" + good[2:], "master key 1 of 1 is not valid base64"},
		"placeholder zero": {strings.Repeat("A", 43) + "=", "master key 1 of 1 is one byte repeated"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := secretbox.ParseMasterKeys(c.in)
			require.ErrorContains(t, err, c.want)
			requireNoKey(t, raw, err.Error())
		})
	}
}

func TestGenerateMasterKeyReportsLackOfRandomness(t *testing.T) {
	_, err := secretbox.GenerateMasterKey(iotest.ErrReader(errors.New("no entropy")))
	require.ErrorContains(t, err, "no entropy")
	_, err = secretbox.GenerateMasterKey(strings.NewReader("too short"))
	require.Error(t, err)
	one, other := generate(t), generate(t)
	require.NotEqual(t, one, other)
}

func TestMasterKeyFileIsMadeOnceAndPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")
	made, err := secretbox.LoadOrCreateMasterKeyFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	_, wrapped, err := secretbox.Create(made)
	require.NoError(t, err)

	read, err := secretbox.LoadOrCreateMasterKeyFile(path)
	require.NoError(t, err)
	_, needsRewrap, err := secretbox.Open(read, wrapped)
	require.NoError(t, err)
	require.False(t, needsRewrap)
	requireOnlyFile(t, dir, "master.key")
}

func TestProcessesThatMakeTheFileTogetherAgreeOnTheKey(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		path := filepath.Join(dir, "master.key")
		var all sync.WaitGroup
		seen := make([]secretbox.MasterKeys, 16)
		start := make(chan struct{})
		for i := range seen {
			all.Go(func() {
				<-start
				var err error
				if seen[i], err = secretbox.LoadOrCreateMasterKeyFile(path); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		_, wrapped, err := secretbox.Create(seen[0])
		require.NoError(t, err)
		for _, m := range seen {
			_, _, err := secretbox.Open(m, wrapped)
			require.NoError(t, err)
		}
		requireOnlyFile(t, dir, "master.key")
	}
}

func TestMasterKeyFileThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	require.NoError(t, os.WriteFile(path, []byte(generate(t)), 0o600))
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o620, 0o660} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := secretbox.LoadOrCreateMasterKeyFile(path)
		require.ErrorContains(t, err, "chmod 600")
		require.ErrorContains(t, err, path)
		_, err = secretbox.RotateMasterKeyFile(path)
		require.ErrorContains(t, err, "chmod 600")
	}
	require.NoError(t, os.Chmod(path, 0o400))
	_, err := secretbox.LoadOrCreateMasterKeyFile(path)
	require.NoError(t, err)
}

func TestMasterKeyFileThatIsWrongIsNamedAndKept(t *testing.T) {
	key := generate(t)
	raw, err := base64.StdEncoding.DecodeString(key)
	require.NoError(t, err)
	dir := t.TempDir()
	for name, c := range map[string]struct{ content, want string }{
		"empty":         {"", "holds no key"},
		"only comments": {"# nothing\n\n", "holds no key"},
		"bad line":      {"# current\n" + key + "\n" + key[:40] + "\n", "the key in line 3 has 30 bytes"},
		"two in a line": {key + "," + key, "the key in line 1 is not valid base64"},
		"huge":          {strings.Repeat("#", 70_000), "is larger than"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
		_, err := secretbox.LoadOrCreateMasterKeyFile(path)
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, path)
		requireNoKey(t, raw, err.Error())
		_, err = secretbox.RotateMasterKeyFile(path)
		require.ErrorContains(t, err, c.want, name)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, c.content, string(content), "a file that cannot be read must not be replaced")
		require.NoFileExists(t, path+".new")
	}
	_, err = secretbox.LoadOrCreateMasterKeyFile(dir)
	require.ErrorContains(t, err, "is not a regular file")
	_, err = secretbox.LoadOrCreateMasterKeyFile(filepath.Join(dir, "no", "such", "dir"))
	require.Error(t, err)
}

func TestRotateMasterKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")
	before, err := secretbox.LoadOrCreateMasterKeyFile(path)
	require.NoError(t, err)
	box, oldWrap, err := secretbox.Create(before)
	require.NoError(t, err)
	oldContent, err := os.ReadFile(path)
	require.NoError(t, err)

	after, err := secretbox.RotateMasterKeyFile(path)
	require.NoError(t, err)
	require.Equal(t, 2, after.Len())
	requireOnlyFile(t, dir, "master.key")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	_, needsRewrap, err := secretbox.Open(after, oldWrap)
	require.NoError(t, err)
	require.True(t, needsRewrap)
	newWrap, err := box.Wrap(after)
	require.NoError(t, err)
	_, _, err = secretbox.Open(before, newWrap)
	require.ErrorIs(t, err, secretbox.ErrWrongMasterKey)
	read, err := secretbox.LoadOrCreateMasterKeyFile(path)
	require.NoError(t, err)
	_, needsRewrap, err = secretbox.Open(read, newWrap)
	require.NoError(t, err)
	require.False(t, needsRewrap, "the new key must be the first in the file")

	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(oldContent)) {
		require.Contains(t, string(content), line, "comments and previous keys stay")
	}
	again, err := secretbox.RotateMasterKeyFile(path)
	require.NoError(t, err)
	require.Equal(t, 3, again.Len())
}

func TestOnlyOneRotationAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	_, err := secretbox.RotateMasterKeyFile(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = secretbox.LoadOrCreateMasterKeyFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".new", nil, 0o600))
	_, err = secretbox.RotateMasterKeyFile(path)
	require.ErrorContains(t, err, "another rotation runs")
	require.FileExists(t, path+".new", "it belongs to the other rotation")
	m, err := secretbox.LoadOrCreateMasterKeyFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, m.Len())
}

func requireOnlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, name, entries[0].Name())
}

func FuzzParseMasterKeys(f *testing.F) {
	key, err := secretbox.GenerateMasterKey(rand.Reader)
	require.NoError(f, err)
	f.Add(key)
	f.Add(key + "," + key)
	f.Add(",,=")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := secretbox.ParseMasterKeys(s)
		if err == nil && m.Len() != strings.Count(s, ",")+1 {
			t.Fatalf("%d entries gave %d keys", strings.Count(s, ",")+1, m.Len())
		}
	})
}

package secretbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// largestKeyFile (bytes) is far above any real key file; it keeps a wrong path, such as one
// of a database, from being read into memory.
const largestKeyFile = 64 << 10

const keyFileHeader = `# Master keys of Hooktrail: one in base64 a line, the current one first.
# Whoever has this file and the database can read every stored secret; without it
# nobody can. Keep a copy of it apart from the database.
`

// LoadOrCreateMasterKeyFile reads the key file at path, one key a line with the current one
// first, empty lines and lines that start with # left out. When there is none it makes one
// with a new key, mode 0600, that is complete and on disk before it appears under its name;
// of several processes that do so at one time all get the same key. A file that its group
// or others can read is refused. No error shows a key.
func LoadOrCreateMasterKeyFile(path string) (MasterKeys, error) {
	m, _, err := readKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	key, err := GenerateMasterKey(rand.Reader)
	if err != nil {
		return MasterKeys{}, err
	}
	dir := filepath.Dir(path)
	temporary, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp")
	if err != nil {
		return MasterKeys{}, fmt.Errorf("making a master key file: %w", err)
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	if err := writeAndSync(temporary, keyFileHeader+key+"\n"); err != nil {
		return MasterKeys{}, err
	}
	// A link, unlike a rename, never replaces a file that another process made meanwhile.
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return MasterKeys{}, fmt.Errorf("making a master key file: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return MasterKeys{}, err
	}
	m, _, err = readKeyFile(path)
	return m, err
}

// RotateMasterKeyFile puts a new key before those in the file at path, which all stay, and
// gives the new list. A crash leaves either the old file or the new one. The key ring must
// then be opened and wrapped again (Open, Wrap) before an old key is taken out by hand.
// Of two rotations at one time the second fails.
func RotateMasterKeyFile(path string) (MasterKeys, error) {
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return MasterKeys{}, fmt.Errorf("rotating the master key: %s.new exists; another rotation runs, "+
			"or one was interrupted and the file can be deleted", path)
	}
	if err != nil {
		return MasterKeys{}, fmt.Errorf("rotating the master key: %w", err)
	}
	if err := writeRotated(next, path); err != nil {
		// Only now: after the rename the name may be that of another rotation's file.
		_ = next.Close()
		_ = os.Remove(next.Name())
		return MasterKeys{}, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return MasterKeys{}, err
	}
	m, _, err := readKeyFile(path)
	return m, err
}

// writeRotated writes path's content with a new first key to next, which then takes its place.
func writeRotated(next *os.File, path string) error {
	_, lines, err := readKeyFile(path)
	if err != nil {
		return err
	}
	key, err := GenerateMasterKey(rand.Reader)
	if err != nil {
		return err
	}
	lines = slices.Insert(lines, slices.IndexFunc(lines, isKeyLine), key)
	if err := writeAndSync(next, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	if err := os.Rename(next.Name(), path); err != nil {
		return fmt.Errorf("rotating the master key: %w", err)
	}
	return nil
}

// readKeyFile gives the keys, at least one, and the lines they stand in.
func readKeyFile(path string) (MasterKeys, []string, error) {
	file, err := os.Open(path)
	if err != nil {
		return MasterKeys{}, nil, fmt.Errorf("reading the master key file: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return MasterKeys{}, nil, fmt.Errorf("reading the master key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return MasterKeys{}, nil, fmt.Errorf("master key file %s is not a regular file", path)
	}
	// Windows has no such bits: Go reports them as set for everyone.
	if open := info.Mode().Perm() & 0o077; open != 0 && runtime.GOOS != "windows" {
		return MasterKeys{}, nil, fmt.Errorf("master key file %s has mode %04o, which lets others in: "+
			"make it private with chmod 600", path, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(file, largestKeyFile+1))
	if err != nil {
		return MasterKeys{}, nil, fmt.Errorf("reading the master key file: %w", err)
	}
	if len(content) > largestKeyFile {
		return MasterKeys{}, nil, fmt.Errorf("master key file %s is larger than %d bytes", path, largestKeyFile)
	}
	var m MasterKeys
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	for i, line := range lines {
		if !isKeyLine(line) {
			continue
		}
		key, err := parseMasterKey(line)
		if err != nil {
			return MasterKeys{}, nil, fmt.Errorf("master key file %s: the key in line %d %w", path, i+1, err)
		}
		m.keys = append(m.keys, key)
	}
	if m.Len() == 0 {
		return MasterKeys{}, nil, fmt.Errorf("master key file %s holds no key", path)
	}
	return m, lines, nil
}

func isKeyLine(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && !strings.HasPrefix(line, "#")
}

func writeAndSync(file *os.File, content string) error {
	_, err := file.WriteString(content)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing the master key file: %w", err)
	}
	return nil
}

// syncDir makes the directory's new entry outlast a loss of power.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // which cannot sync a directory, nor needs it
	}
	handle, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the directory of the master key file: %w", err)
	}
	if err := errors.Join(handle.Sync(), handle.Close()); err != nil {
		return fmt.Errorf("syncing the directory of the master key file: %w", err)
	}
	return nil
}

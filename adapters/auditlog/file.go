package auditlog

import (
	"errors"
	"fmt"
	"os"
)

// File is a file to which checkpoints are appended, each with an empty line behind it.
type File struct{ file *os.File }

// OpenFile opens the file, and makes it when it is not there. It need not be readable for others,
// but checkpoints are no secret.
func OpenFile(path string) (*File, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // checkpoints are there to be read
	if err != nil {
		return nil, fmt.Errorf("open the file of checkpoints: %w", err)
	}
	f := &File{file}
	cut, err := cutOff(path)
	if err == nil && cut {
		// A process that was killed while it wrote must not spoil the next checkpoint.
		_, err = file.WriteString("\n\n")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the file of checkpoints: %w", err), file.Close())
	}
	return f, nil
}

// cutOff says whether a file with something in it ends within a line.
func cutOff(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false, err
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }()
	last := make([]byte, 1)
	_, err = file.ReadAt(last, info.Size()-1)
	return last[0] != '\n', err
}

// Add appends a checkpoint; it is on disk when Add returns.
func (f *File) Add(note string) error {
	if _, err := f.file.WriteString(note + "\n"); err != nil {
		return fmt.Errorf("append a checkpoint to the file: %w", err)
	}
	if err := f.file.Sync(); err != nil && !isPipe(f.file) {
		return fmt.Errorf("append a checkpoint to the file: %w", err)
	}
	return nil
}

// isPipe says whether what is written goes to a program, which has no disk to wait for.
func isPipe(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && !info.Mode().IsRegular()
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

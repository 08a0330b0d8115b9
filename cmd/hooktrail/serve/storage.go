package serve

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hooktrail/adapters/database"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/secretbox"
)

// OpenDatabase opens the store that the settings name; its schema may be old.
func (s *Storage) OpenDatabase(ctx context.Context) (*database.DB, error) {
	if s.DatabaseURL != "" {
		return database.OpenPostgres(ctx, s.DatabaseURL)
	}
	return database.OpenSQLite(s.storePath())
}

// Embedded reports whether the store is the embedded one.
func (s *Storage) Embedded() bool { return s.DatabaseURL == "" }

// MasterKeys reads the master keys; for the embedded store they are made when absent.
func (s *Storage) MasterKeys() (secretbox.MasterKeys, error) {
	if s.MasterKey != "" {
		keys, err := secretbox.ParseMasterKeys(s.MasterKey)
		if err != nil {
			return keys, fmt.Errorf("HOOKTRAIL_MASTER_KEY: %w", err)
		}
		return keys, nil
	}
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return secretbox.MasterKeys{}, fmt.Errorf("make the data directory: %w", err)
	}
	return secretbox.LoadOrCreateMasterKeyFile(s.masterKeyPath())
}

// StoreExists reports whether the embedded store has been made.
func (s *Storage) StoreExists() bool {
	_, err := os.Stat(s.storePath())
	return err == nil
}

// MasterKeyMissing is an error when the master keys should be in a file that is not there:
// a store that has been used needs the keys that it was made with.
func (s *Storage) MasterKeyMissing() error {
	if s.MasterKey != "" {
		return nil
	}
	if _, err := os.Stat(s.masterKeyPath()); err != nil {
		return fmt.Errorf("the master key is missing: %w", err)
	}
	return nil
}

// RotateMasterKeyFile puts a new master key in place where the keys are in a file; it
// reports whether they are.
func (s *Storage) RotateMasterKeyFile() (bool, error) {
	if s.MasterKey != "" {
		return false, nil
	}
	_, err := secretbox.RotateMasterKeyFile(s.masterKeyPath())
	return true, err
}

// OpenKeyRing opens the key ring of a store.
func (s *Storage) OpenKeyRing(ctx context.Context, db *database.DB) (*keyring.Ring, error) {
	return keyring.Open(ctx, db, s.MasterKeys)
}

// Lock keeps a second server off the embedded store. The lock ends with the process.
func (s *Storage) Lock() (release func(), err error) {
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	file, err := os.OpenFile(s.lockPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data directory: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another hooktrail serves from %s already; the embedded store takes one process (use PostgreSQL for more)", s.DataDir), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// Package keyring keeps the key ring in the database, where all replicas share it, and
// follows it when another process has changed it.
package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/adapters/secretbox"
)

const setting = "key_ring"

// AuditKey is the setting with the sealed key that signs the audit trail's checkpoints; it is
// sealed under its own name.
const AuditKey = "audit_key"

// sealedSettings are sealed like credentials, and sealed anew with them.
var sealedSettings = []string{AuditKey}

// Ring is the open key ring.
type Ring struct {
	db      *database.DB
	masters func() (secretbox.MasterKeys, error)
	box     atomic.Pointer[secretbox.Box]
	reading sync.Mutex
}

// Open opens the key ring, and makes it when there is none yet. masters reads the master
// keys; it is asked again when the ring has changed, since they may have too.
func Open(ctx context.Context, db *database.DB, masters func() (secretbox.MasterKeys, error)) (*Ring, error) {
	r := &Ring{db: db, masters: masters}
	stored, err := db.Setting(ctx, setting)
	if err != nil {
		return nil, fmt.Errorf("read the key ring: %w", err)
	}
	if stored == nil {
		master, err := masters()
		if err != nil {
			return nil, err
		}
		_, wrapped, err := secretbox.Create(master)
		if err != nil {
			return nil, fmt.Errorf("make a key ring: %w", err)
		}
		encoded, err := json.Marshal(wrapped)
		if err != nil {
			return nil, fmt.Errorf("encode the key ring: %w", err)
		}
		if stored, err = db.SettingOnce(ctx, setting, encoded); err != nil {
			return nil, fmt.Errorf("keep the key ring: %w", err)
		}
	}
	if err := r.use(stored); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Ring) use(stored []byte) error {
	master, err := r.masters()
	if err != nil {
		return err
	}
	box, err := unwrap(stored, master)
	if err != nil {
		return err
	}
	r.box.Store(box)
	return nil
}

func unwrap(stored []byte, master secretbox.MasterKeys) (*secretbox.Box, error) {
	var wrapped secretbox.Wrapped
	if err := json.Unmarshal(stored, &wrapped); err != nil {
		return nil, fmt.Errorf("read the key ring: %w", err)
	}
	box, _, err := secretbox.Open(master, wrapped)
	if err != nil {
		return nil, fmt.Errorf("open the key ring: %w", err)
	}
	return box, nil
}

// Check reports whether a master key opens the key ring that is among an installation's settings,
// and the ring what is sealed among them.
func Check(settings map[string][]byte, master secretbox.MasterKeys) error {
	stored, there := settings[setting]
	if !there {
		return errors.New("there is no key ring among the settings")
	}
	box, err := unwrap(stored, master)
	if err != nil {
		return err
	}
	for _, name := range sealedSettings {
		if sealed, there := settings[name]; there {
			if _, err := box.Open(sealed, name); err != nil {
				return fmt.Errorf("open the setting %s: %w", name, err)
			}
		}
	}
	return nil
}

// HashToken gives the keyed hash by which a trigger's token is found.
func (r *Ring) HashToken(token string) []byte { return r.box.Load().HashToken(token) }

// HashAPIKey gives the keyed hash by which an API key is found.
func (r *Ring) HashAPIKey(key string) []byte { return r.box.Load().HashAPIKey(key) }

// Seal encrypts a secret for the credential of that id.
func (r *Ring) Seal(plaintext []byte, credentialID string) ([]byte, error) {
	sealed, err := r.box.Load().Seal(plaintext, credentialID)
	if err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	return sealed, nil
}

// Open decrypts the secret of the credential of that id.
func (r *Ring) Open(sealed []byte, credentialID string) ([]byte, error) {
	plaintext, err := r.box.Load().Open(sealed, credentialID)
	if errors.Is(err, secretbox.ErrUnknownKey) {
		if err := r.reload(); err != nil {
			return nil, err
		}
		plaintext, err = r.box.Load().Open(sealed, credentialID)
	}
	if err != nil {
		return nil, fmt.Errorf("open a sealed secret: %w", err)
	}
	return plaintext, nil
}

// reload takes over a ring to which another process has added a key.
func (r *Ring) reload() error {
	r.reading.Lock()
	defer r.reading.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	stored, err := r.db.Setting(ctx, setting)
	if err != nil {
		return fmt.Errorf("read the key ring: %w", err)
	}
	return r.use(stored)
}

// Rotated says what a rotation did.
type Rotated struct {
	Resealed int
	KeyID    uint32
}

// Rotate wraps the ring with the current master key, adds a sealing key, and seals every
// stored secret anew with it. It can be repeated after it was broken off.
func (r *Ring) Rotate(ctx context.Context) (Rotated, error) {
	if err := r.addKey(ctx); err != nil {
		return Rotated{}, err
	}
	resealed, err := r.reseal(ctx)
	return Rotated{Resealed: resealed, KeyID: r.box.Load().PrimaryKeyID()}, err
}

// errChanged says that another rotation has come in between.
var errChanged = errors.New("the key ring was changed by another rotation at this moment; repeat this one")

// addKey adds a key to what is stored, and seals with it only when it is kept: a secret that
// is sealed with a key that is not could never be opened again.
func (r *Ring) addKey(ctx context.Context) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	stored, err := r.db.Setting(ctx, setting)
	if err != nil {
		return fmt.Errorf("read the key ring: %w", err)
	}
	master, err := r.masters()
	if err != nil {
		return err
	}
	box, err := unwrap(stored, master)
	if err != nil {
		return err
	}
	if err := box.AddKey(); err != nil {
		return fmt.Errorf("add a sealing key: %w", err)
	}
	wrapped, err := box.Wrap(master)
	if err != nil {
		return fmt.Errorf("wrap the key ring: %w", err)
	}
	encoded, err := json.Marshal(wrapped)
	if err != nil {
		return fmt.Errorf("encode the key ring: %w", err)
	}
	err = r.db.Write(ctx, func(tx *database.Tx) error {
		unchanged := false
		tx.Query(func(scan database.Scan) error {
			unchanged = true
			var one int
			return scan(&one)
		}, "UPDATE settings SET value = ? WHERE name = ? AND value = ? RETURNING 1", encoded, setting, stored)
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		if !unchanged {
			return errChanged // its key would be lost
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep the key ring: %w", err)
	}
	r.box.Store(box)
	return nil
}

const resealBatch = 200

func (r *Ring) reseal(ctx context.Context) (int, error) {
	done, after := 0, ""
	for {
		count := 0
		err := r.db.Write(ctx, func(tx *database.Tx) error {
			type credential struct {
				id     string
				sealed []byte
			}
			var batch []credential
			tx.Query(func(scan database.Scan) error {
				var c credential
				err := scan(&c.id, &c.sealed)
				batch = append(batch, c)
				return err
			}, "SELECT id, sealed FROM credentials WHERE sealed IS NOT NULL AND id > ? ORDER BY id LIMIT ?", after, resealBatch)
			if err := tx.Flush(ctx); err != nil {
				return err
			}
			for _, c := range batch {
				plaintext, err := r.Open(c.sealed, c.id)
				if err != nil {
					return fmt.Errorf("credential %s: %w", c.id, err)
				}
				sealed, err := r.Seal(plaintext, c.id)
				if err != nil {
					return fmt.Errorf("credential %s: %w", c.id, err)
				}
				// A credential that was replaced meanwhile is gone, and stays gone.
				tx.Exec("UPDATE credentials SET sealed = ? WHERE id = ? AND sealed = ?", sealed, c.id, c.sealed)
				after = c.id
			}
			count = len(batch)
			return nil
		})
		if err != nil {
			return done, fmt.Errorf("seal the stored secrets anew: %w", err)
		}
		if count == 0 {
			break
		}
		done += count
	}
	for _, name := range sealedSettings {
		stored, err := r.resealSetting(ctx, name)
		if err != nil {
			return done, fmt.Errorf("seal the setting %s anew: %w", name, err)
		}
		if stored {
			done++
		}
	}
	return done, nil
}

// resealSetting reports whether there is such a setting.
func (r *Ring) resealSetting(ctx context.Context, name string) (bool, error) {
	stored, err := r.db.Setting(ctx, name)
	if err != nil || stored == nil {
		return false, err
	}
	plaintext, err := r.Open(stored, name)
	if err != nil {
		return false, err
	}
	sealed, err := r.Seal(plaintext, name)
	if err != nil {
		return false, err
	}
	return true, r.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec("UPDATE settings SET value = ? WHERE name = ? AND value = ?", sealed, name, stored)
		return nil
	})
}

package auditlog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"hooktrail/adapters/database"
	"hooktrail/adapters/keyring"
	"hooktrail/domain/trail"
)

// VerifierSetting is the setting with the key that everybody may know.
const VerifierSetting = "audit_verifier"

// OpenSigner gives the key that signs the checkpoints of an installation, and makes it when there
// is none yet. All replicas get the same.
func OpenSigner(ctx context.Context, db *database.DB, ring *keyring.Ring, origin string) (*trail.Signer, error) {
	sealed, err := db.Setting(ctx, keyring.AuditKey)
	if err != nil {
		return nil, fmt.Errorf("read the signing key of the audit trail: %w", err)
	}
	if sealed == nil {
		signing, verifier, err := trail.NewKey(rand.Reader, origin)
		if err != nil {
			return nil, fmt.Errorf("make the signing key of the audit trail: %w", err)
		}
		if sealed, err = ring.Seal([]byte(signing+"\n"+verifier), keyring.AuditKey); err != nil {
			return nil, err
		}
		if sealed, err = db.SettingOnce(ctx, keyring.AuditKey, sealed); err != nil {
			return nil, fmt.Errorf("keep the signing key of the audit trail: %w", err)
		}
	}
	opened, err := ring.Open(sealed, keyring.AuditKey)
	if err != nil {
		return nil, fmt.Errorf("the signing key of the audit trail: %w", err)
	}
	signing, verifier, _ := strings.Cut(string(opened), "\n")
	published, err := db.SettingOnce(ctx, VerifierSetting, []byte(verifier))
	if err != nil {
		return nil, fmt.Errorf("keep the verifier key of the audit trail: %w", err)
	}
	if string(published) != verifier {
		return nil, errors.New("the verifier key in the settings does not belong to the signing key of the audit trail: somebody has changed it")
	}
	return trail.NewSigner(signing, verifier)
}

// ErrNoKey says that no process has made a signing key yet.
var ErrNoKey = errors.New("there is no audit trail yet: 'hooktrail serve' with the role worker begins one")

// Verifier gives the key to verify with, as the database has it.
func Verifier(ctx context.Context, db *database.DB) (*trail.Verifier, error) {
	text, err := db.Setting(ctx, VerifierSetting)
	if err != nil {
		return nil, fmt.Errorf("read the verifier key of the audit trail: %w", err)
	}
	if text == nil {
		return nil, ErrNoKey
	}
	return trail.NewVerifier(string(text))
}

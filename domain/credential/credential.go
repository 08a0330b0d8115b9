// Package credential holds the tokens and secrets of an aggregate by their ids, and how one takes the
// place of another.
package credential

import (
	"slices"
	"time"

	"hooktrail/domain/fault"
)

// Credential names a token or secret that is kept elsewhere, and how long it works.
type Credential struct {
	ID string `json:"id"`
	// Prefix is the first characters of a token, to recognise it by.
	Prefix string `json:"prefix,omitempty"`
	// ExpiresAt ends the grace period of a credential that was replaced; nil for the current one.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// WorksAt reports whether the credential is current or in its grace period.
func (c Credential) WorksAt(now time.Time) bool {
	return c.ExpiresAt == nil || now.Before(*c.ExpiresAt)
}

// MaxGrace is the longest grace period.
const MaxGrace = 30 * 24 * time.Hour

// GraceEnd gives the end of a grace period that begins now; nil for one of no length. A
// fault.Validation names grace_period when it is not from 0 to MaxGrace.
func GraceEnd(grace time.Duration, now time.Time) (*time.Time, error) {
	if grace < 0 || grace > MaxGrace {
		return nil, fault.Field("grace_period", "must be from 0 to %d seconds", int(MaxGrace.Seconds()))
	}
	if grace == 0 {
		return nil, nil
	}
	end := now.Add(grace).UTC()
	return &end, nil
}

// Replace puts a new credential first and keeps up to most of the older ones for at most as long
// as their own grace period or the new one, whichever ends first.
func Replace(old []Credential, current Credential, previousUntil *time.Time, now time.Time, most int) []Credential {
	kept := []Credential{current}
	if previousUntil == nil {
		return kept
	}
	for _, c := range old {
		if c.ExpiresAt == nil || c.ExpiresAt.After(*previousUntil) {
			c.ExpiresAt = previousUntil
		}
		if c.WorksAt(now) && len(kept) <= most {
			kept = append(kept, c)
		}
	}
	return kept
}

// IDs lists the ids of credentials.
func IDs(credentials []Credential) []string {
	ids := make([]string, len(credentials))
	for i, c := range credentials {
		ids[i] = c.ID
	}
	return ids
}

// Dropped lists the ids that are in before but not in after.
func Dropped(before, after []Credential) []string {
	return slices.DeleteFunc(IDs(before), func(id string) bool {
		return slices.ContainsFunc(after, func(c Credential) bool { return c.ID == id })
	})
}

package eventstore

import (
	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
)

type scopedKey struct{ scope, key string }

func (b *batch) check(a *eventlog.Append) error {
	if actual := b.heads[a.Stream]; actual != a.Expected {
		return &eventlog.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: actual}
	}
	for _, guard := range a.Guards {
		if actual := b.heads[guard.Stream]; actual != guard.Version {
			return &eventlog.ConflictError{Stream: guard.Stream, Expected: guard.Version, Actual: actual}
		}
	}
	return nil
}

func (s *Store) queryHeads(tx *database.Tx, attempts []*attempt, heads map[eventlog.StreamID]int64) {
	var streams []string
	ask := func(stream eventlog.StreamID) {
		if _, asked := heads[stream]; !asked {
			heads[stream] = 0
			streams = append(streams, string(stream))
		}
	}
	for _, a := range attempts {
		ask(a.append.Stream)
		for _, guard := range a.append.Guards {
			ask(guard.Stream)
		}
	}
	tx.Query(func(scan database.Scan) error {
		var stream string
		var version int64
		if err := scan(&stream, &version); err != nil {
			return err
		}
		heads[eventlog.StreamID(stream)] = version
		return nil
	}, "SELECT asked.value, coalesce((SELECT max(version) FROM events WHERE stream = asked.value AND NOT fact), 0) FROM "+tx.Dialect().Each("asked"),
		tx.Dialect().List(streams))
}

func (s *Store) queryKeys(tx *database.Tx, attempts []*attempt, used map[scopedKey]eventlog.IdempotencyKey) {
	var keys []string
	for _, a := range attempts {
		if a.append.Idempotency != nil {
			keys = append(keys, a.append.Idempotency.Key)
		}
	}
	if len(keys) == 0 {
		return
	}
	scopes := map[string]bool{}
	var scopeList []string
	for _, a := range attempts {
		if k := a.append.Idempotency; k != nil && !scopes[k.Scope] {
			scopes[k.Scope] = true
			scopeList = append(scopeList, k.Scope)
		}
	}
	d := tx.Dialect()
	tx.Query(func(scan database.Scan) error {
		var k eventlog.IdempotencyKey
		var expires int64
		if err := scan(&k.Scope, &k.Key, &k.Digest, &k.Subject, &expires); err != nil {
			return err
		}
		k.ExpiresAt = database.Time(expires)
		used[scopedKey{k.Scope, k.Key}] = k
		return nil
	}, "SELECT scope, key, digest, subject, expires_at FROM idempotency_keys WHERE "+d.In("scope")+" AND "+d.In("key"),
		d.List(scopeList), d.List(keys))
}

func (s *Store) queryRecorded(tx *database.Tx, attempts []*attempt, recorded map[string]bool) {
	ids := make([]string, len(attempts))
	for i, a := range attempts {
		ids[i] = a.append.Events[0].ID
	}
	tx.Query(func(scan database.Scan) error {
		var id string
		err := scan(&id)
		recorded[id] = true
		return err
	}, "SELECT event_id FROM events WHERE "+tx.Dialect().In("event_id"), tx.Dialect().List(ids))
}

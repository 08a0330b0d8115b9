package database

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"time"
)

const (
	noteHere = "here "
	// presenceBeat is how often a process that listens tells the others that it is there, and
	// presenceLasts for how long they believe it.
	presenceBeat  = 2 * time.Second
	presenceLasts = 5 * time.Second
)

// presence is what a process knows of others on the same database. Waking them costs a
// commit a statement and a wake-up, which a process that is alone can save. A process that is not
// noticed for a moment is woken by its own polling.
type presence struct {
	id        string
	listening atomic.Bool
	heard     atomic.Int64 // in nanoseconds since 1970: when another process was there
}

func newPresence() *presence { return &presence{id: rand.Text()} }

// begin takes others for present until there was time to hear of them.
func (p *presence) begin() {
	p.heard.Store(time.Now().UnixNano())
	p.listening.Store(true)
}

// end takes others for present for as long as nobody listens.
func (p *presence) end() { p.listening.Store(false) }

func (p *presence) others() bool {
	return !p.listening.Load() || time.Since(time.Unix(0, p.heard.Load())) < presenceLasts
}

// took reports whether a note was about presence.
func (p *presence) took(note string) bool {
	id, isPresence := strings.CutPrefix(note, noteHere)
	if isPresence && id != p.id {
		p.heard.Store(time.Now().UnixNano())
	}
	return isPresence
}

// beat tells the others until ctx ends. A beat that fails is not missed: others then take
// this process for absent, and it looks by itself.
func (p *presence) beat(ctx context.Context, tell func(ctx context.Context, note string)) {
	ticker := time.NewTicker(presenceBeat)
	defer ticker.Stop()
	for {
		tell(ctx, noteHere+p.id)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

package application

import "sync"

// Broadcast wakes everybody who waits.
type Broadcast struct {
	mu   sync.Mutex
	next chan struct{}
}

// NewBroadcast makes a broadcast on which nobody waits.
func NewBroadcast() *Broadcast { return &Broadcast{next: make(chan struct{})} }

// Next gives a channel that is closed at the next Send. Take it before looking at what is
// waited for, so that nothing happens unseen in between.
func (b *Broadcast) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// Send wakes all who hold a channel.
func (b *Broadcast) Send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.next)
	b.next = make(chan struct{})
}

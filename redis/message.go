package redis

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"example.com/keystore/backend"
)

// A message on the channel is the id of the record that changed, a space, and
// something random that tells one change from another: on a cluster a watcher gets
// each message from every master.

// messageEnd returns what follows the id in the message of a new change.
func messageEnd() string { return " " + strconv.FormatUint(rand.Uint64(), 36) }

// parseMessage returns the id in a message.
func parseMessage(m string) (id string, ok bool) {
	id, _, _ = strings.Cut(m, " ")
	return id, validID(id)
}

func validID(id string) bool {
	const allowed = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
	return id != "" && len(id) <= backend.MaxIDLen && strings.Trim(id, allowed) == "" // what Trim leaves begins with another character
}

// recent remembers the last messages. The zero value is ready.
type recent struct {
	mu   sync.Mutex
	seen map[string]bool
	ring [4096]string
	next int
}

// first reports whether m is not among them, and remembers it.
func (r *recent) first(m string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[m] {
		return false
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	delete(r.seen, r.ring[r.next])
	r.seen[m], r.ring[r.next] = true, m
	r.next = (r.next + 1) % len(r.ring)
	return true
}

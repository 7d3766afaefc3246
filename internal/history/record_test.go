package history

import (
	"math"
	"slices"
	"sync"

	"github.com/anishathalye/porcupine"
)

// record is a history: every call, with the moments of a logical clock between
// which it ran. It is safe for concurrent use.
type record struct {
	mu      sync.Mutex
	moment  int64
	numbers int
	ops     []porcupine.Operation
	tokens  []issued
	sweeps  []sweep
	ended   map[verdict]int // how many calls, by how they ended
	strange []string
	hits    uint64 // of the caches, by lookups
}

// issued is a token that a client was given, perhaps with an unknown outcome.
type issued struct {
	id, text string
	number   int
	round    int
}

// sweep is a RevokeAll, which also ends keys that nobody knew when it began.
type sweep struct {
	began, returned int64
	client          int
	call            call
	known           []string
}

func newRecord() *record { return &record{ended: make(map[verdict]int)} }

// begin is the moment before a call.
func (h *record) begin() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moment++
	return h.moment
}

// number is one for a secret that is about to be made.
func (h *record) number() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.numbers++
	return h.numbers
}

// add notes a call on one key that has returned. A clean failure has had no
// effect, so the history has to be right without it.
func (h *record) add(client int, began int64, c call, a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(a.verdict)
	h.put(client, began, c, a)
}

// addMany notes one call that is about several keys.
func (h *record) addMany(client int, began int64, v verdict, parts map[*call]answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(v)
	for c, a := range parts {
		h.put(client, began, *c, a)
	}
}

func (h *record) count(v verdict) { h.ended[v]++ }

// put notes a part of a call; the caller holds the lock.
func (h *record) put(client int, began int64, c call, a answer) {
	h.moment++
	returned := h.moment
	switch {
	case a.verdict == unavailable:
		return
	case a.verdict == conflict:
		if !slices.Contains([]string{opUpdate, opExpire, opClearExpiry, opRotate}, c.op) {
			h.strange = append(h.strange, describe(c, a))
		}
		return
	case a.verdict == unknown:
		returned = math.MaxInt64
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: c, Call: began, Output: a, Return: returned})
}

// remove notes a Delete. One that succeeded saw the key during the call, and
// left none at its end; in between, another Delete may have come first.
func (h *record) remove(client int, began int64, c call, a answer) {
	vanish, exists := c, c
	vanish.op, exists.op = opVanish, opExists
	switch a.verdict {
	case done:
		h.addMany(client, began, done, map[*call]answer{&exists: a, &vanish: a})
	case unknown:
		h.add(client, began, vanish, a)
	default:
		h.add(client, began, c, a)
	}
}

// issue remembers a token that works, or may work.
func (h *record) issue(i issued) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens = append(h.tokens, i)
}

// known returns the tokens and, in the order of their creation, the ids of keys
// that clients have been told of.
func (h *record) known() (tokens []issued, ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range h.tokens {
		if !slices.Contains(ids, i.id) {
			ids = append(ids, i.id)
		}
	}
	return slices.Clone(h.tokens), ids
}

// swept notes a RevokeAll.
func (h *record) swept(client int, began int64, c call, a answer, known []string) {
	parts := make(map[*call]answer)
	for _, id := range known {
		one := c
		one.id = id
		parts[&one] = a
	}
	h.addMany(client, began, a.verdict, parts)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweeps = append(h.sweeps, sweep{began, h.moment, client, c, known})
}

// history returns all calls, when all clients have ended.
func (h *record) history() []porcupine.Operation {
	return slices.Concat(h.ops, h.perhapsSwept())
}

// perhaps is a call that may or may not have had its effect.
func perhaps(client int, began int64, c call) porcupine.Operation {
	return porcupine.Operation{ClientId: client, Input: c, Call: began, Output: answer{verdict: unknown}, Return: math.MaxInt64}
}

// perhapsSwept: a key whose Generate had not returned before a RevokeAll may or
// may not have been revoked by it.
func (h *record) perhapsSwept() (more []porcupine.Operation) {
	for _, op := range h.ops {
		c := op.Input.(call)
		for _, s := range h.sweeps {
			if c.op == opGenerate && op.Call < s.returned && !slices.Contains(s.known, c.id) {
				one := s.call
				one.id = c.id
				more = append(more, perhaps(s.client, s.began, one))
			}
		}
	}
	return more
}

package history

import (
	"fmt"
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// script writes a history by hand: each call begins when the one before has
// returned, unless it is among those that began together.
type script struct {
	ops    []porcupine.Operation
	moment int64
	now    int64
	last   int // where in ops the last calls begin
}

const scripted = "key"

func (s *script) at(ms int64) { s.now = start + ms }

func (s *script) call(c call, a answer) { s.together(c, a) }

// together puts calls, each followed by its answer, at one time.
func (s *script) together(pairs ...any) {
	s.moment++
	s.last = len(s.ops)
	for i := 0; i < len(pairs); i += 2 {
		c, a := pairs[i].(call), pairs[i+1].(answer)
		c.id, c.now = scripted, s.now
		returned := s.moment + 1
		if a.verdict == unknown {
			returned = math.MaxInt64
		}
		s.ops = append(s.ops, porcupine.Operation{ClientId: i / 2, Input: c, Call: s.moment, Output: a, Return: returned})
	}
	s.moment++
}

// shown is an answer with a key, which is owner's.
func shown(revision uint64, generation int, change func(*view)) answer {
	v := view{fields: fields{owner: "owner", prefix: "ks", metadata: "{}", created: start, revision: revision}, generation: generation}
	if change != nil {
		change(&v)
	}
	return answer{verdict: done, view: v, generation: 0}
}

// by is the answer of a lookup that a secret of this generation passed.
func (a answer) by(generation int) answer { a.generation = generation; return a }

func (a answer) unclear() answer { a.verdict = unknown; return a }

func counted(n int) func(*view) {
	return func(v *view) { v.metadata = fmt.Sprintf(`{"n":"%d"}`, n) }
}
func revokedAt(ms int64, reason string) func(*view) {
	return func(v *view) { v.revoked, v.reason = start+ms, reason }
}
func expiringAt(ms int64) func(*view) { return func(v *view) { v.expires = start + ms } }

var (
	create    = call{op: opGenerate, number: 1, owner: "owner"}
	get       = call{op: opGet}
	count     = call{op: opUpdate, params: edit{count: true}}
	endGrace  = call{op: opEndGrace}
	clearTime = call{op: opClearExpiry}
	purge     = call{op: opPurge}
	vanish    = call{op: opVanish}
	exists    = call{op: opExists}
	ok        = answer{verdict: done}
	absent    = answer{verdict: notFound}
	forbidden = answer{verdict: badState}
	lost      = answer{verdict: unknown}
)

func revoke(reason string) call { return call{op: opRevoke, reason: reason} }
func present(number int) call   { return call{op: opLookup, number: number} }
func expire(ms int64) call      { return call{op: opExpire, at: start + ms} }
func rotate(number int, grace int64) call {
	return call{op: opRotate, number: number, grace: grace}
}
func refused(reason string) answer { return answer{verdict: verdict(reason)} }

// until is a key in its grace period.
func until(ms int64) func(*view) { return func(v *view) { v.graceUntil = start + ms } }

// TestWrongHistoriesAreRejected: each of these is a fault that the judge must
// see, in the last answer and not before.
func TestWrongHistoriesAreRejected(t *testing.T) {
	for name, write := range wrongHistories {
		t.Run(name, func(t *testing.T) {
			s := written(write)
			require.Equal(t, porcupine.Ok, historyRules.check(s.ops[:s.last]))
			require.Equal(t, porcupine.Illegal, historyRules.check(s.ops))
		})
	}
}

// TestRightHistoriesAreAccepted: in these an unknown outcome means the one thing
// or the other, and calls that overlap happen in either order.
func TestRightHistoriesAreAccepted(t *testing.T) {
	for name, write := range rightHistories {
		t.Run(name, func(t *testing.T) { require.Equal(t, porcupine.Ok, historyRules.check(written(write).ops)) })
	}
}

func written(write func(*script)) *script {
	s := &script{now: start}
	s.call(create, shown(1, 1, nil))
	write(s)
	return s
}

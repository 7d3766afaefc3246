package history

import (
	"hash/maphash"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkBound is how long porcupine may think about one history. One that it
// does not finish is a failure: nothing is known of it.
const checkBound = 10 * time.Second

// claim is an answer whose view, though the outcome is unknown, says what the
// key is if the change happened.
func (a answer) claim() bool { return a.verdict == unknown && a.view != view{} }

// step reports whether a key can go through a call with this answer, and what
// it is afterwards. Porcupine looks for an order of all calls that it accepts.
//
// A call of unknown outcome may happen at any time from its start on, or never.
// Its return is put after the end of the history, which opEnd marks: before
// the mark it happens, with the effect that the caller was told of; what is
// left when the mark is passed never happened. That needs no sets of states, and
// cuts the search short wherever the effect does not fit.
func (r rules) step(s state, c call, a answer) (bool, state) {
	if c.op == opEnd {
		s.over = true
		return true, s
	}
	if s.over {
		return a.verdict == unknown, s
	}
	if c.op == opGenerate && s.made {
		return false, s // an id is drawn once, and does not come back
	}
	next, want := r.apply(s, c)
	if a.verdict == unknown {
		told := !a.claim() || sameView(a.view, want.view)
		return next != s && told && want.verdict == done, next
	}
	if want.verdict != a.verdict || want.generation != a.generation || !sameView(a.view, want.view) {
		return false, s
	}
	return next.sees(s, c, a), next
}

// sameView compares all but the time of last use, which is best effort.
func sameView(a, b view) bool {
	a.lastUsed, b.lastUsed = never, never
	return a == b
}

// sees judges the LastUsedAt of an answer: it is never later than the last
// lookup that was accepted, and from one read to the next it never goes back. A
// change shows it as it was before the change, so only the first holds for it.
func (s *state) sees(before state, c call, a answer) bool {
	if a.view.lastUsed > before.used {
		return false
	}
	if a.verdict == done && (c.op == opGet || c.op == opSeen || c.op == opLookup) {
		if a.view.lastUsed < before.lastSeen {
			return false
		}
		s.lastSeen = a.view.lastUsed
	}
	return true
}

var hashSeed = maphash.MakeSeed()

// model is the judge of histories. Keys are independent of each other, so each
// is judged by itself.
func (r rules) model() porcupine.Model {
	return porcupine.Model{
		Partition: byKey,
		Init:      func() any { return state{} },
		Step: func(s, input, output any) (bool, any) {
			return r.step(s.(state), input.(call), output.(answer))
		},
		Hash:              func(s any) uint64 { return maphash.Comparable(hashSeed, s.(state)) },
		DescribeOperation: func(input, output any) string { return describe(input.(call), output.(answer)) },
		DescribeState:     func(s any) string { return s.(state).String() },
	}
}

func byKey(ops []porcupine.Operation) (parts [][]porcupine.Operation) {
	index := make(map[string]int)
	for _, op := range ops {
		id := op.Input.(call).id
		if _, ok := index[id]; !ok {
			index[id] = len(parts)
			parts = append(parts, nil)
		}
		parts[index[id]] = append(parts[index[id]], op)
	}
	return parts
}

// finish marks the end of each key's history, and moves the return of the calls
// of unknown outcome behind it.
func finish(ops []porcupine.Operation) []porcupine.Operation {
	last := int64(0)
	for _, op := range ops {
		if op.Return != math.MaxInt64 {
			last = max(last, op.Call, op.Return)
		}
	}
	marked := make(map[string]bool)
	var out []porcupine.Operation
	for _, op := range ops {
		id := op.Input.(call).id
		if !marked[id] {
			marked[id] = true
			out = append(out, porcupine.Operation{
				Input: call{op: opEnd, id: id}, Output: answer{verdict: done}, Call: last + 1, Return: last + 2, ClientId: op.ClientId,
			})
		}
		if op.Output.(answer).verdict == unknown {
			op.Return = last + 3
		}
		out = append(out, op)
	}
	return out
}

// check asks porcupine.
func (r rules) check(ops []porcupine.Operation) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(r.model(), finish(ops), checkBound)
}

// judge fails the test unless the history can be explained, and then leaves that
// of the keys at fault behind as text and as a picture.
func (r rules) judge(t testing.TB, ops []porcupine.Operation) {
	t.Helper()
	for _, part := range byKey(ops) {
		result := r.check(part)
		if result == porcupine.Ok {
			continue
		}
		part = finish(part)
		t.Logf("the history of the key:\n%s", transcript(part))
		t.Logf("porcupine's picture of it: %s", r.draw(t, part))
		t.Errorf("porcupine says %s: no order of these calls explains their answers (Unknown: none was found in %v)", result, checkBound)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// draw writes porcupine's visualisation to a file that outlives the test.
func (r rules) draw(t testing.TB, ops []porcupine.Operation) string {
	_, info := porcupine.CheckOperationsVerbose(r.model(), ops, checkBound)
	dir, err := os.MkdirTemp("", "keystore-history-")
	if err != nil {
		return err.Error()
	}
	path := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".html")
	if err := porcupine.VisualizePath(r.model(), info, path); err != nil {
		return err.Error()
	}
	return path
}

package limits

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// answers are those of all workers together, in no order.
type answers []answer

// by counts the answers by their reason; "" are those that passed.
func (a answers) by() map[keystore.Reason]int {
	n := make(map[keystore.Reason]int)
	for _, one := range a {
		n[one.Reason]++
	}
	return n
}

func (a answers) passed() answers {
	var passed answers
	for _, one := range a {
		if one.passed() {
			passed = append(passed, one)
		}
	}
	return passed
}

// resets are how many passed in each window of a limit, by when the window ends.
func (a answers) resets(name string) map[int64]int {
	n := make(map[int64]int)
	for _, one := range a.passed() {
		n[one.limit(name).Reset]++
	}
	return n
}

// expected is what a test expects of lookups that cost 1 each, at one time and with
// one limit that any of them can meet.
type expected struct {
	limit  string
	left   int64 // of the limit before
	passes int   // at most left
	now    time.Time
	reset  time.Time // when the window ends
}

// require holds the answers against what is expected: so many passed, each was told
// another rest, and the others were refused for that limit alone.
func (a answers) require(t *testing.T, e expected) {
	t.Helper()
	require.NoError(t, a.judge(e))
}

// stall is how long a lookup may take without being suspected to have spent twice: a
// driver asks again when it has waited for half a second. A repeat is told what is
// left by then, and one that comes after more than backend.KeptSpends others counts
// again.
const stall = 400 * time.Millisecond

func (a answers) judge(e expected) error {
	var rests []int64
	stalled := 0
	for _, one := range a {
		s := one.limit(e.limit)
		if one.Took > stall {
			stalled++
		}
		switch {
		case one.Wrong != "":
			return fmt.Errorf("an answer that is never right: %s", one.Wrong)
		case one.Unchecked:
			return fmt.Errorf("it was not counted: %+v", one)
		case one.Reason != "" && one.Reason != keystore.ReasonRateLimited:
			return fmt.Errorf("refused for another reason: %+v", one)
		case s.Reset != e.reset.UnixMilli():
			return fmt.Errorf("the window ends at %v, and not at %v: %+v", time.UnixMilli(s.Reset).UTC(), e.reset, one)
		case one.passed():
			rests = append(rests, s.Remaining)
		case s.Remaining != 0:
			return fmt.Errorf("refused with %d left: %+v", s.Remaining, one)
		case one.RetryAfter != e.reset.Sub(e.now):
			return fmt.Errorf("to be retried after %v, and not %v", one.RetryAfter, e.reset.Sub(e.now))
		case fmt.Sprint(one.Exceeded) != "["+e.limit+"]":
			return fmt.Errorf("refused for %v, and not for %s alone", one.Exceeded, e.limit)
		}
	}
	if len(rests) > e.passes || len(rests) < e.passes-stalled {
		return fmt.Errorf("%d of %d passed, and not %d (%d took long)", len(rests), len(a), e.passes, stalled)
	}
	slices.Sort(rests)
	for i, rest := range slices.Backward(rests) {
		if due := e.left - int64(len(rests)-i); rest > due || rest < due && stalled == 0 {
			return fmt.Errorf("%d left was told, and not %d, in %v (%d took long)", rest, due, rests, stalled)
		}
	}
	return nil
}

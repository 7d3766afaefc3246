package keystore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// randomID is the id of a key that never was.
func randomID(t testing.TB) string {
	t.Helper()
	id, err := newID(testNoon)
	require.NoError(t, err)
	return id
}

func wrongSecret(id string) *LookupError {
	return &LookupError{Reason: ReasonWrongSecret, KeyID: id, err: ErrUnauthenticated}
}

func unknownKey(id string) *LookupError {
	return &LookupError{Reason: ReasonUnknownKey, KeyID: id, err: ErrUnauthenticated}
}

// sum is how many failures the events tell of.
func sum(events []Event) (failures int) {
	for _, e := range events {
		failures += e.Count
	}
	return failures
}

func kindsOf(trail *auditTrail) []refusalKind {
	trail.refusals.mu.Lock()
	defer trail.refusals.mu.Unlock()
	return slices.Collect(maps.Keys(trail.refusals.kinds))
}

func (r *refusals) counted() [2]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return [2]int{r.keys, r.unproven}
}

func TestFirstFailureIsToldAtOnceAndTheRestInSum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{}
		trail, _ := trailTo(t, a)
		began := time.Now().UTC()
		id, other := randomID(t), randomID(t)
		first := WithRequestID(WithActor(t.Context(), "bob"), "r-1")
		second := WithRequestID(WithActor(t.Context(), "eve"), "r-2")
		event := Event{Time: began, Action: ActionLookup, Outcome: OutcomeRefused, KeyID: id, Actor: "bob", RequestID: "r-1", Reason: ReasonWrongSecret, Count: 1}

		trail.refused(first, wrongSecret(id))
		synctest.Wait()
		require.Equal(t, []Event{event}, a.events(), "at once")

		time.Sleep(2 * time.Second)
		trail.refused(second, wrongSecret(id))
		time.Sleep(2 * time.Second)
		for range 40 {
			trail.refused(first, wrongSecret(id))
		}
		trail.refused(first, wrongSecret(other))
		synctest.Wait()
		require.Len(t, a.events(), 2, "another key is another kind")

		time.Sleep(refusedEvery)
		require.Equal(t, Event{
			Time: began.Add(2 * time.Second), Action: ActionLookup, Outcome: OutcomeRefused, KeyID: id, Actor: "eve", RequestID: "r-2", Reason: ReasonWrongSecret, Count: 41,
		}, a.events()[2], "all that followed, with the time, actor and request of the first")
		require.Len(t, a.events(), 3)

		trail.refused(first, wrongSecret(id)) // at 14 s
		synctest.Wait()
		require.Len(t, a.events(), 3, "an attack that goes on is one event in ten seconds")
		time.Sleep(refusedEvery)
		require.Len(t, a.events(), 4)
		time.Sleep(refusedEvery)
		require.Empty(t, kindsOf(trail), "forgotten after a quiet interval")
		require.Equal(t, [2]int{}, trail.refusals.counted())
		trail.refused(first, wrongSecret(id))
		synctest.Wait()
		require.Len(t, a.events(), 5, "and so at once again")

		trail.refused(first, wrongSecret(id))
		require.Zero(t, trail.close())
		require.Len(t, a.events(), 6, "what was summed is delivered at the end")
		require.Equal(t, 46, sum(a.events()))
	})
}

// Two callers see that there is no sum yet: the one that begins it is its first.
func TestTheFirstOfASumStaysIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{}
		trail, _ := trailTo(t, a)
		trail.refused(t.Context(), errMalformed) // an event of its own
		inside := false
		trail.now = func() time.Time { // is read between looking and entering
			if !inside {
				inside = true
				trail.refused(WithActor(t.Context(), "first"), errMalformed)
			}
			return testNoon
		}
		trail.refused(WithActor(t.Context(), "second"), errMalformed)
		require.Zero(t, trail.close())
		require.Len(t, a.events(), 2)
		require.Equal(t, "first", a.events()[1].Actor)
		require.Equal(t, 2, a.events()[1].Count)
	})
}

func TestWhatIsToldOfAFailure(t *testing.T) {
	id := randomID(t)
	outage := fmt.Errorf("%w: key %s: %w", ErrUnavailable, id, errors.New("connection refused"))
	for _, c := range []struct {
		err     *LookupError
		outcome Outcome
		owner   string
		detail  string
	}{
		{errMalformed, OutcomeRefused, "", ""},
		{errUnknownPrefix, OutcomeRefused, "", ""},
		{unknownKey(id), OutcomeRefused, "", ""},
		{&LookupError{Reason: ReasonRevoked, KeyID: id, Owner: "alice", err: ErrRevoked}, OutcomeRefused, "alice", ""},
		{&LookupError{Reason: ReasonMissingScope, KeyID: id, Owner: "alice", err: &ScopeError{[]string{"a:b"}}}, OutcomeRefused, "alice", "missing scope: a:b"},
		{&LookupError{Reason: ReasonInvalidScope, err: invalid("scope", "it is bad")}, OutcomeRefused, "", "keystore: invalid scope: it is bad"},
		{&LookupError{Reason: ReasonUnavailable, KeyID: id, err: outage}, OutcomeFailed, "", outage.Error()},
		{&LookupError{Reason: ReasonOwnerCheck, KeyID: id, Owner: "alice", err: ErrUnavailable}, OutcomeFailed, "alice", ErrUnavailable.Error()},
		{&LookupError{Reason: ReasonUnknownHash, KeyID: id, err: ErrUnavailable}, OutcomeFailed, "", ErrUnavailable.Error()},
		{&LookupError{Reason: ReasonCorrupt, KeyID: id, err: ErrCorrupt}, OutcomeFailed, "", ErrCorrupt.Error()},
	} {
		a := &spyAuditor{}
		trail, _ := trailTo(t, a)
		trail.refused(t.Context(), c.err)
		require.Zero(t, trail.close())
		require.Len(t, a.events(), 1)
		e := a.events()[0]
		require.WithinDuration(t, time.Now(), e.Time, time.Minute)
		e.Time = time.Time{}
		require.Equal(t, Event{
			Action: ActionLookup, Outcome: c.outcome, KeyID: c.err.KeyID, Owner: c.owner, Reason: c.err.Reason, Count: 1, Detail: c.detail,
		}, e)
	}
}

// The id of a refused lookup is a part of the token: what stays must not keep the
// whole of it in memory.
func TestNothingKeepsTheTokenInMemory(t *testing.T) {
	a, release := blocked()
	defer release()
	trail, _ := trailTo(t, a)
	token := forged(t, stray(t))
	_, id, _ := splitToken(token)
	trail.refused(t.Context(), unknownKey(id))
	trail.refused(t.Context(), unknownKey(id))
	trail.refusals.mu.Lock()
	defer trail.refusals.mu.Unlock()
	require.Len(t, trail.refusals.kinds, 1)
	for kind, of := range trail.refusals.kinds {
		for _, kept := range []string{kind.id, of.first.KeyID} {
			require.Equal(t, id, kept)
			require.False(t, unsafe.StringData(id) == unsafe.StringData(kept), "a part of the token")
		}
	}
}

// Ids that anybody can invent have little room, those of keys more; beyond it the
// reason alone is summed. Whatever comes, no failure is left out of the sums.
func TestKindsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{}
		trail, _ := trailTo(t, a)
		const flood = 20_000
		for range flood {
			trail.refused(t.Context(), unknownKey(randomID(t)))
		}
		require.Len(t, kindsOf(trail), maxUnproven+1, "and the one without an id")
		known := randomID(t)
		trail.refused(t.Context(), wrongSecret(known))
		trail.refused(t.Context(), wrongSecret(known))
		require.Contains(t, kindsOf(trail), refusalKind{ReasonWrongSecret, known}, "a flood of unknown ids hides no attack on a key")
		for range flood {
			trail.refused(t.Context(), &LookupError{Reason: ReasonExpired, KeyID: randomID(t), Owner: "alice", err: ErrExpired})
		}
		require.Len(t, kindsOf(trail), maxRefusedKeys+2)
		require.Zero(t, trail.close())
		require.Equal(t, 2*flood+2, sum(a.events()))
		require.LessOrEqual(t, len(a.events()), maxRefusedKeys+10)
		for _, e := range a.events() {
			if e.Count > 1 && e.KeyID == "" {
				require.Empty(t, e.Owner, "it is of many")
			}
		}
	})
}

// A flood of failures leaves half of the queue to changes, and waits for nothing,
// whatever the Auditor does.
func TestFailuresNeitherWaitNorCrowdOutChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, release := blocked()
		defer release()
		trail, _ := trailTo(t, a)
		trail.record(t.Context(), numbered(0))
		synctest.Wait() // the Auditor has it
		began := time.Now()
		const flood = 5000
		for range flood {
			trail.refused(t.Context(), wrongSecret(randomID(t)))
		}
		for n := range auditQueue / 2 {
			trail.record(t.Context(), numbered(1+n))
		}
		require.Zero(t, time.Since(began), "this clock moves only when all wait")
		require.Zero(t, trail.lost())
		for range 100 {
			trail.refused(t.Context(), wrongSecret(randomID(t)))
			trail.refused(t.Context(), errMalformed)
		}
		require.Zero(t, time.Since(began))
		release()
		time.Sleep(2 * refusedEvery)
		require.Zero(t, trail.close())
		require.Equal(t, flood+200+1+auditQueue/2, sum(a.events()))
	})
}

func TestSumsAreExactUnderContention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{}
		trail, _ := trailTo(t, a)
		kinds := []*LookupError{errMalformed, errUnknownPrefix}
		for range 10 {
			kinds = append(kinds, wrongSecret(randomID(t)), unknownKey(randomID(t)))
		}
		const callers, each = 64, 500
		var working sync.WaitGroup
		for caller := range callers {
			random := rand.New(rand.NewPCG(1, uint64(caller)))
			working.Go(func() {
				for n := range each {
					trail.refused(context.Background(), kinds[random.IntN(len(kinds))])
					if n%50 == caller%50 {
						time.Sleep(refusedEvery / 3) // so that sums are taken amid the work
					}
				}
			})
		}
		working.Wait()
		require.Zero(t, trail.close())
		require.Equal(t, callers*each, sum(a.events()))
		require.Greater(t, len(a.events()), 4*len(kinds))
	})
}

// BenchmarkRefused is what the audit adds to a lookup that fails.
func BenchmarkRefused(b *testing.B) {
	ids := make([]string, 4096)
	for i := range ids {
		ids[i] = randomID(b)
	}
	for name, failure := range map[string]func(n int) *LookupError{
		"one kind": func(int) *LookupError { return errMalformed },
		"unknown ids": func(n int) *LookupError {
			return &LookupError{Reason: ReasonUnknownKey, KeyID: ids[n%4096], err: ErrUnauthenticated}
		},
		"known ids": func(n int) *LookupError {
			return &LookupError{Reason: ReasonWrongSecret, KeyID: ids[n%512], err: ErrUnauthenticated}
		},
	} {
		for _, callers := range []int{1, 32} { // for each core
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				trail := newAuditTrail(&spyAuditor{}, time.Second, nil, time.Now)
				defer trail.close()
				b.SetParallelism(callers)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for n := rand.IntN(4096); pb.Next(); n++ {
						trail.refused(context.Background(), failure(n))
					}
				})
			})
		}
	}
}

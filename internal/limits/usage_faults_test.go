package limits

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/testserver"
)

// allowed is how many lookups of the key the store has counted.
func (f *fleet) allowed(t *testing.T, id string) int {
	t.Helper()
	f.admin.clock.set(noon.Add(time.Hour).UnixMilli(), false)
	sum := 0
	hours, err := f.admin.usage(id)
	require.NoError(t, err)
	for _, u := range hours {
		sum += int(u.Allowed)
	}
	return sum
}

// A process that is killed loses what it has counted since it last wrote.
func TestKilledBeforeAFlush(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		name  string
		start func(t *testing.T) store
	}{{"redis", startRedis}, {"mongo wire", startWire}, {"badger by socket", startBadgerBySocket}} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, s.start(t), settings{})
			id, token := f.key(t, keystore.KeyParams{})
			look := func(w doer, n int) {
				r, err := w.do(request{Do: "look", Now: noon.UnixMilli(), Callers: n, Each: 1, Tokens: []string{token}})
				require.NoError(t, err)
				require.Len(t, r.Answers.passed(), n)
			}
			first, second := f.workers[1].(*process), f.workers[2].(*process)
			look(first, 40)
			_, err := first.do(request{Do: "usage", ID: id}) // which writes
			require.NoError(t, err)
			look(first, 25)
			first.kill()
			require.Equal(t, 40, f.allowed(t, id))

			// By the interval.
			_, err = second.do(request{Do: "open", Settings: settings{UsageInterval: 20 * time.Millisecond}})
			require.NoError(t, err)
			look(second, 30)
			require.Eventually(t, func() bool { return f.allowed(t, id) == 70 }, patience, 5*time.Millisecond)
			look(second, 25)
			second.kill()
			got := f.allowed(t, id)
			require.True(t, got >= 70 && got <= 95, "%d", got)
		})
	}
}

// What a flush adds counts once, whatever becomes of its request and its reply.
func TestReplyOfAFlushIsLost(t *testing.T) {
	eachLossy(t, func(t *testing.T, l lossy) {
		f := startFleet(t, l.store, settings{})
		id, token := f.key(t, keystore.KeyParams{})
		w := f.workers[0]
		look := request{Do: "look", Now: noon.UnixMilli(), Callers: 7, Each: 1, Tokens: []string{token}}
		faults := sized([]testserver.Fault{testserver.DropReply, testserver.CutRequest}, // a driver tries for a second
			[]testserver.Fault{testserver.DropReply, testserver.CutReply, testserver.CutRequest, testserver.CutBefore})
		want, failed := 7, 0
		_, err := w.do(look)
		require.NoError(t, err)
		_, err = w.do(request{Do: "usage", ID: id}) // there is something that can be added to
		require.NoError(t, err)
		for range sized(1, 10) {
			for _, fault := range faults {
				r, err := w.do(look)
				require.NoError(t, err)
				require.Len(t, r.Answers.passed(), 7)
				want += 7
				is := l.names(id)
				l.line.SetPlan(func(request []byte) testserver.Fault {
					if is(request) {
						return fault
					}
					return testserver.Pass
				})
				if _, err := w.do(request{Do: "usage", ID: id}); err != nil {
					failed++
				}
				l.line.SetPlan(nil)
				_, err = w.do(look) // more is counted while the flush has not succeeded
				require.NoError(t, err)
				want += 7
				_, err = w.do(request{Do: "usage", ID: id})
				require.NoError(t, err)
				require.Equal(t, want, f.allowed(t, id), "after fault %v", fault)
			}
		}
		require.Positive(t, failed)
	})
}

// A store that is down for a while loses nothing of what passed meanwhile.
func TestUsageOutlastsAnOutage(t *testing.T) {
	eachLossy(t, func(t *testing.T, l lossy) {
		o := settings{Open: true, UsageInterval: 10 * time.Millisecond}
		f := startFleet(t, l.store, o)
		id, token := f.key(t, keystore.KeyParams{})
		f.open(t, o) // they hear no more of the key's making, upon which they would forget it
		want := 0
		look := func(q request) {
			q.Do, q.Callers, q.Tokens = "look", 64, []string{token}
			for _, one := range gather(f.each(t, q)) {
				if one.passed() {
					want++
				}
			}
		}
		look(request{Now: noon.UnixMilli(), Running: true, Each: 1})
		require.Equal(t, 64, want)
		l.line.Refuse(true)
		for range sized(1, 5) {
			before := f.each(t, request{Do: "calls"})
			look(request{Each: 2})
			require.Eventually(t, func() bool { // each of them has tried to write it
				for i, r := range f.each(t, request{Do: "calls"}) {
					if r.Flushes <= before[i].Flushes {
						return false
					}
				}
				return true
			}, patience, 5*time.Millisecond)
		}
		require.Greater(t, want, 64, "nothing passed while the store was down")
		l.line.Refuse(false)
		look(request{Each: 2})
		f.each(t, request{Do: "close"})
		require.Equal(t, want, f.allowed(t, id))
	})
}

package fleet

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readers is how many processes look keys up.
const readers = 2

// condition is what a fleet works under.
type condition struct {
	name    string
	mode    mode // of the readers' channel
	restart bool // of the server, while the changes are made
}

var conditions = []condition{
	{name: "normal"},
	{name: "channel-cut", mode: cut},
	{name: "channel-silent", mode: silent},
	{name: "restart", restart: true},
}

// No lookup that begins later than a change has returned elsewhere, plus CacheTTL, is
// accepted in spite of it, and no new token is refused for longer than a slot, or at all,
// whatever is broken.
func TestFleet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		start   func(t *testing.T) store
		rounds  int
		perKind int // changes in a round
	}{
		{"redis", startRedis, sized(1, 10), sized(4, 20)},
		{"cluster", startCluster, sized(1, 10), sized(4, 20)},
		{"mongowire", startWire, sized(1, 10), sized(4, 20)},
		{"ferretdb", startFerretDB, sized(0, 2), 4}, // it reads all documents to find one
	} {
		if c.rounds == 0 {
			continue
		}
		t.Run("backend="+c.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, c.start(t), sized(2*time.Second, 0))
			for _, cond := range conditions {
				if cond.mode == cut && c.name == "ferretdb" {
					continue // it cannot be told to refuse polls only
				}
				t.Run("condition="+cond.name, func(t *testing.T) { f.run(t, c.name, cond, c.rounds, c.perKind) })
			}
		})
	}
}

// run makes changes under a condition and judges them.
func (f *fleet) run(t *testing.T, backend string, cond condition, rounds, perKind int) {
	var all []verdict
	for range rounds {
		all = append(all, f.round(t, cond, perKind)...)
	}
	report(t, backend, cond.name, f.bound, all)
	cached, heard, refusals := 0, 0, 0
	for _, v := range all {
		assert.Empty(t, v.Violations, "violation")
		assert.Empty(t, v.Void, "nothing is proved")
		cached += v.Cached
		heard += v.Heard
		refusals += v.Refusals
	}
	// What refuses a token was read after the lookup began, and so after the rotation.
	assert.Zero(t, refusals, "new tokens were refused")
	if cond.mode != whole {
		// A poll that was under way when the channel broke may tell one reader of all.
		assert.Less(t, heard, sized(len(all)*readers, len(all)*readers/2), "changes were heard of, so the channel is not broken")
	}
	if !cond.restart { // then what has expired cannot be read again at once
		assert.Greater(t, 2*cached, len(all)*readers, "hardly any key was cached when it was changed")
	}
}

// A fleet whose readers keep what they read for longer than they are judged by is
// found out: the test can fail.
func TestFleetWithABrokenBound(t *testing.T) {
	t.Parallel()
	f := startFleet(t, startWire(t), time.Minute)
	f.bound = time.Second
	found := make(map[kind]int)
	for _, v := range f.round(t, condition{mode: silent}, 2) {
		require.Empty(t, v.Void)
		found[v.Kind] += len(v.Violations)
	}
	// Each of two changes, at each of the readers. A new token has the key read again,
	// wherever it is presented.
	assert.Equal(t, map[kind]int{revoke: 4, rotate: 4, renew: 0, disable: 4, narrow: 4, remove: 4}, found)
}

// fleet is processes that share a store.
type fleet struct {
	store   store
	changer *process
	readers []*process
	bound   time.Duration // by which the readers are judged
}

// startFleet starts a fleet whose readers have a CacheTTL, 0: the default.
func startFleet(t *testing.T, s store, cacheTTL time.Duration) *fleet {
	t.Helper()
	j := job{Role: "changer", Driver: s.driver, URL: s.url, Addrs: s.addrs}
	f := &fleet{store: s, changer: start(t, j)} // first, for it makes the indexes
	j.Role, j.CacheTTL = "reader", cacheTTL
	for range readers {
		f.readers = append(f.readers, start(t, j))
	}
	f.mend(t)
	f.bound = f.each(t, request{Do: "stats"})[0].Stats.Bound
	return f
}

// each has every reader do something.
func (f *fleet) each(t *testing.T, q request) []reply {
	t.Helper()
	var all []reply
	for _, p := range f.readers {
		r, err := p.call(q)
		require.NoError(t, err)
		all = append(all, r)
	}
	return all
}

// margin is how long after the bound keys are still looked up.
var margin = sized(200*time.Millisecond, time.Second)

// round makes keys, has the readers serve them until they have them cached, changes
// the keys, and has the readers go on until the bound has passed.
func (f *fleet) round(t *testing.T, cond condition, perKind int) []verdict {
	t.Helper()
	made, err := f.changer.call(request{Do: "generate", Count: perKind})
	require.NoError(t, err)
	keys := made.Keys
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var ids []string
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	f.each(t, request{Do: "serve", Keys: keys})
	f.each(t, request{Do: "warm", IDs: ids})
	if cond.mode != whole {
		f.setChannel(t, cond.mode)
		f.each(t, request{Do: "warm", IDs: ids}) // a lost channel empties the caches
	}
	if long() {
		time.Sleep(rand.N(f.bound)) // so that what is cached is of any age
	}
	changes := f.changeAll(t, keys, cond.restart)
	until := changes[len(changes)-1].Returned + int64(f.bound+margin)
	seen := f.each(t, request{Do: "retire", IDs: ids, Until: until})
	if cond.mode != whole {
		f.mend(t)
	}
	lost, err := f.changer.call(request{Do: "verify", Keys: keys})
	require.NoError(t, err)
	require.Empty(t, lost.Keys, "the store lost changes that it had acknowledged")

	var verdicts []verdict
	for _, c := range changes {
		var all []observation
		for _, r := range seen {
			all = append(all, r.Seen[c.Key.ID])
		}
		verdicts = append(verdicts, judge(c, all, f.bound))
	}
	return verdicts
}

// setChannel breaks the channel of the readers.
func (f *fleet) setChannel(t *testing.T, m mode) {
	t.Helper()
	if f.store.refusePolls != nil && m != silent {
		f.store.refusePolls(m == cut)
		m = whole
	}
	f.each(t, request{Do: "channel", Mode: m})
}

// mend makes the channel whole again, and waits until the readers hear of changes.
func (f *fleet) mend(t *testing.T) {
	t.Helper()
	f.setChannel(t, whole)
	var ids []string
	require.Eventually(t, func() bool {
		made, err := f.changer.call(request{Do: "generate", Count: 1})
		require.NoError(t, err)
		ids = append(ids, made.Keys[0].ID)
		heard := 0
		for _, r := range f.each(t, request{Do: "heard", IDs: ids}) {
			if r.Heard {
				heard++
			}
		}
		return heard == readers
	}, patience, 100*time.Millisecond, "the readers hear of no changes any more")
}

// changeAll makes the changes of all keys, one after the other, and restarts the
// server meanwhile, if that is wanted.
func (f *fleet) changeAll(t *testing.T, keys []key, restart bool) []change {
	t.Helper()
	var changes []change
	var failure error
	some := make(chan struct{}) // closed when some changes are made
	pause := gap
	if restart {
		pause *= 8 // so that there are some before, meanwhile and after
	}
	var making sync.WaitGroup
	making.Go(func() {
		begun := sync.OnceFunc(func() { close(some) })
		defer begun()
		for i, k := range keys {
			if i == len(keys)/4 {
				begun()
			}
			c, err := f.change(k)
			if err != nil {
				failure = err
				return
			}
			changes = append(changes, c)
			time.Sleep(pause)
		}
	})
	func() {
		defer making.Wait()
		if <-some; restart {
			f.store.restart(t)
		}
	}()
	require.NoError(t, failure)
	return changes
}

// gap is between two changes.
const gap = 5 * time.Millisecond

// change makes one change, and hands a new token that is in use at once to the readers.
func (f *fleet) change(k key) (change, error) {
	r, err := f.changer.call(request{Do: "change", Keys: []key{k}})
	if err != nil || k.Kind != renew {
		return r.Change, err
	}
	k.Token = r.Change.NewToken
	for _, p := range f.readers {
		if _, err := p.call(request{Do: "present", Keys: []key{k}}); err != nil {
			return change{}, err
		}
	}
	return r.Change, nil
}

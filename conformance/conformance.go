// Package conformance tests that a store of keys does what package backend asks
// of it. The author of a driver calls [Run] from a test of the driver:
//
//	func TestConformance(t *testing.T) {
//		dir := t.TempDir()
//		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
//			b, err := mystore.Open(filepath.Join(dir, name))
//			if err != nil {
//				tb.Fatal(err)
//			}
//			return b
//		})
//	}
//
// A subtest is named by its topic and by what it checks, so that one can be run
// alone: go test -run 'TestConformance/races/one_Create_wins'. What fails names
// the rule that is broken, in the words of the contract.
//
// Every subtest works in a store of its own, of fewer than 300 records. No
// verdict depends on how long something takes: Purge is told the time, and the
// only waits are bounded ones for what must happen. The package needs nothing
// but the standard library.
package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/keystore/backend"
)

// Opener opens a new handle to the store called name, or ends the test. The
// same name is the same store, with the same records; another name is another
// store, which is empty at first. Once all handles are closed, opening the name
// again finds the records. Names are made of lower-case letters and digits, at
// most 20 of them, and begin with a letter. Run closes the handles that it opens.
type Opener func(tb testing.TB, name string) backend.Backend

// Run tests the backend that open opens. What is optional is skipped, with a line
// that says so, where the backend does not implement it: [backend.Watcher] (topic
// watch), [backend.Counter] (topics spend and counts) and [backend.Meter] (topics
// usage).
func Run(t *testing.T, open Opener) {
	for _, topic := range topics {
		t.Run(topic.name, func(t *testing.T) {
			for _, c := range topic.checks {
				t.Run(c.name, func(t *testing.T) { c.run(newStore(t, open)) })
			}
		})
	}
}

var topics = []struct {
	name   string
	checks []check
}{
	{"roundtrip", roundtripChecks},
	{"boundary", boundaryChecks},
	{"memory", isolationChecks},
	{"repeat", repeatChecks},
	{"pages", pagesChecks},
	{"owners", ownersChecks},
	{"touch", touchChecks},
	{"purge", purgeChecks},
	{"handles", handlesChecks},
	{"reopen", reopenChecks},
	{"races", racesChecks},
	{"cancel", cancelChecks},
	{"close", closeChecks},
	{"watch", watchChecks},

	{"spend", spendChecks},
	{"spend repeat", spendRepeatChecks},
	{"spend races", spendRacesChecks},
	{"counts", countsChecks},
	{"counts purge", countsPurgeChecks},
	{"counts upkeep", countsUpkeepChecks},

	{"usage", usageChecks},
	{"usage repeat", usageRepeatChecks},
	{"usage purge", usagePurgeChecks},
	{"usage upkeep", usageUpkeepChecks},
}

// check is one subtest.
type check struct {
	name string
	run  func(s *store)
}

// patience is how long a check waits for something that must happen before it
// takes it for something that never will.
var patience = 10 * time.Second

// store is what one check works on: a store of its own, through as many handles
// as the check likes.
type store struct {
	*testing.T
	ctx  context.Context
	name string
	open Opener
}

func newStore(t *testing.T, open Opener) *store {
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	t.Cleanup(cancel)
	name := "c" + strings.ToLower(rand.Text()[:15])
	return &store{T: t, ctx: ctx, name: name, open: open}
}

// handle opens a handle to the store, which is closed when the check ends.
func (s *store) handle() backend.Backend {
	s.Helper()
	return s.openNamed(s.name)
}

// handles opens n handles to the store.
func (s *store) handles(n int) []backend.Backend {
	s.Helper()
	handles := make([]backend.Backend, n)
	for i := range handles {
		handles[i] = s.handle()
	}
	return handles
}

func (s *store) openNamed(name string) backend.Backend {
	s.Helper()
	b := s.open(s.T, name)
	if b == nil {
		s.Fatal("the opener returned no backend")
	}
	s.Cleanup(func() { s.close(b) })
	return b
}

// close closes b, once more if it is closed already.
func (s *store) close(b backend.Backend) {
	s.Helper()
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			rule("Close returns nil, a second time too").Errorf(s, "error is %v", err)
		}
	case <-time.After(patience):
		rule("Close returns").Errorf(s, "it still has not after %v", patience)
	}
}

// rule is a sentence of the contract. A failure names the one that is broken.
type rule string

// Errorf fails the check and lets it go on. It may be called on any goroutine.
func (r rule) Errorf(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Errorf("rule %q: %s", string(r), fmt.Sprintf(format, args...))
}

// Fatalf ends the check. It may only be called on the goroutine of the check.
func (r rule) Fatalf(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Fatalf("rule %q: %s", string(r), fmt.Sprintf(format, args...))
}

// ok ends the check if err is not nil.
func (s *store) ok(r rule, err error) {
	s.Helper()
	if err != nil {
		r.Fatalf(s, "error is %v", err)
	}
}

// answers are the sentinels that tell how a call went. At most one is true.
var answers = []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed}

// is reports an err that is not want, wrapped or bare, or that is one of the
// answers as well.
func (s *store) is(r rule, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		r.Errorf(s, "error is %v, want %v", err, want)
		return
	}
	if answer := answerIn(err); answer != nil && !errors.Is(want, answer) {
		r.Errorf(s, "error is %v, which is %q as well", err, answer)
	}
}

// answerIn returns the first of the answers that err is, or nil.
func answerIn(err error) error {
	for _, answer := range answers {
		if errors.Is(err, answer) {
			return answer
		}
	}
	return nil
}

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
)

// Target is a store with a proxy before it.
type Target struct {
	Proxy  *testserver.Proxy
	Broken backend.Backend // through the proxy
	Sound  backend.Backend // the same store, past it

	// Match reports whether a request is about records, and not about the
	// connection. The driver sends each in one piece.
	Match func(request []byte) bool
}

var faults = []struct {
	name  string
	fault testserver.Fault
}{
	{"the request", testserver.CutBefore},
	{"half of the request", testserver.CutRequest},
	{"the reply", testserver.DropReply},
	{"half of the reply", testserver.CutReply},
	{"the reply, in silence", testserver.HangReply},
}

// Operations makes each operation of a keystore again and again and loses, each time,
// another one of its requests, or all from that one on. What the operation says is
// then true: it is done, it is not, or that is not known. A lookup is answered
// rightly or not at all.
//
// open makes a target with an empty store of its own for each of the operations,
// which are tested at the same time.
func Operations(t *testing.T, open func(t *testing.T) Target) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := open(t)
			s := &sufferer{
				Target: target,
				broken: newKeystore(t, target.Broken), sound: newKeystore(t, target.Sound),
				later:   newKeystoreAt(t, target.Broken, func() time.Time { return time.Now().Add(2 * retention) }),
				inDoubt: make(map[string]bool),
			}
			for _, f := range faults {
				for _, lasting := range []bool{false, true} {
					s.each(t, c, f.name, f.fault, lasting)
				}
			}
		})
	}
}

// operationCase is an operation with what must come before.
type operationCase struct {
	name   string
	before []operation
	do     func(ctx context.Context, s *sufferer, e *entry) (loss string, wrong error)
}

func changing(op operation, before ...operation) operationCase {
	return operationCase{op.name, before, func(ctx context.Context, s *sufferer, e *entry) (string, error) {
		_, loss, wrong := e.do(ctx, s.broken, op)
		return loss, wrong
	}}
}

var made = generate("owner")

var cases = []operationCase{
	changing(made),
	changing(rename("new"), made),
	changing(rotate, made),
	changing(revoke, made),
	changing(remove, made),
	{"Get", []operation{made}, func(ctx context.Context, s *sufferer, e *entry) (string, error) {
		_, loss, wrong := e.get(ctx, s.broken)
		return loss, wrong
	}},
	{"Lookup", []operation{made, rotate}, func(ctx context.Context, s *sufferer, e *entry) (string, error) {
		_, loss, wrong := e.lookup(ctx, s.broken, 1)
		return loss, wrong
	}},
	{"Lookup of a revoked key", []operation{made, revoke}, func(ctx context.Context, s *sufferer, e *entry) (string, error) {
		_, loss, wrong := e.lookup(ctx, s.broken, 1)
		return loss, wrong
	}},
	{"List", []operation{made}, func(ctx context.Context, s *sufferer, e *entry) (string, error) {
		var err error
		for key, keyErr := range s.broken.All(ctx, "") {
			if err = keyErr; err == nil && key.ID == e.id {
				return "", nil
			}
		}
		if err == nil {
			err = errors.New("it is not listed")
		} else if errors.Is(err, keystore.ErrUnavailable) {
			err = nil
		}
		return "", err
	}},
	{"Purge", []operation{made, revoke}, func(ctx context.Context, s *sufferer, e *entry) (string, error) {
		n, err := s.later.Purge(ctx)
		switch {
		case err == nil && n == 1:
			e.acknowledge(state{})
		case err != nil && errors.Is(err, keystore.ErrUnavailable):
			e.maybe = &state{}
		default:
			return "", fmt.Errorf("purge of one key: %d, %w", n, err)
		}
		return "", nil
	}},
}

// sufferer is who suffers the faults, and who sees what came of them.
type sufferer struct {
	Target
	broken, sound *keystore.Keystore
	later         *keystore.Keystore // broken, at a time when what was revoked is due
	inDoubt       map[string]bool    // ids of keys that may yet come to be
}

// callTime is what a caller waits for an operation whose requests get no reply.
const callTime = 600 * time.Millisecond

// each has the operation suffer the fault at its first request, then at its second,
// until there are no more. lasting: at all that follow, too.
func (s *sufferer) each(t *testing.T, c operationCase, name string, fault testserver.Fault, lasting bool) {
	t.Helper()
	for n := 1; ; n++ {
		what := fmt.Sprintf("%s with %s lost at request %d, lasting: %v", c.name, name, n, lasting)
		e := &entry{}
		for _, op := range c.before {
			_, loss, wrong := e.do(testContext(t), s.sound, op)
			require.NoError(t, wrong, what)
			require.Empty(t, loss, what)
		}
		requests := 0 // counted under a lock of the proxy's
		s.Proxy.SetPlan(func(request []byte) testserver.Fault {
			if !s.Match(request) {
				return testserver.Pass
			}
			if requests++; requests == n || lasting && requests > n {
				return fault
			}
			return testserver.Pass
		})
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		loss, wrong := c.do(ctx, s, e)
		cancel()
		s.Proxy.SetPlan(nil)
		require.NoError(t, wrong, what)
		require.Empty(t, loss, what)
		if e.id != "" {
			for _, look := range []func(context.Context, *keystore.Keystore) (bool, string, error){e.get, e.lookupNewest} {
				answered, loss, wrong := look(testContext(t), s.sound)
				require.True(t, answered, what)
				require.NoError(t, wrong, what)
				require.Empty(t, loss, what)
			}
		}
		s.clear(t, e)
		// Not by the count of faults: the call may have given up before a slow server
		// replied, and a reply that was never given is not lost.
		if requests < n {
			require.Greater(t, n, 1, "%s: no request matches", what)
			return
		}
	}
}

func (e *entry) lookupNewest(ctx context.Context, s *keystore.Keystore) (answered bool, loss string, wrong error) {
	return e.lookup(ctx, s, max(e.now.generation, 1))
}

// clear empties the store of the entry's key, and of keys that came late.
func (s *sufferer) clear(t *testing.T, e *entry) {
	t.Helper()
	s.inDoubt[e.id] = e.maybe != nil
	for key, err := range s.sound.All(testContext(t), "") {
		require.NoError(t, err)
		require.True(t, key.ID == e.id || s.inDoubt[key.ID], "a key that was never made")
		if err := s.sound.Delete(testContext(t), key.ID); !s.inDoubt[key.ID] || !errors.Is(err, keystore.ErrNotFound) {
			require.NoError(t, err)
		} // else a Delete in doubt has come late, after the key was listed
	}
}

package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// calls are the operations of a Keystore or an OwnerView by method name. Those
// of a view have the same names.
type calls map[string]func(ctx context.Context, id, token string) error

func keystoreCalls(ks *keystore.Keystore) calls {
	return calls{
		"Lookup": func(ctx context.Context, _, token string) error {
			_, err := ks.Lookup(ctx, token)
			return err
		},
		"LookupWith": func(ctx context.Context, _, token string) error {
			_, err := ks.LookupWith(ctx, token, keystore.LookupParams{})
			return err
		},
		"Hash": func(_ context.Context, _, token string) error {
			_, err := ks.Hash(token)
			return err
		},
		"Ping":  func(ctx context.Context, _, _ string) error { return ks.Ping(ctx) },
		"Purge": func(ctx context.Context, _, _ string) error { _, err := ks.Purge(ctx); return err },
		"CountDigests": func(ctx context.Context, _, _ string) error {
			_, err := ks.CountDigests(ctx)
			return err
		},
		"Generate": func(ctx context.Context, _, _ string) error {
			_, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "owner"})
			return err
		},
		"List": func(ctx context.Context, _, _ string) error {
			_, _, err := ks.List(ctx, keystore.ListParams{})
			return err
		},
		"All":       func(ctx context.Context, _, _ string) error { return firstError(ks.All(ctx, "owner")) },
		"RevokeAll": func(ctx context.Context, _, _ string) error { _, err := ks.RevokeAll(ctx, "owner", ""); return err },
		"Get":       func(ctx context.Context, id, _ string) error { _, err := ks.Get(ctx, id); return err },
		"Update": func(ctx context.Context, id, _ string) error {
			_, err := ks.Update(ctx, id, increment(""))
			return err
		},
		"Expire": func(ctx context.Context, id, _ string) error {
			_, err := ks.Expire(ctx, id, time.Now().Add(time.Hour))
			return err
		},
		"ClearExpiry": func(ctx context.Context, id, _ string) error { _, err := ks.ClearExpiry(ctx, id); return err },
		"Rotate": func(ctx context.Context, id, _ string) error {
			_, _, err := ks.Rotate(ctx, id, 0, nil)
			return err
		},
		"Peek": func(ctx context.Context, _, token string) error {
			_, err := ks.Peek(ctx, token, keystore.LookupParams{})
			return err
		},
		"LimitsOf":    func(ctx context.Context, id, _ string) error { _, err := ks.LimitsOf(ctx, id); return err },
		"ResetLimits": func(ctx context.Context, id, _ string) error { return ks.ResetLimits(ctx, id) },
		"Usage": func(ctx context.Context, id, _ string) error {
			return firstError(ks.Usage(ctx, id, time.Time{}, time.Time{}))
		},
		"OwnerUsage": func(ctx context.Context, _, _ string) error {
			return firstError(ks.OwnerUsage(ctx, "owner", time.Time{}, time.Time{}))
		},
		"EndGrace": func(ctx context.Context, id, _ string) error { _, err := ks.EndGrace(ctx, id); return err },
		"Revoke":   func(ctx context.Context, id, _ string) error { _, err := ks.Revoke(ctx, id, ""); return err },
		"Delete":   func(ctx context.Context, id, _ string) error { return ks.Delete(ctx, id) },
	}
}

func viewCalls(v *keystore.OwnerView) calls {
	return calls{
		"Generate": func(ctx context.Context, _, _ string) error {
			_, _, err := v.Generate(ctx, keystore.KeyParams{})
			return err
		},
		"List": func(ctx context.Context, _, _ string) error {
			_, _, err := v.List(ctx, keystore.ListParams{})
			return err
		},
		"All":       func(ctx context.Context, _, _ string) error { return firstError(v.All(ctx)) },
		"RevokeAll": func(ctx context.Context, _, _ string) error { _, err := v.RevokeAll(ctx, ""); return err },
		"Get":       func(ctx context.Context, id, _ string) error { _, err := v.Get(ctx, id); return err },
		"Update": func(ctx context.Context, id, _ string) error {
			_, err := v.Update(ctx, id, increment(""))
			return err
		},
		"Expire": func(ctx context.Context, id, _ string) error {
			_, err := v.Expire(ctx, id, time.Now().Add(time.Hour))
			return err
		},
		"ClearExpiry": func(ctx context.Context, id, _ string) error { _, err := v.ClearExpiry(ctx, id); return err },
		"Rotate": func(ctx context.Context, id, _ string) error {
			_, _, err := v.Rotate(ctx, id, 0, nil)
			return err
		},
		"LimitsOf": func(ctx context.Context, id, _ string) error { _, err := v.LimitsOf(ctx, id); return err },
		"Usage": func(ctx context.Context, id, _ string) error {
			return firstError(v.Usage(ctx, id, time.Time{}, time.Time{}))
		},
		"OwnerUsage": func(ctx context.Context, _, _ string) error {
			return firstError(v.OwnerUsage(ctx, time.Time{}, time.Time{}))
		},
		"EndGrace": func(ctx context.Context, id, _ string) error { _, err := v.EndGrace(ctx, id); return err },
		"Revoke":   func(ctx context.Context, id, _ string) error { _, err := v.Revoke(ctx, id, ""); return err },
		"Delete":   func(ctx context.Context, id, _ string) error { return v.Delete(ctx, id) },
	}
}

func firstError[T any](all iter.Seq2[T, error]) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// requireEveryMethod checks that the calls cover the method set of a type.
func requireEveryMethod(t *testing.T, of any, c calls, except ...string) {
	t.Helper()
	typ := reflect.TypeOf(of)
	for i := range typ.NumMethod() {
		name := typ.Method(i).Name
		if !strings.Contains(" "+strings.Join(except, " ")+" ", " "+name+" ") {
			require.Contains(t, c, name, "a method that these tests do not call")
		}
	}
}

// TestEveryMethodIsErrClosedAfterClose, whether the backend was closed with the
// Keystore or is open still.
func TestEveryMethodIsErrClosedAfterClose(t *testing.T) {
	for _, owned := range []bool{false, true} {
		var ks *keystore.Keystore
		if owned {
			var err error
			ks, err = keystore.Open(t.Context(), "memory://", nil)
			require.NoError(t, err)
		} else {
			ks = newStoreOn(t, memory.New(), keystore.Options{})
		}
		token, key := generate(t, ks)
		view := ks.ForOwner("owner")
		all := map[string]calls{"Keystore": keystoreCalls(ks), "OwnerView": viewCalls(view)}
		requireEveryMethod(t, ks, all["Keystore"], "Close", "ForOwner", "Stats", "DefaultExpiry", "Now", "Plans", "CanLimit", "CanMeter")
		requireEveryMethod(t, view, all["OwnerView"], "Owner")
		require.NoError(t, ks.Close())
		require.NoError(t, ks.Close(), "a second Close returns what the first did")
		for of, calls := range all {
			for name, call := range calls {
				t.Run(fmt.Sprintf("%s.%s, backend closed: %v", of, name, owned), func(t *testing.T) {
					err := call(t.Context(), key.ID, token)
					require.ErrorIs(t, err, keystore.ErrClosed)
					require.False(t, isAny(err, keystore.ErrUnauthenticated, keystore.ErrUnavailable), "%v", err)
					if strings.HasPrefix(name, "Lookup") {
						requireReason(t, keystore.ReasonClosed, err)
					}
				})
			}
		}
	}
}

// closable counts how often a backend is closed, under a URL scheme.
var closable struct {
	closed atomic.Int64
	err    error
}

func init() {
	backend.Register("closable", func(context.Context, string, *backend.OpenOptions) (backend.Backend, error) {
		return faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
			if c.Method != faulty.Close {
				return nil
			}
			closable.closed.Add(1)
			if closable.err != nil {
				return faulty.LoseReply(closable.err)
			}
			return nil
		}), nil
	})
}

func TestCloseClosesOnlyWhatOpenOpened(t *testing.T) {
	store := faulty.New(memory.New(), nil)
	ks := newStoreOn(t, store, keystore.Options{})
	require.NoError(t, ks.Close())
	require.Zero(t, store.Calls(faulty.Close), "New did not open it")

	for _, fails := range []error{nil, errInjected} {
		closable.closed.Store(0)
		closable.err = fails
		ks, err := keystore.Open(t.Context(), "closable://", nil)
		require.NoError(t, err)
		var all sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			all.Go(func() { errs[i] = ks.Close() })
		}
		all.Wait()
		require.Equal(t, int64(1), closable.closed.Load())
		for _, err := range errs {
			require.Equal(t, errs[0], err, "every Close returns the same")
			require.Equal(t, fails != nil, errors.Is(err, keystore.ErrUnavailable))
			require.ErrorIs(t, err, fails)
		}
	}
}

// TestCloseDuringCalls: each call succeeds, or says that the store was closed.
func TestCloseDuringCalls(t *testing.T) {
	for _, url := range []string{"memory://", "badger://?memory=1", ""} {
		t.Run(url, func(t *testing.T) {
			for range 5 {
				closeDuringCalls(t, url)
			}
		})
	}
}

func closeDuringCalls(t *testing.T, url string) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	opts := keystore.Options{TouchInterval: time.Millisecond, PurgeInterval: time.Millisecond, Rehash: true, Hash: newAlternating(t)}
	var ks *keystore.Keystore
	var err error
	if url == "" {
		ks, err = keystore.New(memory.New(), &opts)
	} else {
		ks, err = keystore.Open(t.Context(), url, &opts)
	}
	require.NoError(t, err)
	token, key := generate(t, ks)
	type call struct {
		name string
		do   func(ctx context.Context, id, token string) error
	}
	var list []call
	for of, calls := range map[string]calls{"Keystore.": keystoreCalls(ks), "OwnerView.": viewCalls(ks.ForOwner("owner"))} {
		for name, do := range calls {
			switch name {
			case "RevokeAll": // it would end the key of the others, as would the next three
			case "Revoke", "Delete", "Rotate":
				own, _ := generate(t, ks)
				id := own[len("ks_") : len("ks_")+16]
				list = append(list, call{of + name, func(ctx context.Context, _, _ string) error {
					err := do(ctx, id, "")
					if isAny(err, keystore.ErrState, keystore.ErrNotFound) {
						return nil // the second time
					}
					return err
				}})
			default:
				list = append(list, call{of + name, do})
			}
		}
	}
	var running, all sync.WaitGroup
	running.Add(racers)
	var sawClosed atomic.Int64
	for i := range racers {
		all.Go(func() {
			for n := range 500 { // an endless stream of new keys would be an endless listing
				c := list[(i*7+n)%len(list)]
				err := c.do(t.Context(), key.ID, token)
				if n == 0 {
					running.Done()
				}
				switch {
				case errors.Is(err, keystore.ErrClosed):
					sawClosed.Add(1)
					return
				case err == nil, isAny(err, keystore.ErrConflict):
				case isAny(err, keystore.ErrUnauthenticated, keystore.ErrNotFound, keystore.ErrCorrupt, keystore.ErrState), !isAny(err, keystore.ErrUnavailable):
					t.Errorf("%s during Close: %v", c.name, err)
					return
				}
			}
		})
	}
	running.Wait()
	closeErr := ks.Close()
	all.Wait()
	require.Positive(t, sawClosed.Load())
	if closeErr != nil {
		require.ErrorContains(t, closeErr, "last-used times were lost")
	}
	goleak.VerifyNone(t, ignore)
}

// TestCloseEndsAllBackgroundWorkEvenIfTheBackendBlocks, within its bound.
func TestCloseEndsAllBackgroundWorkEvenIfTheBackendBlocks(t *testing.T) {
	for _, c := range []struct {
		name             string
		opTimeout, bound time.Duration
	}{{"default", 0, 2 * time.Second}, {"set", 5 * time.Second, 5 * time.Second}, {"Never", keystore.Never, 2 * time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				ks := newStoreOn(t, b.store, keystore.Options{
					OpTimeout: c.opTimeout, TouchInterval: time.Minute, PurgeInterval: time.Minute, Rehash: true, Hash: newAlternating(t), AcceptHash: []keystore.Hasher{keystore.SHA256()},
				})
				token, _ := generate(t, b.plain)
				b.fail(faulty.Only(faulty.Block, faulty.Touch, faulty.Purge, faulty.Update))
				_, err := ks.Lookup(t.Context(), token)
				require.NoError(t, err)
				time.Sleep(2 * time.Minute)
				start := time.Now()
				err = ks.Close()
				require.Equal(t, c.bound, time.Since(start))
				require.ErrorIs(t, err, keystore.ErrUnavailable)
				require.ErrorContains(t, err, "1 last-used times were lost")
				require.Equal(t, err, ks.Close())
			})
		})
	}
}

package keystore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// A panic of the store may come after a change: nobody says that there was none.
func TestAPanicOfTheStoreIsAnUnknownOutcome(t *testing.T) {
	for name, change := range map[string]func(ks *Keystore, key Key){
		"revoke":     func(ks *Keystore, key Key) { _, _ = ks.Revoke(t.Context(), key.ID, "") },
		"revoke_all": func(ks *Keystore, key Key) { _, _ = ks.RevokeAll(t.Context(), key.Owner, "") },
		"purge":      func(ks *Keystore, _ Key) { _, _ = ks.Purge(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &spyAuditor{}
				ks, err := New(panicsAfter{memory.New()}, &Options{Audit: a, TouchInterval: Never, PurgeInterval: Never})
				require.NoError(t, err)
				defer ks.Close()
				_, key, err := ks.Generate(t.Context(), KeyParams{Owner: "alice"})
				require.NoError(t, err)
				require.PanicsWithValue(t, "after it", func() { change(ks, key) })
				synctest.Wait()
				require.Len(t, a.events(), 2)
				e := a.events()[1]
				require.Equal(t, OutcomeUnknown, e.Outcome)
				require.Equal(t, ErrPanicked.Error(), e.Detail)
				if name != "purge" {
					require.Equal(t, key.ID, e.KeyID)
					key, err = ks.Get(t.Context(), key.ID)
					require.NoError(t, err)
					require.Equal(t, Revoked, key.State(time.Now()))
				}
			})
		})
	}
}

// panicsAfter is a store that panics when it has made a change.
type panicsAfter struct{ *memory.Backend }

func (b panicsAfter) Update(ctx context.Context, r backend.Record) error {
	_ = b.Backend.Update(ctx, r)
	panic("after it")
}

func (b panicsAfter) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	_, _ = b.Backend.Purge(ctx, now, limit)
	panic("after it")
}

// An Auditor that hangs holds RevokeAll up once, and not once for each key.
func TestAStuckAuditorHoldsUpRevokeAllOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		const keys = auditQueue + 500
		plain, err := New(store, &Options{TouchInterval: Never, PurgeInterval: Never})
		require.NoError(t, err)
		for range keys {
			_, _, err := plain.Generate(t.Context(), KeyParams{Owner: "alice"})
			require.NoError(t, err)
		}
		require.NoError(t, plain.Close())
		a, release := blocked()
		defer release()
		ks, err := New(store, &Options{Audit: a, TouchInterval: Never, PurgeInterval: Never})
		require.NoError(t, err)
		defer ks.Close()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		revoked, err := ks.RevokeAll(ctx, "alice", "leaked")
		require.NoError(t, err)
		require.Equal(t, keys, revoked)
		require.Equal(t, ks.opts.OpTimeout, time.Since(began))
	})
}

// The store fails before or after a change was made: the event says what the
// caller is told, once, however often the write was sent.
func TestOutcomesOfAFailingStore(t *testing.T) {
	lost := errors.New("the connection was reset")
	changes := map[Action]func(ctx context.Context, ks *Keystore, id string) error{
		ActionGenerate: func(ctx context.Context, ks *Keystore, _ string) error {
			_, _, err := ks.Generate(ctx, KeyParams{Owner: "alice"})
			return err
		},
		ActionUpdate: func(ctx context.Context, ks *Keystore, id string) error {
			_, err := ks.Update(ctx, id, func(c *Changes) error { c.Name = "n"; return nil })
			return err
		},
		ActionDisable: func(ctx context.Context, ks *Keystore, id string) error {
			_, err := ks.Update(ctx, id, func(c *Changes) error { c.Disabled = true; return nil })
			return err
		},
		ActionRotate: func(ctx context.Context, ks *Keystore, id string) error {
			_, _, err := ks.Rotate(ctx, id, time.Hour, nil)
			return err
		},
		ActionEndGrace: func(ctx context.Context, ks *Keystore, id string) error {
			_, err := ks.EndGrace(ctx, id)
			return err
		},
		ActionRevoke: func(ctx context.Context, ks *Keystore, id string) error {
			_, err := ks.Revoke(ctx, id, "leaked")
			return err
		},
		ActionDelete: func(ctx context.Context, ks *Keystore, id string) error { return ks.Delete(ctx, id) },
	}
	faults := map[string]struct {
		plan    faulty.Plan
		outcome Outcome
	}{
		"refused before it was made": {faulty.Only(faulty.Refuse(backend.ErrNotApplied), faulty.Create, faulty.Update, faulty.Delete), OutcomeFailed},
		"not readable":               {faulty.Only(faulty.Refuse(lost), faulty.Get, faulty.Create), OutcomeFailed},
		"every reply is lost":        {faulty.Only(faulty.LoseReply(lost), faulty.Create, faulty.Update, faulty.Delete), OutcomeUnknown},
		"the first reply is lost": {func(c faulty.Call) faulty.Fault {
			if c.N == 1 && c.Method != faulty.Get {
				return faulty.LoseReply(lost)
			}
			return nil
		}, OutcomeDone},
		"sent twice unseen": {faulty.Only(faulty.Repeat(nil), faulty.Create, faulty.Update, faulty.Delete), OutcomeDone},
	}
	for name, fault := range faults {
		for action, change := range changes {
			if name == "not readable" && action == ActionGenerate {
				continue // which reads nothing
			}
			t.Run(name+"/"+string(action), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inner := memory.New()
					plain, err := New(inner, &Options{TouchInterval: Never, PurgeInterval: Never})
					require.NoError(t, err)
					defer plain.Close()
					_, key, err := plain.Generate(t.Context(), KeyParams{Owner: "alice"})
					require.NoError(t, err)
					_, key, err = plain.Rotate(t.Context(), key.ID, time.Hour, nil)
					require.NoError(t, err)

					a := &spyAuditor{}
					ks, err := New(faulty.New(inner, fault.plan), &Options{Audit: a, TouchInterval: Never, PurgeInterval: Never})
					require.NoError(t, err)
					defer ks.Close()
					err = change(inRequest(t), ks, key.ID)
					synctest.Wait()
					require.Len(t, a.events(), 1)
					e := a.events()[0]
					if name == "not readable" && action == ActionDisable {
						action = ActionUpdate // what it would change was not known yet
					}
					require.Equal(t, action, e.Action)
					require.Equal(t, fault.outcome, e.Outcome, "%v", err)
					require.Equal(t, "bob", e.Actor)
					require.Equal(t, 1, e.Count)
					switch fault.outcome {
					case OutcomeDone:
						require.NoError(t, err)
					case OutcomeUnknown:
						require.ErrorIs(t, err, ErrUnknownOutcome)
						require.Contains(t, e.Detail, "outcome unknown")
						require.NotEmpty(t, e.KeyID, "it can be looked after")
						require.Equal(t, "alice", e.Owner)
					default:
						require.NotErrorIs(t, err, ErrUnknownOutcome)
						require.Equal(t, err.Error(), e.Detail)
					}
				})
			})
		}
	}
}

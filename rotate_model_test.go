package keystore

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rotationModel says what the design says of one key, in milliseconds.
type rotationModel struct {
	expires int64 // 0: never
	revoked bool
	secrets []*modelSecret // newest first
}

type modelSecret struct {
	token     Token
	until     int64 // 0: current
	forgotten bool
}

func (m *rotationModel) reason(s *modelSecret, now int64) Reason {
	switch {
	case s.forgotten:
		return ReasonWrongSecret
	case m.revoked:
		return ReasonRevoked
	case s.until != 0 && now >= s.until:
		return ReasonSuperseded
	case m.expires != 0 && now >= m.expires:
		return ReasonExpired
	}
	return ""
}

// end lowers the deadlines of all older secrets.
func (m *rotationModel) end(at int64) {
	for _, s := range m.secrets {
		if s.until > at {
			s.until = at
		}
	}
}

// wrote forgets all but the five superseded last.
func (m *rotationModel) wrote(now int64) {
	dead := 0
	for _, s := range m.secrets {
		if s.until != 0 && now >= s.until {
			dead++
			s.forgotten = s.forgotten || dead > 5
		}
	}
}

func TestRandomLivesOfAKeyAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	seen := map[Reason]int{}
	for range 120 {
		f := newFixture(t)
		randomLife(f, random, seen)
		f.Close()
	}
	for _, reason := range []Reason{"", ReasonSuperseded, ReasonExpired, ReasonRevoked, ReasonWrongSecret} {
		require.Greater(t, seen[reason], 200, "%q is met often", reason)
	}
}

func randomLife(f *fixture, random *rand.Rand, seen map[Reason]int) {
	ctx := context.Background()
	require := require.New(f.t)
	now := testNoon.UnixMilli()
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	token, key := f.generate(KeyParams{})
	m := &rotationModel{secrets: []*modelSecret{{token: token}}}
	log := []any{}
	for step := range 60 {
		future := now + 1 + random.Int64N(50)
		expired := m.expires != 0 && now >= m.expires
		wantState, wrote := m.revoked, true
		var err error
		switch op := random.IntN(20); {
		case op < 7:
			grace, newEnd := random.Int64N(40)*random.Int64N(2), int64(0)
			p := &RotateParams{}
			if random.IntN(4) == 0 {
				newEnd = future
				p.ExpiresAt = at(newEnd)
			}
			log = append(log, step, "rotate", grace, newEnd)
			var fresh Token
			fresh, _, err = f.Rotate(ctx, key.ID, time.Duration(grace)*time.Millisecond, p)
			deadline := now + grace
			for _, end := range []int64{m.expires, newEnd} {
				if end != 0 {
					deadline = min(deadline, end)
				}
			}
			live := 1
			for _, s := range m.secrets {
				if s.until == 0 && deadline > now || s.until > now && deadline > now {
					live++
				}
			}
			if wantState = m.revoked || expired || live > 5; wantState {
				break
			}
			m.secrets[0].until = deadline
			m.end(deadline)
			m.secrets = append([]*modelSecret{{token: fresh}}, m.secrets...)
			if newEnd != 0 {
				m.expires = newEnd
			}
		case op < 10:
			end := future - random.Int64N(60)
			log = append(log, step, "expire", end)
			_, err = f.Expire(ctx, key.ID, at(end))
			if end = max(end, now); wantState || end == now && expired || end == m.expires {
				wrote = false
				break
			}
			m.expires = end
		case op < 13:
			log = append(log, step, "clear")
			_, err = f.ClearExpiry(ctx, key.ID)
			wrote = m.expires != 0
			if !wantState {
				m.expires = 0
			}
		case op < 14:
			log = append(log, step, "end grace")
			_, err = f.EndGrace(ctx, key.ID)
			wantState, wrote = m.revoked || expired, false
			if !wantState {
				for _, s := range m.secrets {
					wrote = wrote || s.until > now
				}
				m.end(now)
			}
		case op == 14 && random.IntN(4) == 0:
			log = append(log, step, "revoke")
			_, err = f.Revoke(ctx, key.ID, "")
			wantState, wrote, m.revoked = false, !m.revoked, true
		default:
			now += random.Int64N(25)
			log = append(log, step, "clock", now)
			f.clock.set(at(now).Add(time.Duration(random.Int64N(1_000_000))))
			wantState, wrote = false, false
		}
		if wantState {
			require.ErrorIs(err, ErrState, "%v", log)
		} else {
			require.NoError(err, "%v", log)
		}
		if wrote && !wantState {
			if m.expires != 0 {
				m.end(m.expires)
			}
			m.wrote(now)
		}
		for i, s := range m.secrets {
			want := m.reason(s, now)
			seen[want]++
			if found := f.reason(s.token); found != want {
				f.t.Fatalf("secret %d of %d: %q, not %q: %v", i, len(m.secrets), found, want, log)
			}
		}
	}
}

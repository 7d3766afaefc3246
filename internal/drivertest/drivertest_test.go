package drivertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

func TestMain(m *testing.M) {
	// The words that a test waits for may come after many others.
	wordedWrong = math.MaxInt
	goleak.VerifyTestMain(m)
}

// complaints is a test whose failures are expected.
type complaints struct {
	*testing.T
	mu  sync.Mutex
	all []string
}

func (c *complaints) Errorf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

// liar is a store that sometimes does not do what it says.
type liar struct {
	backend.Backend
	every  int
	update func(ctx context.Context, b backend.Backend, r backend.Record) error
	get    func(ctx context.Context, b backend.Backend, id string) (backend.Record, error)
	create func(ctx context.Context, b backend.Backend, r backend.Record) error
	list   func(ctx context.Context, b backend.Backend, o backend.ListOptions) ([]backend.Record, error)
}

// sometimes is one time in 50, or in every if that is set.
func (l *liar) sometimes() bool { return rand.IntN(cmp.Or(l.every, 50)) == 0 }

func (l *liar) Update(ctx context.Context, r backend.Record) error {
	if l.update != nil && l.sometimes() {
		return l.update(ctx, l.Backend, r)
	}
	return l.Backend.Update(ctx, r)
}

func (l *liar) Get(ctx context.Context, id string) (backend.Record, error) {
	if l.get != nil && l.sometimes() {
		return l.get(ctx, l.Backend, id)
	}
	return l.Backend.Get(ctx, id)
}

func (l *liar) Create(ctx context.Context, r backend.Record) error {
	if l.create != nil && r.Owner != "shared" && l.sometimes() {
		return l.create(ctx, l.Backend, r)
	}
	return l.Backend.Create(ctx, r)
}

func (l *liar) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	if l.list != nil {
		return l.list(ctx, l.Backend, o)
	}
	return l.Backend.List(ctx, o)
}

var errOutage = errors.New("outage")

func load(t *testing.T, lossy bool, l *liar) (Tally, []string) {
	l.Backend = memory.New()
	c := &complaints{T: t}
	load := StartLoad(c, lossy, l, l, l)
	load.Await(3000)
	return load.Check(l.Backend), c.all
}

// A store that keeps to the contract passes, also where it fails openly.
func TestLoadPasses(t *testing.T) {
	for name, l := range map[string]*liar{
		"nothing is wrong": {},
		"outages": {
			update: func(context.Context, backend.Backend, backend.Record) error {
				return fmt.Errorf("%w: %w", errOutage, backend.ErrNotApplied)
			},
			get: func(context.Context, backend.Backend, string) (backend.Record, error) {
				return backend.Record{}, errOutage
			},
		},
		"lost replies": {
			update: func(ctx context.Context, b backend.Backend, r backend.Record) error {
				return errors.Join(b.Update(ctx, r), errOutage)
			},
			create: func(ctx context.Context, b backend.Backend, r backend.Record) error {
				return errors.Join(b.Create(ctx, r), errOutage)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, complaints := load(t, false, l)
			require.Empty(t, complaints)
		})
	}
}

// A store that breaks the contract does not.
func TestLoadFails(t *testing.T) {
	for name, c := range map[string]struct {
		liar *liar
		want string
	}{
		"an update that did not happen": {&liar{update: func(context.Context, backend.Backend, backend.Record) error { return nil }}, "acknowledged is lost"},
		"an update that happened, told as a clean failure": {&liar{update: func(ctx context.Context, b backend.Backend, r backend.Record) error {
			return errors.Join(b.Update(ctx, r), backend.ErrNotApplied, errOutage)
		}}, "returned one with"},
		"an update that happened twice": {&liar{update: func(ctx context.Context, b backend.Backend, r backend.Record) error {
			if err := b.Update(ctx, r); err != nil {
				return err
			}
			r.Revision++
			return b.Update(ctx, r)
		}}, "at revision"},
		"an outage told as no such key": {&liar{get: func(context.Context, backend.Backend, string) (backend.Record, error) {
			return backend.Record{}, backend.ErrNotFound
		}}, "lost"},
		"a key that is not made": {&liar{create: func(context.Context, backend.Backend, backend.Record) error { return nil }}, "key of key"},
		"a key that is made, told as a clean failure": {&liar{create: func(ctx context.Context, b backend.Backend, r backend.Record) error {
			return errors.Join(b.Create(ctx, r), backend.ErrNotApplied, errOutage)
		}}, "never made"},
	} {
		t.Run(name, func(t *testing.T) {
			_, complaints := load(t, false, c.liar)
			require.NotEmpty(t, complaints)
			assert.Contains(t, strings.Join(complaints, "\n"), c.want)
		})
	}
}

// A store that may lose acknowledged changes passes, and they are counted. What it
// makes up is no loss.
func TestLossyLoad(t *testing.T) {
	tally, complaints := load(t, true, &liar{
		every:  10, // or now and then no revocation is among the lost
		update: func(context.Context, backend.Backend, backend.Record) error { return nil },
		create: func(context.Context, backend.Backend, backend.Record) error { return nil },
	})
	require.Empty(t, complaints)
	for _, what := range []string{"key", "revocation", "other change"} {
		assert.Positive(t, tally.Lost[what], what)
	}
	_, complaints = load(t, true, &liar{update: func(ctx context.Context, b backend.Backend, r backend.Record) error {
		if err := b.Update(ctx, r); err != nil {
			return err
		}
		r.Revision++
		return b.Update(ctx, r)
	}})
	require.NotEmpty(t, complaints)
}

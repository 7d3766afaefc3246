package audit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// list is an Auditor that keeps what it takes.
type list struct {
	taken []keystore.Event
	err   error
	panic any
}

func (l *list) Audit(_ context.Context, events []keystore.Event) error {
	if l.panic != nil {
		panic(l.panic)
	}
	if l.err == nil {
		l.taken = append(l.taken, events...)
	}
	return l.err
}

func TestMultiGivesAllToEach(t *testing.T) {
	a, b := &list{}, &list{}
	m := Multi(a, b)
	require.NoError(t, m.Audit(t.Context(), events(0, 3, 0)))
	require.NoError(t, m.Audit(t.Context(), events(0, 3, 0)))
	require.Equal(t, append(events(0, 3, 0), events(0, 3, 0)...), a.taken)
	require.Equal(t, a.taken, b.taken)
	require.NoError(t, Multi().Audit(t.Context(), events(0, 1, 0)))
}

func TestMultiComesBackOnlyToThoseThatFailed(t *testing.T) {
	errOther := errors.New("another")
	a, b, c := &list{err: errDisk}, &list{}, &list{err: errOther}
	m := Multi(a, b, c)
	err := m.Audit(t.Context(), events(0, 3, 0))
	require.ErrorIs(t, err, errDisk)
	require.ErrorIs(t, err, errOther)
	a.err = nil
	require.ErrorIs(t, m.Audit(t.Context(), events(0, 3, 0)), errOther)
	c.err, c.panic = nil, "boom"
	require.ErrorContains(t, m.Audit(t.Context(), events(0, 3, 0)), "boom")
	c.panic = nil
	require.NoError(t, m.Audit(t.Context(), events(0, 3, 0)))
	for _, l := range []*list{a, b, c} {
		require.Equal(t, events(0, 3, 0), l.taken)
	}
	a.err = errDisk
	require.Error(t, m.Audit(t.Context(), events(3, 5, 0)))
	a.err = nil
	require.NoError(t, m.Audit(t.Context(), events(5, 6, 0)), "the Keystore has given the last ones up")
	require.Equal(t, append(events(0, 3, 0), events(5, 6, 0)...), a.taken)
	require.Equal(t, events(0, 6, 0), b.taken)
}

func TestMultiGivesToThoseBehindOneThatPanics(t *testing.T) {
	b := &list{}
	m := Multi(&list{panic: "boom"}, b)
	for range 2 {
		require.ErrorContains(t, m.Audit(t.Context(), events(0, 3, 0)), "boom")
	}
	require.Equal(t, events(0, 3, 0), b.taken)
}

// Keystores share an Auditor, as those of one program that have the same Options.
// The race detector sees more.
func TestSeveralKeystoresShareAnAuditor(t *testing.T) {
	var out bytes.Buffer
	taken := &list{}
	shared := []keystore.Auditor{Multi(taken), Slog(slog.New(slog.NewJSONHandler(&out, nil)), nil)}
	const keystores, each = 4, 100
	var working sync.WaitGroup
	for range keystores {
		working.Go(func() {
			for n := range each {
				for _, a := range shared {
					if err := a.Audit(context.Background(), events(n, n+1, 0)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	working.Wait()
	require.Len(t, taken.taken, keystores*each)
	require.Equal(t, keystores*each, strings.Count(out.String(), "\n"))
}

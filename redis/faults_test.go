package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// aScript matches a request that runs one of the driver's scripts.
func aScript(request []byte) bool { return bytes.Contains(request, []byte("evalsha")) }

// broken is a store behind a proxy, and the same store past it.
type broken struct {
	*redis.Backend // through the proxy
	proxy          *testserver.Proxy
	server         *testserver.Redis
	past           *redis.Backend
}

func openBroken(t *testing.T) *broken {
	t.Helper()
	server := testserver.StartRedis(t)
	proxy := testserver.StartProxy(t, server.Addr())
	s := &broken{proxy: proxy, server: server, past: openURL(t, server.URL())}
	s.Backend = openURL(t, "redis://"+proxy.Addr())
	// The scripts are known to the server.
	require.NoError(t, s.Create(testContext(t), record("warm", "o", "d")))
	require.NoError(t, s.Update(testContext(t), backend.Record{ID: "warm", Revision: 1}))
	require.NoError(t, s.Touch(testContext(t), map[string]time.Time{"warm": time.UnixMilli(1)}))
	require.NoError(t, s.Delete(testContext(t), "warm"))
	create(t, s, backend.Record{ID: "warm", Owner: "o", PurgeAt: time.UnixMilli(1)})
	n, err := s.Purge(testContext(t), time.UnixMilli(1), 1)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	return s
}

// executed is how many scripts the server ran.
func (s *broken) executed(t *testing.T) int {
	t.Helper()
	stats, err := s.server.Client().Info(testContext(t), "commandstats").Result()
	require.NoError(t, err)
	calls := 0
	for line := range strings.Lines(stats) {
		if rest, found := strings.CutPrefix(line, "cmdstat_evalsha:calls="); found {
			_, err := fmt.Sscanf(rest, "%d", &calls)
			require.NoError(t, err)
		}
	}
	return calls
}

// noAnswer checks that a failure is none of the answers of the contract.
func noAnswer(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	for _, answer := range []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed} {
		require.NotErrorIs(t, err, answer)
	}
}

// unknown checks that a failure leaves open what happened.
func unknown(t *testing.T, err error) {
	t.Helper()
	noAnswer(t, err)
	require.NotErrorIs(t, err, backend.ErrNotApplied)
}

// A reply that is lost after the script ran, or a request that is lost before, is
// made up for where the contract lets a write be repeated, and told where not.
func TestLostOnTheWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault testserver.Fault
		runs  int // of the script
	}{
		"the reply, and the connection": {testserver.DropReply, 2},
		"half of the reply":             {testserver.CutReply, 2},
		"the reply, in silence":         {testserver.HangReply, 2},
		"the request":                   {testserver.CutBefore, 1},
		"half of the request":           {testserver.CutRequest, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openBroken(t)
			ctx := testContext(t)
			fail := func() (ran func() int) {
				t.Helper()
				before, faults := s.executed(t), s.proxy.Count(c.fault)
				s.proxy.Next(c.fault, aScript)
				return func() int {
					require.Equal(t, faults+1, s.proxy.Count(c.fault), "the fault did not happen")
					return s.executed(t) - before
				}
			}
			r := backend.Record{ID: "id", Owner: "alice", Data: []byte("1"), PurgeAt: time.UnixMilli(1000).UTC()}
			ran := fail()
			require.NoError(t, s.Create(ctx, r))
			require.Equal(t, c.runs, ran())
			r.Revision = 1
			require.Equal(t, r, get(t, s.past, "id"))

			r.Data = []byte("2")
			ran = fail()
			require.NoError(t, s.Update(ctx, r))
			require.Equal(t, c.runs, ran())
			r.Revision = 2
			require.Equal(t, r, get(t, s.past, "id"))

			r.LastUsed = time.UnixMilli(7).UTC()
			ran = fail()
			require.NoError(t, s.Touch(ctx, map[string]time.Time{"id": r.LastUsed}))
			require.Equal(t, c.runs, ran())
			require.Equal(t, r, get(t, s.past, "id"))

			ran = fail()
			unknown(t, s.Delete(ctx, "id"))
			require.Equal(t, c.runs-1, ran(), "a Delete is not repeated: it could be one of another life")
			_, err := s.past.Get(ctx, "id")
			require.Equal(t, c.runs == 2, errors.Is(err, backend.ErrNotFound))

			require.NoError(t, s.Delete(ctx, "id"))
			create(t, s, r)
			ran = fail()
			n, err := s.Purge(ctx, time.UnixMilli(1000), 10)
			unknown(t, err)
			require.Zero(t, n)
			require.Equal(t, c.runs-1, ran())
			_, err = s.past.Get(ctx, "id")
			require.Equal(t, c.runs == 2, errors.Is(err, backend.ErrNotFound))
		})
	}
}

// Between an attempt whose reply was lost and the next one another writer comes
// first. What the next one meets may be of its own making: it is no answer.
func TestOvertakenAfterALostReply(t *testing.T) {
	t.Parallel()
	first := backend.Record{ID: "id", Owner: "alice", Data: []byte("first")}
	change := backend.Record{ID: "id", Data: []byte("second"), Revision: 1}
	for name, c := range map[string]struct {
		write func(ctx context.Context, s backend.Backend) error
		other func(ctx context.Context, s backend.Backend) error
		want  string // stored at last; "": nothing
	}{
		"Update, then a conflict": {
			func(ctx context.Context, s backend.Backend) error { return s.Update(ctx, change) },
			func(ctx context.Context, s backend.Backend) error {
				return s.Update(ctx, backend.Record{ID: "id", Data: []byte("third"), Revision: 2})
			}, "third",
		},
		"Update, then it is gone": {
			func(ctx context.Context, s backend.Backend) error { return s.Update(ctx, change) },
			func(ctx context.Context, s backend.Backend) error { return s.Delete(ctx, "id") }, "",
		},
		"Create, then the id is taken": {
			func(ctx context.Context, s backend.Backend) error {
				if err := s.Delete(ctx, "id"); err != nil {
					return err
				}
				return s.Create(ctx, record("id", "alice", "mine"))
			},
			func(ctx context.Context, s backend.Backend) error {
				return errors.Join(s.Delete(ctx, "id"), s.Create(ctx, record("id", "alice", "other's")))
			}, "other's",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openBroken(t)
			ctx := testContext(t)
			create(t, s, first)
			fault := func(request []byte) bool {
				return aScript(request) && !bytes.Contains(request, []byte("$40\r\n"+redis.Digest("delete")))
			}
			s.proxy.DropReply(fault)
			came := make(chan error, 1)
			// The second attempt arrives, and is held until the other writer is done.
			s.proxy.Next(testserver.Pass, func(request []byte) bool {
				if !fault(request) {
					return false
				}
				came <- c.other(context.Background(), s.past)
				return true
			})
			unknown(t, c.write(ctx, s))
			require.NoError(t, <-came)
			require.Equal(t, 1, s.proxy.Dropped())
			r, err := s.past.Get(ctx, "id")
			if c.want == "" {
				require.ErrorIs(t, err, backend.ErrNotFound)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, string(r.Data))
		})
	}
}

// Without a lost reply the answers are certain.
func TestCertainAnswers(t *testing.T) {
	s := openBroken(t)
	ctx := testContext(t)
	err := s.Update(ctx, backend.Record{ID: "id", Revision: 1})
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.ErrorIs(t, err, backend.ErrNotApplied)
	create(t, s, record("id", "o", "d"))
	err = s.Update(ctx, backend.Record{ID: "id", Revision: 2})
	require.ErrorIs(t, err, backend.ErrConflict)
	require.ErrorIs(t, err, backend.ErrNotApplied)
	require.ErrorIs(t, s.Create(ctx, record("id", "o", "other")), backend.ErrExists)
	require.NoError(t, s.Create(ctx, record("id", "o", "d")), "a repeat")
}

// A server that is not there is an outage, for every method, and no write has had an
// effect. It is found again by itself.
func TestServerIsDown(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	b := openURL(t, server.URL())
	create(t, b, record("there", "alice", "d"))
	server.Stop()
	t.Run("down", func(t *testing.T) {
		for _, c := range methods(b) {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				err := c.call(testContext(t))
				noAnswer(t, err)
				if c.writes && !c.inChunks() {
					require.ErrorIs(t, err, backend.ErrNotApplied)
				}
			})
		}
	})
	server.Start()
	require.Eventually(t, func() bool {
		_, err := b.Get(testContext(t), "there")
		return err == nil
	}, waitLimit, waitTick)
	require.NoError(t, b.Update(testContext(t), backend.Record{ID: "there", Revision: 1, Data: []byte("new")}))
}

// method is one of a backend's, with arguments by which it has something to do.
type method struct {
	name   string
	writes bool
	call   func(ctx context.Context) error
}

// inChunks reports whether a method that writes may have done so in part.
func (m method) inChunks() bool { return m.name == "Touch" || m.name == "AddUsage" }

func methods(b *redis.Backend) []method {
	return []method{
		{"Create", true, func(ctx context.Context) error { return b.Create(ctx, record("new", "alice", "d")) }},
		{"Get", false, func(ctx context.Context) error {
			_, err := b.Get(ctx, "there")
			return err
		}},
		{"Update", true, func(ctx context.Context) error {
			return b.Update(ctx, backend.Record{ID: "there", Revision: 1, Data: []byte("n")})
		}},
		{"Delete", true, func(ctx context.Context) error { return b.Delete(ctx, "there") }},
		{"List", false, func(ctx context.Context) error {
			_, err := b.List(ctx, backend.ListOptions{Limit: 10})
			return err
		}},
		{"Touch", true, func(ctx context.Context) error { return b.Touch(ctx, map[string]time.Time{"there": time.Now()}) }},
		{"Purge", false, func(ctx context.Context) error {
			_, err := b.Purge(ctx, time.Now(), 10)
			return err
		}},
		{"Spend", true, func(ctx context.Context) error {
			_, err := b.Spend(ctx, spendOf("there", rand.Uint64(), 1))
			return err
		}},
		{"Counts", false, func(ctx context.Context) error {
			_, err := b.Counts(ctx, "there", twoLimits(noon))
			return err
		}},
		{"ResetCounts", true, func(ctx context.Context) error { return b.ResetCounts(ctx, "there") }},
		{"PurgeCounts", false, func(ctx context.Context) error {
			_, err := b.PurgeCounts(ctx, time.Now(), 10)
			return err
		}},
		{"AddUsage", true, func(ctx context.Context) error {
			return b.AddUsage(ctx, []backend.Addition{addition("kthere", rand.Uint64(), 1)})
		}},
		{"Usage", false, func(ctx context.Context) error {
			_, err := b.Usage(ctx, "kthere", today, today.AddDate(0, 0, 1))
			return err
		}},
		{"PurgeUsage", false, func(ctx context.Context) error {
			_, err := b.PurgeUsage(ctx, time.Now(), 10)
			return err
		}},
		{"Watch", false, func(ctx context.Context) error {
			_, err := b.Watch(ctx)
			return err
		}},
		{"Warnings", false, func(ctx context.Context) error {
			_, err := b.Warnings(ctx)
			return err
		}},
	}
}

// The scripts' cache of the server is lost: after a restart, a failover, a flush.
func TestForgottenScripts(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		ctx := testContext(t)
		b := handleOn(t, client, nil)
		calls := recordCalls(client)
		forget := func() { require.NoError(t, client.ScriptFlush(ctx).Err()) }
		at := time.UnixMilli(1000).UTC()
		used := make(map[string]time.Time)
		for i := range 200 {
			if i%50 == 0 {
				forget()
			}
			id := fmt.Sprintf("k%03d", i)
			create(t, b, backend.Record{ID: id, Owner: "o", PurgeAt: at})
			used[id] = at
		}
		require.Len(t, calls.named("eval"), 4, "the source is sent only where the server does not know it")
		for range 2 {
			forget()
			require.NoError(t, b.Update(ctx, backend.Record{ID: "k000", PurgeAt: at, Revision: get(t, b, "k000").Revision}))
		}
		forget()
		calls.forget()
		require.NoError(t, b.Touch(ctx, used))
		require.NotEmpty(t, calls.named("eval"))
		for _, r := range listAll(t, b, "", 100) {
			require.Equal(t, at, r.LastUsed, r.ID)
		}
		calls.forget()
		require.NoError(t, b.Touch(ctx, used))
		require.Empty(t, calls.named("eval"))
		forget()
		require.NoError(t, b.Delete(ctx, "k000"))
		forget()
		n, err := b.Purge(ctx, at, 1000)
		require.NoError(t, err)
		require.Equal(t, 199, n)
	})
}

// The digests that are kept in the source are those that servers compute.
func TestDigests(t *testing.T) {
	client := clientOf(t, &goredis.Options{Addr: testserver.StartRedis(t).Addr()})
	for _, name := range []string{"create", "update", "delete", "touch", "purge", "spend", "reset", "add", "forget"} {
		sha1, err := client.ScriptLoad(testContext(t), redis.Source(name)).Result()
		require.NoError(t, err)
		assert.Equal(t, sha1, redis.Digest(name), "%s: cd redis/scripts && sha1sum *.lua >SHA1SUMS", name)
	}
}

package limits

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
)

// lossy is a store whose workers reach it by a line that loses replies.
type lossy struct {
	store
	line   *testserver.Proxy
	spends func(request []byte) bool // finds a spend among requests that name its key
}

// lossyStores are servers with such a line; the rest of the backends have no reply
// that could be lost without their process.
var lossyStores = []struct {
	name  string
	start func(t *testing.T) lossy
	long  bool // in the long form only
}{
	{"redis", lossyRedis, false},
	{"mongo wire", lossyWire, false},
	{"ferretdb", lossyFerretDB, true},
}

func eachLossy(t *testing.T, test func(t *testing.T, l lossy)) {
	t.Parallel()
	for _, s := range lossyStores {
		if s.long && !long() {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			test(t, s.start(t))
		})
	}
}

// behind has workers reach a store by the line; the test goes there directly.
func behind(direct store, line *testserver.Proxy, url string, spends func([]byte) bool) lossy {
	direct.url = byURL(url).url
	return lossy{store: direct, line: line, spends: spends}
}

func lossyRedis(t *testing.T) lossy {
	server := testserver.StartRedis(t)
	line := testserver.StartProxy(t, server.Addr())
	return behind(byURL(server.URL()), line, "redis://"+line.Addr()+"/0", func(request []byte) bool {
		return bytes.Contains(bytes.ToLower(request), []byte("\r\nevalsha\r\n"))
	})
}

func lossyWire(t *testing.T) lossy {
	server := mongowire.Start(t, mongowire.Memory().Handle, mongowire.Primary)
	line := testserver.StartProxy(t, server.Addr())
	return behind(byURL(server.URL()), line, "mongodb://"+line.Addr()+"/?directConnection=true", mongoWrite)
}

func lossyFerretDB(t *testing.T) lossy {
	server := testserver.StartFerretDB(t)
	line := testserver.StartProxy(t, server.Addr())
	l := behind(byURL(server.URL()), line, "mongodb://"+line.Addr()+"/", mongoWrite)
	l.few = true
	return l
}

// mongoWrite finds a command that writes.
func mongoWrite(request []byte) bool { return !bytes.Contains(request, []byte("\x02find\x00")) }

// names finds the spends of a key.
func (l lossy) names(id string) func(request []byte) bool {
	return func(request []byte) bool { return bytes.Contains(request, []byte(id)) && l.spends(request) }
}

// A reply that is lost after the spend costs nothing: of lookups one after the other,
// of which each loses its first reply, exactly as many pass as the limit allows.
func TestEachReplyIsLostOnce(t *testing.T) {
	eachLossy(t, func(t *testing.T, l lossy) {
		f := startFleet(t, l.store, settings{})
		most, lookups := sized(4, 25), sized(6, 30) // a client of MongoDB waits half a second after each
		id, token := f.limited(t, limit("hour", int64(most), time.Hour))
		f.look(t, noon, request{Callers: 1, Each: 1, Tokens: []string{token}, Peek: true}) // it is read
		is, n := l.names(id), 0
		l.line.SetPlan(func(request []byte) testserver.Fault {
			if !is(request) {
				return testserver.Pass
			}
			if n++; n%2 == 0 {
				return testserver.Pass
			}
			return testserver.DropReply
		})
		a := f.look(t, noon, request{Callers: 1, Each: lookups, Tokens: []string{token}})
		l.line.SetPlan(nil)
		require.GreaterOrEqual(t, l.line.Dropped(), lookups)
		a.require(t, expected{limit: "hour", left: int64(most), passes: most, now: noon, reset: noon.Add(time.Hour)})
		require.EqualValues(t, 0, f.remaining(t, id, noon)["hour"])
	})
}

// The same of 64 callers, when replies are lost again and again. A lookup that hears nothing
// in three tries is ErrUnavailable, and may have been counted. The limit is one of
// fewer than a Counter remembers spends, for nobody knows how many others spend
// before a repeat.
func TestRepliesAreLostUnderLoad(t *testing.T) {
	eachLossy(t, func(t *testing.T, l lossy) {
		const most = backend.KeptSpends - 4
		f := startFleet(t, l.store, settings{})
		id, token := f.limited(t, limit("hour", most, time.Hour))
		is := l.names(id)
		var n atomic.Int64
		l.line.SetPlan(func(request []byte) testserver.Fault {
			if is(request) && n.Add(1)%6 == 0 {
				return testserver.DropReply
			}
			return testserver.Pass
		})
		a := f.look(t, noon, request{Callers: 64, Each: sized(3, 6), Tokens: []string{token}})
		l.line.SetPlan(nil)
		require.Positive(t, l.line.Dropped())
		by := a.by()
		t.Logf("%d replies lost; %v", l.line.Dropped(), by)
		require.LessOrEqual(t, by[""], most)
		require.GreaterOrEqual(t, by[""]+by[keystore.ReasonUnavailable], most, "spends that nobody made")
		require.Len(t, a, by[""]+by[keystore.ReasonUnavailable]+by[keystore.ReasonRateLimited])
		require.EqualValues(t, 0, f.remaining(t, id, noon)["hour"])
	})
}

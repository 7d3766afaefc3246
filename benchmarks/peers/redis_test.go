package peers_test

import (
	"context"
	"encoding/gob"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/boj/redistore"
	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/internal/testserver"
)

var errRefused = errors.New("the peer refused what it had made")

func init() { gob.Register([]string{}) } // what the peers' sessions hold

// BenchmarkRedis compares lookups with peers that keep their records in the same
// Redis server.
func BenchmarkRedis(b *testing.B) {
	server := testserver.StartRedis(b, "appendonly no")
	client := stores.RedisClient(server.Addr())
	s := stores.OnRedis(b, client, keys)
	defer s.Close()
	compare(b, s, "peer=scs", scsSessions(b, client), 1, 8, 128)
	compare(b, s, "peer=gorilla-redistore", gorillaSessions(b, server.Addr()), 1, 8, 128)
}

// scsSessions loads sessions of alexedwards/scs by their token, through its go-redis
// store and by the client that keystore uses: one GET, and a value decoded by gob.
//
// It keeps tokens as they are: who reads the store has them (by HashTokenInStore it
// keeps SHA-256 of them, which is not its default). It has no cache: a session that
// is destroyed is refused everywhere at once. It knows no scopes, rotation or owner.
func scsSessions(b *testing.B, client *goredis.Client) func(i int) error {
	b.Helper()
	manager := scs.New()
	manager.Store = goredisstore.New(client)
	manager.Lifetime = 90 * 24 * time.Hour
	tokens := make([]string, keys)
	for i := range tokens {
		session, err := manager.Load(ctx, "")
		must(b, err)
		p := stores.Params(stores.Owner(i, keys))
		manager.Put(session, "owner", p.Owner)
		manager.Put(session, "name", p.Name)
		manager.Put(session, "scopes", p.Scopes)
		tokens[i], _, err = manager.Commit(session)
		must(b, err)
	}
	return func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, stores.Deadline)
		defer cancel()
		session, err := manager.Load(ctx, tokens[i%keys])
		if err == nil && manager.GetString(session, "owner") == "" {
			err = errRefused
		}
		return err
	}
}

// gorillaSessions loads sessions of gorilla/sessions from the cookie of a request,
// through boj/redistore, which has a client of its own (redigo): an HMAC of the
// cookie is checked, and then it is one GET, and a value decoded by gob.
//
// The cookie is signed, so a made-up one costs the store nothing; what is in the
// store is the id of the session, and the key of the HMAC opens all. It has no cache:
// a session that is deleted is refused everywhere at once. It knows no deadline,
// scopes, rotation or owner.
func gorillaSessions(b *testing.B, addr string) func(i int) error {
	b.Helper()
	const name = "session"
	store, err := redistore.NewRediStore(128, "tcp", addr, "", "", []byte("an authentication key of 32 bytes"))
	must(b, err)
	b.Cleanup(func() { must(b, store.Close()) })
	requests := make([]*http.Request, keys)
	for i := range requests {
		session, err := store.New(newRequest(), name)
		must(b, err)
		p := stores.Params(stores.Owner(i, keys))
		session.Values["owner"], session.Values["name"], session.Values["scopes"] = p.Owner, p.Name, p.Scopes
		response := httptest.NewRecorder()
		must(b, store.Save(newRequest(), response, session))
		requests[i] = newRequest()
		requests[i].AddCookie(response.Result().Cookies()[0])
	}
	return func(i int) error {
		session, err := store.New(requests[i%keys], name)
		if err == nil && (session.IsNew || !slices.Contains(session.Values["scopes"].([]string), "invoices:read")) {
			err = errRefused
		}
		return err
	}
}

func newRequest() *http.Request { return httptest.NewRequest(http.MethodGet, "/", http.NoBody) }

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

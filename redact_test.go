package keystore

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// printings are all the texts that the ways to print, log and encode make of v.
func printings(v any) []string {
	var out []string
	for _, verb := range "vsqxXdobOcUteEfFgGpTw" {
		for _, flags := range []string{"", "+", "#", "-200", "0200", "+#", " ", "# ", "[1]"} {
			out = append(out, fmt.Sprintf("%"+flags+string(verb), v))
		}
	}
	out = append(out, fmt.Sprint(v), fmt.Sprintln(v), fmt.Errorf("%w %v", errors.New(""), v).Error())
	add := func(b []byte, err error) {
		if err != nil {
			out = append(out, err.Error())
		}
		out = append(out, string(b))
	}
	add(json.Marshal(v))
	add(xml.Marshal(v))
	var buf bytes.Buffer
	add(buf.Bytes(), gob.NewEncoder(&buf).Encode(v))
	out = append(out, buf.String())
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}), slog.NewJSONHandler(&buf, &slog.HandlerOptions{AddSource: true}),
	} {
		slog.New(h).Info("message", "value", v, slog.Group("group", slog.Any("value", v)))
		slog.New(h.WithAttrs([]slog.Attr{slog.Any("attr", v)})).Error(fmt.Sprint(v))
	}
	out = append(out, buf.String())
	buf.Reset()
	if err := template.Must(template.New("").Parse("{{.}} {{printf `%v %#v` . .}}")).Execute(&buf, v); err != nil {
		out = append(out, err.Error())
	}
	return append(out, buf.String(), recovered(func() { panic(v) }))
}

func recovered(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}

// reachable walks everything that a deep printer could reach from v by
// reflection, unexported fields included, and returns its strings and bytes.
func reachable(v any) []string {
	w := walker{seen: map[unsafe.Pointer]bool{}}
	copied := reflect.New(reflect.TypeOf(v)).Elem() // so that it is addressable
	copied.Set(reflect.ValueOf(v))
	w.walk(copied, 0)
	return w.found
}

type walker struct {
	seen  map[unsafe.Pointer]bool
	found []string
}

func (w *walker) walk(v reflect.Value, depth int) {
	if depth > 60 {
		return
	}
	if v.CanAddr() && !v.CanInterface() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	switch v.Kind() {
	case reflect.String:
		w.found = append(w.found, v.String())
	case reflect.Pointer:
		if !v.IsNil() && !w.seen[v.UnsafePointer()] {
			w.seen[v.UnsafePointer()] = true
			w.walk(v.Elem(), depth+1)
		}
	case reflect.Interface:
		if !v.IsNil() {
			copied := reflect.New(v.Elem().Type()).Elem()
			if !v.Elem().CanInterface() {
				return
			}
			copied.Set(v.Elem())
			w.walk(copied, depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(v.Field(i), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			w.found = append(w.found, string(b))
			return
		}
		for i := range v.Len() {
			w.walk(v.Index(i), depth+1)
		}
	case reflect.Map:
		for _, side := range [][]reflect.Value{v.MapKeys(), mapValues(v)} {
			for _, item := range side {
				copied := reflect.New(item.Type()).Elem()
				copied.Set(item)
				w.walk(copied, depth+1)
			}
		}
	}
}

func mapValues(v reflect.Value) (values []reflect.Value) {
	for it := v.MapRange(); it.Next(); {
		values = append(values, it.Value())
	}
	return values
}

func requireNoLeak(t *testing.T, secret, about string, texts ...string) {
	t.Helper()
	require.GreaterOrEqual(t, len(secret), 8)
	hexed, doubled := fmt.Sprintf("%x", secret), fmt.Sprint([]byte(secret))
	for _, text := range texts {
		if leaks(text, secret) || strings.Contains(strings.ToLower(text), hexed[:16]) || strings.Contains(text, strings.Trim(doubled, "[]")) {
			t.Errorf("%s shows the secret: %.300s", about, text)
			return
		}
	}
}

func TestTheMeasureOfLeaksSeesThem(t *testing.T) {
	secret := "0123456789abcdef"
	type plain struct{ hidden map[string]*string }
	require.Contains(t, reachable(plain{map[string]*string{"k": &secret}}), secret)
	for _, v := range []any{secret, []byte(secret), struct{ s string }{secret}, errors.New(secret)} {
		found := false
		for _, text := range printings(v) {
			found = found || leaks(text, secret)
		}
		require.True(t, found, "%T", v)
	}
}

func TestNothingThatPrintsATokenShowsItsSecret(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	secret := secretOf(token)
	type nested struct {
		Public Token
		hidden Token
		ptr    *Token
		any    any
	}
	for _, v := range []any{
		token, &token, []Token{token}, [1]Token{token}, map[string]Token{"k": token}, map[Token]int{token: 1}, struct{ hidden Token }{token},
		nested{token, token, &token, token}, &nested{token, token, &token, token}, []any{token, &token}, map[any]any{token: token},
		func() Token { return token }, token.Reveal,
	} {
		if reflect.TypeOf(v).Kind() == reflect.Func {
			requireNoLeak(t, secret, "a function", fmt.Sprint(v), fmt.Sprintf("%#v", v))
			continue
		}
		requireNoLeak(t, secret, fmt.Sprintf("%T", v), printings(v)...)
		requireNoLeak(t, secret, fmt.Sprintf("reflection of %T", v), reachable(v)...)
	}
	for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%d", token), fmt.Sprintf("%#v", token), token.LogValue().String()} {
		require.Equal(t, "sk_test_"+key.ID+"…", text, "and what it shows is enough to find the key")
	}
	require.Equal(t, `"sk_test_`+key.ID+`…"`, fmt.Sprintf("%q", token))
	_, err := f.Lookup(context.Background(), token.String())
	require.Equal(t, ReasonMalformed, reasonOf(t, err))
}

func TestNothingThatPrintsAPepperShowsIt(t *testing.T) {
	const secret = "pepper-s3cret-0123456789-abcdefghi"
	h := mustHasher(t)(HMAC("k1", map[string][]byte{"k1": []byte(secret), "k2": []byte("x" + secret)}))
	f := newFixture(t, func(o *Options) { o.Hash, o.AcceptHash, o.Rehash, o.CacheSize = h, []Hasher{h, SHA256()}, true, -1 })
	token, _ := f.generate(KeyParams{})
	require.True(t, f.works(token))
	require.NoError(t, f.Close()) // so that nothing writes to what is walked
	opts := Options{Hash: h, AcceptHash: []Hasher{h}}
	type owned struct {
		o  Options
		h  Hasher
		ks *Keystore
	}
	for _, v := range []any{h, &h, opts, &opts, []Hasher{h}, map[string]Hasher{"k": h}, map[Hasher]int{h: 1}, struct{ h Hasher }{h}, owned{opts, h, f.Keystore}, f.Keystore} {
		requireNoLeak(t, secret, fmt.Sprintf("%T", v), printings(v)...)
		requireNoLeak(t, secret, fmt.Sprintf("reflection of %T", v), reachable(v)...)
		requireNoLeak(t, secretOf(token), fmt.Sprintf("%T", v), printings(v)...)
		requireNoLeak(t, secretOf(token), fmt.Sprintf("reflection of %T", v), reachable(v)...)
	}
	require.Equal(t, "HMAC-SHA-256(current key k1 of 2)", fmt.Sprint(h))

	for name, call := range map[string]func() error{
		"short": func() error { _, err := HMAC("k", map[string][]byte{"k": []byte(secret)[:31]}); return err },
		"id in place of the key": func() error {
			_, err := HMAC("k", map[string][]byte{secret: []byte("k")})
			return err
		},
		"current is the key": func() error { _, err := HMAC(secret, map[string][]byte{"k": []byte(secret)}); return err },
	} {
		err := call()
		require.ErrorIs(t, err, ErrInvalid)
		requireNoLeak(t, secret, name, printings(err)...)
	}
}

// wrongCalls pass a token, or a part of it, where something else belongs.
func wrongCalls(f *fixture, id, text string) map[string]func() error {
	ctx := context.Background()
	set := func(change func(c *Changes)) func() error {
		return func() error {
			_, err := f.Update(ctx, id, func(c *Changes) error { change(c); return nil })
			return err
		}
	}
	generate := func(p KeyParams) func() error {
		return func() error { _, _, err := f.Generate(ctx, p); return err }
	}
	calls := map[string]func() error{
		"delete an id":         func() error { return f.Delete(ctx, text) },
		"lookup":               func() error { _, err := f.Lookup(ctx, text); return err },
		"lookup id":            func() error { _, err := f.Lookup(ctx, id, text); return err },
		"hash":                 func() error { _, err := f.Hash(text); return err },
		"list after":           func() error { _, _, err := f.List(ctx, ListParams{After: text, Limit: 1}); return err },
		"list owner":           func() error { _, _, err := f.List(ctx, ListParams{Owner: text}); return err },
		"list owner and limit": func() error { _, _, err := f.List(ctx, ListParams{Owner: text, Limit: -1}); return err },
		"view":                 func() error { _, err := f.ForOwner(text).Get(ctx, id); return err },
		"view of another": func() error {
			_, _, err := f.ForOwner("alice").Generate(ctx, KeyParams{Owner: text})
			return err
		},
		"owner":          generate(KeyParams{Owner: text + "\x00"}),
		"name":           generate(KeyParams{Owner: "o", Name: text + strings.Repeat("n", 128)}),
		"description":    generate(KeyParams{Owner: "o", Description: text + "\xff"}),
		"scope":          generate(KeyParams{Owner: "o", Scopes: []string{text + " "}}),
		"long scope":     generate(KeyParams{Owner: "o", Scopes: []string{text + strings.Repeat("s", 128)}}),
		"metadata key":   generate(KeyParams{Owner: "o", Metadata: map[string]string{text + "\xff": ""}}),
		"metadata value": generate(KeyParams{Owner: "o", Metadata: map[string]string{"k": text + "\xff"}}),
		"update name":    set(func(c *Changes) { c.Name = text + "\xff" }),
		"update scope":   set(func(c *Changes) { c.Scopes = []string{text + " "} }),
		"reason":         func() error { _, err := f.Revoke(ctx, id, text+"\xff"); return err },
		"revoke all":     func() error { _, err := f.RevokeAll(ctx, text+"\x00", ""); return err },
		"parse digest":   func() error { _, err := ParseDigest(text); return err },
		"digest scheme":  func() error { _, err := NewDigest(text, "", nil); return err },
		"digest key":     func() error { _, err := NewDigest("x", text+"$", nil); return err },
		"open":           func() error { _, err := Open(ctx, text, nil); return err },
		"open host":      func() error { _, err := Open(ctx, "nosuch://"+text, nil); return err },
		"prefix":         func() error { _, err := New(f.store, &Options{Prefix: text}); return err },
		"accept prefix":  func() error { _, err := New(f.store, &Options{AcceptPrefixes: []string{text}}); return err },
		"pepper id":      func() error { _, err := HMAC(text, map[string][]byte{"k": pepper('a')}); return err },
		"pepper ids":     func() error { _, err := HMAC("k", map[string][]byte{"k": pepper('a'), text: []byte("k")}); return err },
		"check scopes":   func() error { return Key{}.CheckScopes(text) },
		"check scopes 2": func() error { return Key{}.CheckScopes("orders", text+":*") },
	}
	for name, call := range manage(f, text) {
		calls[name+" an id"] = func() error { _, err := call(); return err }
	}
	return calls
}

func TestNoErrorEchoesATokenThatIsInTheWrongPlace(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	whole, secret := token.Reveal(), secretOf(token)
	for about, text := range map[string]string{
		"the token": whole, "with a space": whole + " ", "with a header": "Bearer " + whole, "without its end": whole[:len(whole)-1], "its secret": secret, "half of its secret": secret[:17],
	} {
		for name, call := range wrongCalls(f, key.ID, text) {
			if name == "check scopes" && text != whole || name == "pepper ids" && len(text) < minPepperLen {
				continue // nothing tells it from a scope, or from an id
			}
			if err := call(); err != nil {
				requireNoLeak(t, secret, about+" as "+name, printings(err)...)
				requireNoLeak(t, secret, "reflection of "+about+" as "+name, reachable(err)...)
			}
		}
		_, err := f.Lookup(context.Background(), whole, text)
		if err != nil && text == whole {
			requireNoLeak(t, secret, about+" as a required scope", printings(err)...)
		}
	}
}

func TestNoLookupErrorLogLineOrStoredByteHoldsTheSecret(t *testing.T) {
	ctx := context.Background()
	var log bytes.Buffer
	f := newFixture(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		o.Rehash, o.AcceptHash, o.CacheSize = true, []Hasher{SHA256()}, -1 // the records are changed behind its back
		o.Hash = mustHasher(t)(HMAC("k", map[string][]byte{"k": pepper('a')}))
		o.OwnerActive = func(_ context.Context, owner string) (bool, error) {
			if owner == "unknown" {
				return false, errors.New("owners are down")
			}
			return owner != "gone", nil
		}
	})
	var tokens []Token
	lookups := func(owner string, spoil func(id string)) {
		token, key := f.generate(KeyParams{Owner: owner, Name: "n", Scopes: []string{"a"}, TTL: time.Hour})
		fresh, key, err := f.Rotate(ctx, key.ID, time.Minute, nil)
		require.NoError(t, err)
		tokens = append(tokens, token, fresh)
		if spoil != nil {
			spoil(key.ID)
		}
		for _, token := range []Token{token, fresh} {
			for _, scopes := range [][]string{nil, {"b"}, {"bad scope"}} {
				found, err := f.Lookup(ctx, token.Reveal(), scopes...)
				requireNoLeak(t, secretOf(token), "an error", printings(err)...)
				requireNoLeak(t, secretOf(token), "a key", printings(found)...)
				if err != nil {
					requireNoLeak(t, secretOf(token), "reflection of an error", reachable(err)...)
				}
			}
		}
	}
	must := func(_ Key, err error) { require.NoError(t, err) }
	lookups("alice", nil)
	lookups("gone", nil)
	lookups("unknown", nil)
	lookups("alice", func(id string) { must(f.Revoke(ctx, id, "r")) })
	lookups("alice", func(id string) { must(f.Expire(ctx, id, testNoon)) })
	lookups("alice", func(id string) { must(f.EndGrace(ctx, id)) })
	lookups("alice", func(id string) {
		f.rewrite(id, func(r *record) {
			r.secrets[0].digest, r.secrets[1].digest = Digest{"gone", "", "x"}, Digest{"gone", "", "y"}
		})
	})
	lookups("alice", func(id string) { r := f.stored(id); r.Data = r.Data[:9]; f.plant(r) })
	lookups("alice", func(id string) { require.NoError(t, f.Delete(ctx, id)) })
	for _, failure := range []error{errors.New("down"), context.DeadlineExceeded, backend.ErrClosed, backend.ErrConflict} {
		lookups("alice", func(string) {
			f.store.get = func(context.Context, string) (backend.Record, error) { return backend.Record{}, failure }
		})
		f.store.get = nil
	}
	lookups("alice", func(string) { f.Close() })
	require.NoError(t, f.Close())
	for _, token := range tokens {
		requireNoLeak(t, secretOf(token), "the log", log.String())
		requireNoLeak(t, secretOf(token), "the store", reachable(f.store)...)
	}
	require.Contains(t, strings.Join(reachable(f.store), "\n"), "alice", "the walk reaches the records")
}

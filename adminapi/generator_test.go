package adminapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/keystore"
)

// generator makes requests of the description.
type generator struct {
	*testing.T
	*rand.Rand
	site     *site
	d        *description
	compiled map[string]*jsonschema.Schema

	operations         [][2]string // path and method
	admin, self, plain string
	limited            string // that soon has nothing left
	selfID             string
	ids                []string
	strings            []string // values that mean something somewhere
	sent               []byte   // the body of the request
}

// prepare makes keys to ask for, past the API.
func (g *generator) prepare() {
	g.ids = nil
	expiring := inDays(40 * 365)
	plan, limits := "", []keystore.Limit(nil)
	one := func(owner string, scopes ...string) (id, token string) {
		k, token := g.site.key(keystore.KeyParams{Owner: owner, Scopes: scopes, ExpiresAt: expiring, Plan: plan, Limits: limits})
		if owner != "root" {
			g.ids = append(g.ids, k.ID)
		}
		return k.ID, token
	}
	_, g.admin = one("root", ScopeAdmin)
	plan, limits = "free", []keystore.Limit{{Name: "year", Requests: 500_000, Window: 366 * day}}
	g.selfID, g.self = one("alice", ScopeSelf, "orders:*", "a")
	plan, limits = "", []keystore.Limit{{Name: "day", Requests: 2, Window: day}}
	_, g.limited = one("root", ScopeAdmin)
	limits = nil
	_, g.plain = one("alice", "*")
	for i := range 6 {
		plan = []string{"", "free", "pro"}[i%3]
		one([]string{"alice", "bob"}[g.IntN(2)], "orders:read")
	}
	g.strings = []string{
		"free", "pro", "day", "alice", "bob", "orders:read", "orders:*", "*", "a", ScopeSelf, ScopeAdmin, g.plain, g.self, "active", "revoked",
		inDays(1).Format(time.RFC3339), inDays(-1).Format(time.RFC3339), "9999-12-31T23:59:59Z", "1969-12-31T00:00:00Z", DisabledBy, "self", "", "\x00", "é", "😀", strings.Repeat("x", 128), strings.Repeat("é", 65), strings.Repeat("y", 1025), "null", "{}", "$ne", "a b", "../..", "%2f",
	}
}

const limitName = "^[a-z0-9][a-z0-9_-]{0,31}$"

type target struct{ id, path, method string }

func (g *generator) request() (*http.Request, target) {
	chosen := pick(g, g.operations)
	path, method := chosen[0], chosen[1]
	op := g.d.Paths[path][method]
	at := target{op.OperationID, path, method}

	r := httptest.NewRequestWithContext(g.Context(), strings.ToUpper(method), "/v1/", nil)
	g.sent = nil
	escaped := path
	query := url.Values{}
	for _, p := range op.Parameters {
		switch p.In {
		case "path":
			id := g.id()
			path, escaped = strings.ReplaceAll(path, "{id}", id), strings.ReplaceAll(escaped, "{id}", url.PathEscape(id))
		case "header":
			if g.IntN(3) == 0 {
				r.Header[http.CanonicalHeaderKey(p.Name)] = []string{pick(g, []string{`"1"`, `"2"`, `*`, `"1", "2"`, `W/"1"`, `"x"`, "1", "", g.text()})}
			}
		case "query":
			if g.IntN(4) == 0 {
				query.Add(p.Name, fmt.Sprint(g.valueOf(p.Schema, 0)))
			}
		}
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "/v1"+path, "/v1"+escaped, query.Encode()
	switch g.IntN(40) {
	case 0:
		r.URL.RawQuery += "&" + g.text()
	case 1:
		r.URL.RawQuery += "&limit=" + pick(g, []string{"0", "1", "200", "201", "-1", "1e2", "٣"})
	}
	g.credentials(r)
	if op.RequestBody != nil {
		media := pick(g, slices.Sorted(maps.Keys(op.RequestBody.Content)))
		g.setBody(r, media, g.schemaAt("paths", at.path, method, "requestBody", "content", media, "schema"), op.RequestBody.Required)
	}
	if g.IntN(20) == 0 {
		r.Header["X-Request-Id"] = []string{g.text()}
	}
	if g.IntN(20) == 0 {
		r.Header["Accept"] = []string{pick(g, []string{"text/html", "application/cbor", "*/*;q=0", "", "\xff"})}
	}
	return r, at
}

// credentials are mostly good, so that requests get somewhere.
func (g *generator) credentials(r *http.Request) {
	switch n := g.IntN(25); {
	case n < 14:
		r.Header.Set("Authorization", "Bearer "+g.admin)
	case n < 19:
		r.Header.Set("X-API-Key", g.self)
	case n == 19:
		r.Header.Set("X-API-Key", g.plain)
	case n == 20:
		r.Header.Set("Authorization", g.text())
	case n == 21:
		r.Header.Set("Authorization", "Bearer "+g.admin)
		r.Header.Set("X-API-Key", g.admin)
	case n == 22:
		r.Header.Set("X-API-Key", g.limited)
	case n == 23:
		r.Header.Set("X-API-Key", g.admin[:len(g.admin)-1]+"0")
	}
}

// setBody sends what the schema asks for, or something near it.
func (g *generator) setBody(r *http.Request, media string, schema map[string]any, required bool) {
	var raw []byte
	switch {
	case !required && g.IntN(2) == 0, g.IntN(30) == 0:
	default:
		value := g.valueOf(schema, 0)
		if g.IntN(4) == 0 {
			value = g.mutated(value)
		}
		raw, _ = json.Marshal(value)
		switch g.IntN(30) {
		case 0:
			raw = raw[:g.IntN(len(raw)+1)]
		case 1:
			raw[g.IntN(len(raw))] = byte(g.IntN(256))
		case 2:
			raw = append(raw, raw...)
		case 3:
			raw = []byte(g.text())
		}
	}
	if g.IntN(20) == 0 {
		media = pick(g, []string{"", "text/plain", "application/json; charset=utf-8", "application/json;;", "application/cbor", "*/*", "application/json, text/plain"})
	}
	r.Header.Set("Content-Type", media)
	g.sent = raw
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
}

// valueOf makes a value that the schema accepts, often one at its bounds.
func (g *generator) valueOf(s map[string]any, depth int) any {
	if ref, ok := s["$ref"].(string); ok {
		s = g.schemaAt(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	kind, _ := s["type"].(string)
	if several, ok := s["type"].([]any); ok {
		kind = several[0].(string)
		if g.IntN(4) == 0 {
			return nil
		}
	}
	if list, ok := s["enum"].([]any); ok && g.IntN(8) > 0 {
		return list[g.IntN(len(list))]
	}
	switch kind {
	case "object":
		out := map[string]any{}
		required, _ := s["required"].([]any)
		properties, _ := s["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if slices.Contains(required, any(name)) || g.IntN(4) == 0 {
				out[name] = g.valueOf(properties[name].(map[string]any), depth+1)
			}
		}
		if more, ok := s["additionalProperties"].(map[string]any); ok {
			for range g.IntN(4) {
				out[g.text()] = g.valueOf(more, depth+1)
			}
		}
		if _, ok := out["owner"]; !ok && properties["owner"] != nil && g.IntN(4) > 0 {
			out["owner"] = "alice"
		}
		return out
	case "array":
		out := make([]any, pick(g, []int{0, 1, 1, 2, 3, 64, 65}))
		for i := range out {
			out[i] = g.valueOf(s["items"].(map[string]any), depth+1)
		}
		return out
	case "integer":
		return json.Number(pick(g, []string{"0", "1", "2", "60", "200", "201", "-1", "3600", "86400", "31622400", "1000000000", "999999999999999", "1000000000000000", "9223372036", "9223372037", "1.0", "1e2", "1e400", "0.5"}))
	case "boolean":
		return g.IntN(2) == 0
	}
	if s["format"] == "date-time" && g.IntN(8) > 0 {
		return inDays(pick(g, []int{-5, 0, 1, 2000, 4000, 45 * 365})).Add(time.Duration(g.Int64N(1e9))).Format(time.RFC3339Nano)
	}
	if s["pattern"] == limitName && g.IntN(8) > 0 {
		return pick(g, []string{"day", "burst", "year", "0", strings.Repeat("a", 32), strings.Repeat("a", 33), "Day", "-day"})
	}
	if s["pattern"] != nil && g.IntN(8) > 0 { // a scope
		return pick(g, []string{"orders:read", "orders:*", "orders:x:*", "a", "b", "*", ScopeSelf})
	}
	return g.text()
}

// mutated changes one thing about a value.
func (g *generator) mutated(v any) any {
	odd := []any{nil, true, -1, 1.5, g.text(), []any{}, map[string]any{}, []any{nil}, strings.Repeat("long", 20_000)}
	object, ok := v.(map[string]any)
	if !ok || g.IntN(3) == 0 {
		return odd[g.IntN(len(odd))]
	}
	if g.IntN(3) == 0 {
		object[g.text()] = odd[g.IntN(len(odd))]
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		list, _ := object[name].([]any)
		switch {
		case len(list) > 0 && g.IntN(2) == 0:
			list[0] = g.mutated(list[0])
		case g.IntN(3) == 0:
			object[name] = odd[g.IntN(len(odd))]
		}
	}
	return object
}

func (g *generator) id() string {
	switch g.IntN(12) {
	case 0:
		return "00000000zzzzzzzz"
	case 1:
		if text := g.text(); text != "" && text != "." && !strings.Contains(text, "..") {
			return text
		}
	}
	return g.ids[g.IntN(len(g.ids))]
}

func (g *generator) text() string {
	if g.IntN(4) > 0 {
		return pick(g, g.strings)
	}
	out := make([]rune, g.IntN(12))
	for i := range out {
		out[i] = rune(g.IntN(0x250))
	}
	return string(out)
}

// schema compiles the schema at this place of the description, once.
func (g *generator) schema(steps ...string) *jsonschema.Schema {
	at := strings.Join(steps, " ")
	if g.compiled[at] == nil {
		g.compiled[at] = g.d.schema(g, steps...)
	}
	return g.compiled[at]
}

func (g *generator) schemaAt(steps ...string) map[string]any {
	at := g.d.whole
	for _, step := range steps {
		at = at[step].(map[string]any)
	}
	return at
}

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

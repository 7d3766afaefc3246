package keystore

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	referenceRequired = regexp.MustCompile(`^[A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)*$`)
	referenceGranted  = regexp.MustCompile(`^(\*|[A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)*(:\*)?)$`)
)

func referenceValidRequired(s string) bool {
	return len(s) <= 128 && referenceRequired.MatchString(s) && !strings.HasSuffix(s, "\n")
}

func referenceValidGranted(s string) bool {
	reservedWild := strings.HasPrefix(s, "keystore:") && strings.HasSuffix(s, ":*")
	return len(s) <= 128 && referenceGranted.MatchString(s) && !strings.HasSuffix(s, "\n") && !reservedWild
}

// referenceCovers compares segment by segment.
func referenceCovers(granted, required string) bool {
	g, r := strings.Split(granted, ":"), strings.Split(required, ":")
	if r[0] == "keystore" || g[len(g)-1] != "*" {
		return slices.Equal(g, r)
	}
	g = g[:len(g)-1]
	return len(r) > len(g) && slices.Equal(g, r[:len(g)])
}

func TestScopeGrammar(t *testing.T) {
	segment := strings.Repeat("s", 126)
	for scope, valid := range map[string][2]bool{ // as granted, as required
		"orders":               {true, true},
		"orders:read":          {true, true},
		"a:b:c:d:e:f":          {true, true},
		"A-z0.9_:-._":          {true, true},
		".":                    {true, true},
		"keystore":             {true, true},
		"keystore:admin":       {true, true},
		"Keystore:*":           {true, false},
		"keystores:*":          {true, false},
		"*":                    {true, false},
		"orders:*":             {true, false},
		"a:b:*":                {true, false},
		segment + ":s":         {true, true},
		segment + ":*":         {true, false},
		segment + ":ss":        {false, false},
		segment + "s:*":        {false, false},
		"keystore:*":           {false, false},
		"keystore:admin:*":     {false, false},
		"":                     {false, false},
		":":                    {false, false},
		"orders:":              {false, false},
		":orders":              {false, false},
		"a::b":                 {false, false},
		"**":                   {false, false},
		"*:*":                  {false, false},
		"*:read":               {false, false},
		"orders:*:read":        {false, false},
		"orders*":              {false, false},
		"ord*:read":            {false, false},
		":*":                   {false, false},
		"orders::*":            {false, false},
		"orders:* ":            {false, false},
		" orders":              {false, false},
		"orders\n":             {false, false},
		"orders:read\x00":      {false, false},
		"orders/read":          {false, false},
		"orders,read":          {false, false},
		"ordérs":               {false, false},
		"\xff":                 {false, false},
		"orders:\u200bread":    {false, false},
		"ｏrders":               {false, false},
		"orders:read,orders:*": {false, false},
	} {
		_, err := newScopes([]string{scope})
		require.Equal(t, valid[0], err == nil, "granted %q: %v", scope, err)
		err = checkRequired([]string{scope})
		require.Equal(t, valid[1], err == nil, "required %q: %v", scope, err)
		require.Equal(t, valid, [2]bool{referenceValidGranted(scope), referenceValidRequired(scope)}, "reference of %q", scope)
	}
}

func TestWhatAGrantedScopeCovers(t *testing.T) {
	for _, c := range []struct {
		granted, required string
		covers            bool
	}{
		{"orders:*", "orders:a", true},
		{"orders:*", "orders:a:b", true},
		{"orders:*", "orders", false},
		{"orders:*", "orders2:x", false},
		{"orders:*", "orders-x:y", false},
		{"orders:*", "order:s", false},
		{"orders:*", "Orders:a", false},
		{"orders:read:*", "orders:read", false},
		{"orders:read:*", "orders:read:eu", true},
		{"orders:read:*", "orders:write:eu", false},
		{"orders", "orders", true},
		{"orders", "orders:a", false},
		{"read", "readwrite", false},
		{"readwrite", "read", false},
		{"orders:read", "orders:read:eu", false},
		{"orders:read", "orders:rea", false},
		{"orders:read", "orders:Read", false},
		{"*", "orders", true},
		{"*", "a:b:c", true},
		{"*", "keystore", false},
		{"*", "keystore:admin", false},
		{"*", "keystores:admin", true},
		{"*", "Keystore:admin", true},
		{"keystore", "keystore", true},
		{"keystore", "keystore:admin", false},
		{"keystore:admin", "keystore:admin", true},
		{"keystore:admin", "keystore", false},
		{"keystore:admin", "keystore:admin:x", false},
	} {
		set, err := newScopes([]string{c.granted})
		require.NoError(t, err)
		require.Equal(t, c.covers, set.cover(c.required), "%s covers %s", c.granted, c.required)
		require.Equal(t, c.covers, set.Has(c.required), "%s has %s", c.granted, c.required)
		require.Equal(t, c.covers, referenceCovers(c.granted, c.required), "reference of %s covers %s", c.granted, c.required)
		if err := (Key{Scopes: set}).CheckScopes(c.required); c.covers {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, ErrMissingScope)
		}
	}
}

func TestASetCoversWhatTheReferenceDoesAndNoMore(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	scope := func() string {
		parts := make([]string, 1+random.IntN(3))
		for i := range parts {
			parts[i] = []string{"a", "b", "ab", "a.b", "keystore", "keystor", "admin", "*"}[random.IntN(8)]
		}
		return strings.Join(parts, ":")
	}
	covered, sets := 0, 0
	for range 60_000 {
		var granted []string
		for range random.IntN(4) {
			if g := scope(); referenceValidGranted(g) {
				granted = append(granted, g)
			}
		}
		required := scope()
		set, err := newScopes(granted)
		require.NoError(t, err, "%q", granted)
		want := referenceValidRequired(required) && slices.ContainsFunc(granted, func(g string) bool { return referenceCovers(g, required) })
		err = Key{Scopes: set}.CheckScopes(required)
		require.Equal(t, want, err == nil, "%q against %q", granted, required)
		sets++
		if want {
			covered++
		}
	}
	require.Greater(t, covered, sets/20, "the cases say something")
	require.Less(t, covered, sets/2)
}

func TestEveryRequiredScopeMustBeCovered(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{Scopes: []string{"orders:*", "users:read"}})
	none, _ := f.generate(KeyParams{})

	for _, required := range [][]string{nil, {"orders:a"}, {"orders:a", "users:read", "orders:a"}} {
		got, err := f.Lookup(ctx, token.Reveal(), required...)
		require.NoError(t, err)
		require.Equal(t, key, got)
	}
	_, err := f.Lookup(ctx, none.Reveal())
	require.NoError(t, err, "nothing was required")

	for _, c := range []struct {
		token    Token
		required []string
		missing  []string
	}{
		{token, []string{"orders:a", "users:write"}, []string{"users:write"}},
		{token, []string{"orders", "users:read", "x"}, []string{"orders", "x"}},
		{none, []string{"orders:a"}, []string{"orders:a"}},
	} {
		got, err := f.Lookup(ctx, c.token.Reveal(), c.required...)
		require.ErrorIs(t, err, ErrMissingScope)
		require.NotErrorIs(t, err, ErrUnauthenticated)
		require.Equal(t, Key{}, got)
		var scopes *ScopeError
		require.ErrorAs(t, err, &scopes)
		require.Equal(t, c.missing, scopes.Missing)
		var refused *LookupError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, []string{string(ReasonMissingScope), c.token.ID(), "alice"}, []string{string(refused.Reason), refused.KeyID, refused.Owner})

		result, err := f.LookupWith(ctx, c.token.Reveal(), LookupParams{Scopes: c.required})
		require.ErrorIs(t, err, ErrMissingScope)
		require.Equal(t, Result{}, result)
	}
}

func TestAMalformedRequiredScopeIsTheProgramsFault(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{Scopes: []string{"*"}})
	calls := f.store.calls.Load()
	for _, bad := range []string{"", "*", "orders:*", "a b", "a:", strings.Repeat("a", 129)} {
		for _, text := range []string{token.Reveal(), "nonsense"} {
			got, err := f.Lookup(ctx, text, "orders", bad)
			requireField(t, err, "scope")
			require.NotErrorIs(t, err, ErrUnauthenticated)
			require.Equal(t, ReasonInvalidScope, reasonOf(t, err))
			require.Equal(t, Key{}, got)
		}
		requireField(t, key.CheckScopes("orders", bad), "scope")
	}
	require.Equal(t, calls, f.store.calls.Load())
}

func TestReservedScopesAreGrantedOnlyOnPurpose(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	for _, scope := range []string{"keystore", "keystore:admin"} {
		_, _, err := f.Generate(ctx, KeyParams{Owner: "alice", Scopes: []string{"orders", scope}})
		requireField(t, err, "scopes")
	}
	for _, wild := range []string{"keystore:*", "keystore:admin:*"} {
		_, _, err := f.Generate(ctx, KeyParams{Owner: "alice", Scopes: []string{wild}, AllowReserved: true})
		requireField(t, err, "scopes")
	}

	plainToken, plain := f.generate(KeyParams{Scopes: []string{"*"}})
	_, err := f.Lookup(ctx, plainToken.Reveal(), "keystore:admin")
	require.ErrorIs(t, err, ErrMissingScope, "no wildcard reaches it")
	_, err = f.Update(ctx, plain.ID, func(c *Changes) error { c.Scopes = append(c.Scopes, "keystore:admin"); return nil })
	requireField(t, err, "scopes")

	adminToken, admin := f.generate(KeyParams{Scopes: []string{"keystore:admin", "x"}, AllowReserved: true})
	_, err = f.Lookup(ctx, adminToken.Reveal(), "keystore:admin")
	require.NoError(t, err)
	_, err = f.Update(ctx, admin.ID, func(c *Changes) error { c.Scopes = []string{"keystore:admin", "y"}; return nil })
	require.NoError(t, err, "what is there may stay")
	_, err = f.Update(ctx, admin.ID, func(c *Changes) error { c.Scopes = append(c.Scopes, "keystore:audit"); return nil })
	requireField(t, err, "scopes")
	_, err = f.Update(ctx, admin.ID, func(c *Changes) error { c.Scopes = []string{"y"}; return nil })
	require.NoError(t, err, "and may go")
	_, err = f.Update(ctx, admin.ID, func(c *Changes) error { c.Scopes = []string{"keystore:admin"}; return nil })
	requireField(t, err, "scopes")
}

func TestScopesAreASortedSetThatNobodyChanges(t *testing.T) {
	f := newFixture(t)
	list := []string{"b", "a:*", "b", "*", "a"}
	_, key := f.generate(KeyParams{Scopes: list})
	list[0] = "changed"
	want := []string{"*", "a", "a:*", "b"}
	require.Equal(t, want, slices.Collect(key.Scopes.All()))
	require.Equal(t, 4, key.Scopes.Len())
	require.Equal(t, "* a a:* b", key.Scopes.String())
	require.True(t, key.Scopes.Has("a:*"), "literally")
	require.False(t, key.Scopes.Has("b:*"))
	require.False(t, Scopes{}.Has(""))

	_, err := f.Update(context.Background(), key.ID, func(c *Changes) error {
		c.Scopes[0] = "zzz"
		return errors.New("stop")
	})
	require.Error(t, err)
	require.Equal(t, want, slices.Collect(key.Scopes.All()))
	got, err := f.Get(context.Background(), key.ID)
	require.NoError(t, err)
	require.Equal(t, want, slices.Collect(got.Scopes.All()))

	for set, text := range map[string]Scopes{`["*","a","a:*","b"]`: key.Scopes, `[]`: {}} {
		out, err := json.Marshal(text)
		require.NoError(t, err)
		require.JSONEq(t, set, string(out))
		require.NotContains(t, string(out), "null")
	}
}

package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

// idsOf are the ids in a listing of JSON lines.
func idsOf(t *testing.T, out string) []string {
	t.Helper()
	var ids []string
	for line := range strings.Lines(out) {
		id, err := jsonAt(line, "id")
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

func TestListGoesThroughAllPages(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	ks := keystoreOf(t)
	var all, disabled []string
	const keys = 2*listPage + 50
	for i := range keys {
		owner := "alice"
		if i == listPage+7 {
			owner = damagedOwner
		}
		_, key, err := ks.Generate(t.Context(), keyParams(owner))
		require.NoError(t, err)
		if owner == damagedOwner {
			continue
		}
		if i%3 == 0 {
			_, err := ks.Update(t.Context(), key.ID, func(c *keystore.Changes) error { c.Disabled = true; return nil })
			require.NoError(t, err)
		}
	}
	for key, err := range ks.All(t.Context(), "alice") {
		require.NoError(t, err)
		all = append(all, key.ID)
		if key.Disabled {
			disabled = append(disabled, key.ID)
		}
	}

	r := u.run("list", "--json")
	require.Equal(t, int(statusCorrupt), r.code)
	require.Equal(t, all, idsOf(t, r.out))
	require.Equal(t, keys-1, len(all))

	r = u.run("list")
	require.Equal(t, int(statusCorrupt), r.code)
	require.Equal(t, keys, strings.Count(r.out, "\n"), "one head, and a line a key")

	require.Equal(t, all, idsOf(t, u.must(t, "list", "--json", "--owner", "alice")))
	require.Equal(t, disabled, idsOf(t, u.run("list", "--json", "--state", "disabled").out))
	for _, limit := range []string{"1", "2", "120", "130"} {
		got := walkPages(t, u, "--state", "disabled", "--limit", limit)
		require.Equal(t, disabled, got, limit)
	}
	for _, limit := range []string{"1", "199", "200", "201", "449", "1000000"} {
		if limit == "1" { // 449 pages of the first would prove no more
			require.Equal(t, all[:1], idsOf(t, u.must(t, "list", "--json", "--limit", limit)))
			continue
		}
		require.Equal(t, all, walkPages(t, u, "--limit", limit), limit)
	}
}

// walkPages lists page after page, as docs/cli.md says.
func walkPages(t *testing.T, u *tool, args ...string) []string {
	t.Helper()
	var ids []string
	for {
		page := append([]string{"list", "--json"}, args...)
		if len(ids) > 0 {
			page = append(page, "--after", ids[len(ids)-1])
		}
		r := u.run(page...)
		if r.code != 0 {
			require.Equal(t, int(statusCorrupt), r.code, r.errOut)
		}
		found := idsOf(t, r.out)
		if len(found) == 0 {
			return ids
		}
		ids = append(ids, found...)
	}
}

// A list of a store that fails midway shows what it found, and fails.
func TestListThatFailsMidway(t *testing.T) {
	u := newTool(t, newStore(t, faulty.Nth(3, faulty.List, faulty.Refuse(errors.New("down"))))) // a page takes two calls
	ks := keystoreOf(t)
	for range listPage + 5 {
		_, _, err := ks.Generate(t.Context(), keyParams("alice"))
		require.NoError(t, err)
	}
	r := u.run("list", "--json")
	require.Equal(t, int(statusUnavailable), r.code)
	require.NotEmpty(t, idsOf(t, r.out))
}

func TestCancelledIsInterrupted(t *testing.T) {
	u := newTool(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	u.env["KEYSTORE_URL"] = newStore(t, faulty.Only(func(ctx context.Context, do faulty.Do) error {
		cancel() // the user presses Ctrl-C while the store is being asked
		return faulty.Block(ctx, do)
	}, faulty.List, faulty.Get))
	u.ctx = ctx
	for _, args := range [][]string{{"list"}, {"get", "0000000000000000"}, {"revoke", "--owner", "alice"}, {"lookup"}, {"digests"}} {
		r := u.run(append(args, "--json")...)
		require.Equal(t, int(statusInterrupted), r.code, "%v: %s", args, r.errOut)
		require.Contains(t, r.errOut, `"code":"interrupted","exit":130`)
	}
}

// An unknown outcome is reported as such, also to whoever pressed Ctrl-C.
func TestCancelledInMidWriteIsUnknown(t *testing.T) {
	u := newTool(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	u.env["KEYSTORE_URL"] = newStore(t, faulty.Only(func(ctx context.Context, do faulty.Do) error {
		_ = do(ctx)
		cancel()
		return ctx.Err()
	}, faulty.Create))
	u.ctx = ctx
	r := u.run("generate", "--owner", "alice", "--json")
	require.Equal(t, int(statusUnknownOutcome), r.code, r.errOut)
	token, err := jsonAt(r.out, "token")
	require.NoError(t, err)
	_, err = keystoreOf(t).Lookup(t.Context(), token)
	require.NoError(t, err)
}

// While the tool rotates, another one gives the key a prefix that it was not
// told of: it must see that, instead of issuing a token with its own.
func TestRotateNoticesANewPrefix(t *testing.T) {
	var other *keystore.Keystore
	u := newTool(t, newStore(t, faulty.Nth(1, faulty.Update, faulty.Around(func() {
		for key := range other.All(t.Context(), "") {
			_, _, err := other.Rotate(t.Context(), key.ID, 0, nil)
			require.NoError(t, err)
		}
	}, nil))))
	stores.Lock()
	b := stores.byName[t.Name()].store.Open()
	stores.Unlock()
	var err error
	other, err = keystore.New(b, &keystore.Options{Prefix: "other"})
	require.NoError(t, err)
	t.Cleanup(func() { other.Close() })

	id, _ := u.generate(t)
	r := u.run("rotate", id, "--grace", "0")
	require.Equal(t, int(statusUsage), r.code)
	require.Contains(t, r.errOut, "has the prefix other")
	key, err := other.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 2, key.Generation)
}

// Another writer who changes something else is no reason to give up.
func TestRotateGoesOnAfterAnotherChange(t *testing.T) {
	var other *keystore.Keystore
	u := newTool(t, newStore(t, faulty.Nth(1, faulty.Update, faulty.Around(func() {
		for key := range other.All(t.Context(), "") {
			_, err := other.Update(t.Context(), key.ID, func(c *keystore.Changes) error { c.Name = "x"; return nil })
			require.NoError(t, err)
		}
	}, nil))))
	other = keystoreOf(t)
	id, _ := u.generate(t)
	u.must(t, "rotate", id, "--grace", "0")
	key, err := other.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 2, key.Generation)
	require.Equal(t, "x", key.Name)
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// result is what a run of the tool left.
type result struct {
	code        int
	out, errOut string
}

// tool runs the tool in this process.
type tool struct {
	ctx   context.Context
	env   map[string]string
	stdin string
}

func newTool(t *testing.T, storeURL string) *tool {
	return &tool{ctx: t.Context(), env: map[string]string{"KEYSTORE_URL": storeURL}}
}

func (u *tool) run(args ...string) result {
	var out, errOut bytes.Buffer
	code := run(u.ctx, args, system{strings.NewReader(u.stdin), &out, &errOut, func(name string) string { return u.env[name] }})
	return result{code, out.String(), errOut.String()}
}

// must runs the tool and returns its output.
func (u *tool) must(t *testing.T, args ...string) string {
	t.Helper()
	r := u.run(args...)
	require.Zero(t, r.code, r.errOut)
	return r.out
}

// generate makes a key and returns its id and token.
func (u *tool) generate(t *testing.T, args ...string) (id, token string) {
	t.Helper()
	var issued struct {
		Token string
		Key   struct{ ID string }
	}
	out := u.must(t, append([]string{"generate", "--owner", "alice", "--json"}, args...)...)
	require.NoError(t, json.Unmarshal([]byte(out), &issued))
	return issued.Key.ID, issued.Token
}

// jsonAt returns what the last line of the output has at a path such as key/id or
// key/scopes/0; a text without its quotes.
func jsonAt(output, path string) (string, error) {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	var value any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &value); err != nil {
		return "", err
	}
	for _, part := range strings.Split(path, "/") {
		switch v := value.(type) {
		case map[string]any:
			found := false
			if value, found = v[part]; !found {
				return "", fmt.Errorf("there is no %s in %v", part, v)
			}
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(v) {
				return "", fmt.Errorf("there is no %s in %v", part, v)
			}
			value = v[i]
		default:
			return "", fmt.Errorf("there is no %s in %v", part, v)
		}
	}
	if text, ok := value.(string); ok {
		return text, nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// stores are in memory, for tests that use one of them several times: the URL is
// shared://NAME.
var stores struct {
	sync.Mutex
	byName map[string]shared
}

// shared is a store and the faults of its calls.
type shared struct {
	store *memory.Store
	plan  faulty.Plan
}

// newStore makes a store, whose calls fail as the plan says, and returns its URL.
func newStore(t *testing.T, plan faulty.Plan) string { return newStoreCalled(t.Name(), plan) }

func newStoreCalled(name string, plan faulty.Plan) string {
	stores.Lock()
	defer stores.Unlock()
	if stores.byName == nil {
		stores.byName = make(map[string]shared)
	}
	stores.byName[name] = shared{new(memory.Store), plan}
	return "shared://" + name
}

// keystoreOf is a second way to the store of the test, without faults.
func keystoreOf(t *testing.T) *keystore.Keystore {
	stores.Lock()
	defer stores.Unlock()
	ks, err := keystore.New(stores.byName[t.Name()].store.Open(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { ks.Close() })
	return ks
}

func init() {
	backend.Register("shared", func(_ context.Context, rawURL string, _ *backend.OpenOptions) (backend.Backend, error) {
		stores.Lock()
		defer stores.Unlock()
		s, found := stores.byName[strings.TrimPrefix(rawURL, "shared://")]
		if !found {
			return nil, errors.New("no such store")
		}
		return damaging{faulty.New(s.store.Open(), s.plan).(counting)}, nil
	})
	backend.Register("faulty", openFaulty)
}

// openFaulty opens the Badger folder of the path, for scripts. fault=NAME says
// what fails.
func openFaulty(ctx context.Context, rawURL string, o *backend.OpenOptions) (backend.Backend, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	inner, err := backend.Open(ctx, "badger://"+u.Path+"?sync=0", o)
	if err != nil {
		return nil, err
	}
	lost := errors.New("the reply was lost")
	plans := map[string]faulty.Plan{
		"":          nil,
		"down":      faulty.Only(faulty.Refuse(errors.New("the network is down")), faulty.Get, faulty.List, faulty.Purge),
		"lost":      faulty.Only(faulty.LoseReply(lost), faulty.Create, faulty.Update, faulty.Delete, faulty.ResetCounts),
		"uncounted": faulty.Only(faulty.Refuse(errors.New("the network is down")), faulty.Spend, faulty.Counts, faulty.ResetCounts, faulty.Usage),
		"conflict":  faulty.Only(faulty.Refuse(backend.ErrConflict), faulty.Update),
		"block":     faulty.Only(blockLoudly(faulty.Block), faulty.Get),
		"hang":      faulty.Only(blockLoudly(func(context.Context, faulty.Do) error { select {} }), faulty.Get),
	}
	plan, known := plans[u.Query().Get("fault")]
	if !known {
		return nil, errors.New("no such fault")
	}
	return damaging{faulty.New(inner, plan).(counting)}, nil
}

// blockLoudly says that the call is there, and then waits.
func blockLoudly(wait faulty.Fault) faulty.Fault {
	return func(ctx context.Context, do faulty.Do) error {
		fmt.Fprintln(os.Stderr, "blocked")
		return wait(ctx, do)
	}
}

// damaging is a store in which the records of one owner are damaged.
type damaging struct{ counting }

// counting is a store that counts limits and usage.
type counting interface {
	backend.Backend
	backend.Counter
	backend.Meter
}

const damagedOwner = "damaged"

func damage(r *backend.Record) {
	if r.Owner == damagedOwner {
		r.Data[len(r.Data)-1] ^= 1
	}
}

func (d damaging) Get(ctx context.Context, id string) (backend.Record, error) {
	r, err := d.counting.Get(ctx, id)
	if err == nil {
		damage(&r)
	}
	return r, err
}

func (d damaging) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	list, err := d.counting.List(ctx, o)
	for i := range list {
		damage(&list[i])
	}
	return list, err
}

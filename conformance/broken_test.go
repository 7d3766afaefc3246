package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/hub"
	"example.com/keystore/memory"
)

// The tests of this file run the suite on backends that are broken on purpose. A
// suite that lets one pass, or fails it without naming the rule, tests nothing.

// breakage is a backend that does one thing wrong.
type breakage struct {
	name  string
	rule  rule // that a failure must name
	spoil func(h handle) backend.Backend
}

// handle is a sound backend, for a breakage to embed and to spoil.
type handle struct {
	*memory.Backend
	name  string
	store *memory.Store
	side  *side
}

// side is what the handles of one store share besides their records.
type side struct {
	sync.Mutex
	hub     hub.Hub
	handles int                       // that are open
	records map[string]backend.Record // for any use
	readers []chan string
	closed  bool
	ends    []func()
	lives   int // times that the last handle was closed
	ledger
	tallyBook
}

func breakages() []breakage {
	return slices.Concat(brokenWrites, brokenUpkeep, brokenReads, brokenLives, brokenWatches, optionalBreakages())
}

// optionalBreakages are those of backend.Counter and backend.Meter.
func optionalBreakages() []breakage {
	return slices.Concat(brokenSpends, brokenCounts, brokenUsage)
}

const childEnv = "KEYSTORE_CONFORMANCE_BREAKAGE"

// TestBroken runs each breakage in a process of its own, where it may fail.
func TestBroken(t *testing.T) {
	const tries = 5
	slots := make(chan struct{}, 2)
	for _, broken := range breakages() {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			// Some break in a race alone, which one run may miss.
			want := fmt.Sprintf("rule %q: ", string(broken.rule))
			var out string
			var err error
			for range tries {
				if out, err = runChild(t, broken.name, topicsOf(broken.name)); strings.Contains(out, want) {
					break
				}
			}
			if err == nil {
				t.Fatalf("the suite lets it pass, want it to fail by the rule %q", broken.rule)
			}
			if strings.Contains(out, "panic:") {
				t.Errorf("the suite panics:\n%s", out)
			}
			if !strings.Contains(out, want) {
				t.Errorf("the suite fails (%v), but not by the rule %q:\n%s", err, broken.rule, out)
			}
		})
	}
}

// TestUnbroken shows that it is the breakages that fail, and not the children.
func TestUnbroken(t *testing.T) {
	out, err := runChild(t, "none", "")
	if err != nil || !strings.Contains(out, "--- PASS: TestBrokenChild/watch/") {
		t.Errorf("the suite fails the sound backend (%v):\n%s", err, out)
	}
}

// topicsOf is the flag for the topics on which a breakage is tested: others would
// not show it, and there are many breakages.
func topicsOf(name string) string {
	const optional = "^TestBrokenChild$/^(spend|counts|usage)"
	for _, broken := range optionalBreakages() {
		if broken.name == name {
			return "-test.run=" + optional
		}
	}
	return "-test.skip=" + optional
}

// runChild runs the suite on a breakage and returns what the failures say.
func runChild(t *testing.T, name, topics string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := []string{"-test.run=^TestBrokenChild$", "-test.v", "-test.timeout=100s"}
	if topics != "" {
		args = append(args, topics) // a later -test.run takes the place of the first
	}
	child := exec.CommandContext(ctx, self, args...)
	child.Env = append(os.Environ(), childEnv+"="+name)
	out, err := child.CombinedOutput()
	return string(out), err
}

func TestBrokenChild(t *testing.T) {
	name := os.Getenv(childEnv)
	if name == "" {
		t.Skip("is run by TestBroken")
	}
	spoil := func(h handle) backend.Backend { return h }
	for _, broken := range breakages() {
		if broken.name == name {
			spoil = broken.spoil
			patience = 300 * time.Millisecond // what is missing here will never come
		}
	}
	Run(t, openBroken(spoil))
}

func openBroken(spoil func(h handle) backend.Backend) Opener {
	var mu sync.Mutex
	stores := make(map[string]handle)
	return func(_ testing.TB, name string) backend.Backend {
		mu.Lock()
		defer mu.Unlock()
		h, ok := stores[name]
		if !ok {
			h = handle{name: name, store: new(memory.Store), side: &side{records: make(map[string]backend.Record), ledger: newLedger(), tallyBook: newTallyBook()}}
			stores[name] = h
		}
		h.Backend = h.store.Open()
		h.side.Lock()
		h.side.handles++
		h.side.Unlock()
		return spoil(h)
	}
}

// yield lets everybody else run, in the middle of what should be atomic.
func yield() {
	for range 100 {
		runtime.Gosched()
	}
}

// everything lists the store past any breakage.
func (h handle) everything() []backend.Record {
	all, err := h.store.Open().List(context.Background(), backend.ListOptions{Limit: 1 << 20})
	if err != nil {
		panic(err)
	}
	return all
}

func (h handle) due(now time.Time) (due []backend.Record) {
	for _, r := range h.everything() {
		if !r.PurgeAt.IsZero() && !r.PurgeAt.After(now) {
			due = append(due, r)
		}
	}
	return due
}

// altered shows records otherwise than they are.
type altered struct {
	handle
	alter func(r *backend.Record)
}

func (b altered) Get(ctx context.Context, id string) (backend.Record, error) {
	r, err := b.handle.Get(ctx, id)
	if err == nil {
		b.alter(&r)
	}
	return r, err
}

func (b altered) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	page, err := b.handle.List(ctx, o)
	for i := range page {
		b.alter(&page[i])
	}
	return page, err
}

// relisted passes the pages of a sound List on as it likes.
type relisted struct {
	handle
	list func(o backend.ListOptions, list sound) []backend.Record
}

func (b relisted) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	if _, err := b.handle.List(ctx, o); err != nil {
		return nil, err
	}
	return b.list(o, func(o backend.ListOptions) []backend.Record {
		page, _ := b.handle.List(ctx, o)
		return page
	}), nil
}

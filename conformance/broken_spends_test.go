package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// brokenSpends are breakages of Spend.
var brokenSpends = []breakage{
	{"Spend decides by what it read before", exactlyMax, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		counts, err := h.Counts(ctx, s.ID, s.Windows)
		if yield(); err != nil || !h.repeats(s) && exceeded(s, counts) {
			return backend.Spent{Counts: counts}, err
		}
		return h.Spend(ctx, raised(s))
	})},
	{"Spend goes past Max by one", spendAdds, windowsWith(func(w *backend.Window) { w.Max++ })},
	{"Spend stops short of Max", spendAdds, windowsWith(func(w *backend.Window) { w.Max-- })},
	{"Spend looks at the first window alone", allOrNone, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		whole := raised(s)
		whole.Windows[0].Max = s.Windows[0].Max
		return h.Spend(ctx, whole)
	})},
	{"Spend spends window by window", allOrNone, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent := backend.Spent{OK: true}
		for i, w := range s.Windows {
			one := s
			one.SpendID, one.Windows = s.SpendID+uint64(i)<<40, []backend.Window{w}
			got, err := h.Spend(ctx, one)
			if err != nil {
				return got, err
			}
			spent.OK, spent.Counts = spent.OK && got.OK, append(spent.Counts, got.Counts...)
		}
		return spent, nil
	})},
	{"Spend consumes what it denies", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if err == nil && !spent.OK {
			s.SpendID = rand.Uint64()
			h.Spend(ctx, raised(s))
		}
		return spent, err
	})},
	{"Spend consumes what is left", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if err == nil && !spent.OK {
			s.SpendID = rand.Uint64()
			if s.Cost = s.Windows[0].Max - spent.Counts[0]; s.Cost > 0 {
				h.Spend(ctx, s)
			}
		}
		return spent, err
	})},
	{"Spend shows a denied cost", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		for i := range spent.Counts {
			if !spent.OK {
				spent.Counts[i] += s.Cost
			}
		}
		return spent, err
	})},
	{"Spend shows the counts before", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		counts, _ := h.Counts(ctx, s.ID, s.Windows)
		spent, err := h.Spend(ctx, s)
		spent.Counts = counts
		return spent, err
	})},
	{"Spend shows the counts in an order of its own", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		slices.Sort(spent.Counts)
		return spent, err
	})},
	{"Spend shows what others spent", oneByOne, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if yield(); err == nil {
			spent.Counts, err = h.Counts(ctx, s.ID, s.Windows)
		}
		return spent, err
	})},
	{"Spend goes by the first Max", "Max is that of the Spend, whatever it was before", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		first := slices.Concat(h.side.spent[s.ID], s.Windows)[0]
		h.side.Unlock()
		s.Windows = slices.Clone(s.Windows)
		if sameNameAndLength(first, s.Windows[0]) {
			s.Windows[0].Max = first.Max
		}
		return h.Spend(ctx, s)
	})},
	{"Spend counts in 32 bits", "costs, counts and Max are exact up to MaxCount", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		s.Cost = max(1, s.Cost&(1<<32-1))
		return h.Spend(ctx, s)
	})},
	{"Spend goes by its own clock", "a window counts whatever the time is", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if s.Windows[0].End().Before(time.Now()) && err == nil {
			h.ResetCounts(ctx, s.ID)
		}
		return spent, err
	})},
	{"Spend fails without a record", "Spend returns whether the cost was added", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if _, err := h.Get(ctx, s.ID); err != nil {
			return backend.Spent{}, err
		}
		return h.Spend(ctx, s)
	})},
	{"Spend makes a record", beside, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if _, err := h.Get(ctx, s.ID); errors.Is(err, backend.ErrNotFound) {
			h.Create(ctx, backend.Record{ID: s.ID, Owner: "counts"})
		}
		return h.Spend(ctx, s)
	})},
	{"Spend bumps the revision", beside, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if r, err := h.Get(ctx, s.ID); err == nil {
			h.force(ctx, r)
		}
		return h.Spend(ctx, s)
	})},
	{"Spend changes the windows that it is given", "a backend does not modify memory that it is given", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		slices.Reverse(s.Windows)
		return spent, err
	})},
	{"Spend is told by Watch", "Watch tells of no counts", func(h handle) backend.Backend { return heardSpends{announcing{h}} }},
	{"Spend counts in its handle", "what is spent is seen through every handle of the store once it is acknowledged", func(h handle) backend.Backend { return perHandle{h, memory.New()} }},

	{"a repeat counts again", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		s.SpendID = rand.Uint64()
		return h.Spend(ctx, s)
	})},
	{"a repeat is denied once the window is full", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if counts, err := h.Counts(ctx, s.ID, s.Windows); err == nil && exceeded(s, counts) {
			return backend.Spent{Counts: counts}, nil
		}
		return h.Spend(ctx, s)
	})},
	{"a repeat is known if it is one of the last few", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		known := h.side.spends[s.ID]
		h.side.Unlock()
		if !slices.Contains(known[max(0, len(known)-backend.KeptSpends+1):], s.SpendID) {
			s.SpendID = rand.Uint64()
		}
		return h.Spend(ctx, s)
	})},
	{"a repeat is known in its window alone", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		spent := h.side.spent[s.ID]
		if len(spent) == 0 || !spent[len(spent)-1].Start.Equal(s.Windows[len(s.Windows)-1].Start) {
			s.SpendID = rand.Uint64()
		}
		h.side.Unlock()
		return h.Spend(ctx, s)
	})},
	{"a repeat is known by its handle alone", spendRepeats, func(h handle) backend.Backend {
		mask := rand.Uint64()
		return spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
			s.SpendID ^= mask
			return h.Spend(ctx, s)
		})(h)
	}},
	{"a repeat shows the counts of then", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		first := fmt.Sprint(s.ID, s.SpendID)
		spent, err := h.Spend(ctx, s)
		h.side.Lock()
		defer h.side.Unlock()
		if h.side.answers[first] == nil && spent.OK {
			h.side.answers[first] = slices.Clone(spent.Counts)
		}
		if spent.OK {
			spent.Counts = slices.Clone(h.side.answers[first])
		}
		return spent, err
	})},
	{"a repeat of what was denied is OK", noTrace, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		h.side.Lock()
		defer h.side.Unlock()
		if id := fmt.Sprint(s.ID, s.SpendID); err == nil && !spent.OK {
			spent.OK = h.side.answers[id] != nil
			h.side.answers[id] = spent.Counts
		}
		return spent, err
	})},
	{"SpendIDs lose their last bits", "spends of other SpendIDs are no repeats", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if s.SpendID >= 1<<53 {
			s.SpendID &^= 1
		}
		return h.Spend(ctx, s)
	})},
	{"SpendIDs are of the store", oneKey, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		defer h.side.Unlock()
		for id, spends := range h.side.spends {
			if id != s.ID && slices.Contains(spends, s.SpendID) {
				counts, err := h.Counts(ctx, s.ID, s.Windows)
				return backend.Spent{OK: true, Counts: counts}, err
			}
		}
		return h.Spend(ctx, s)
	})},

	{"Spend ignores the context", `Spend returns "context canceled" if the context has ended`, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		return h.Spend(context.WithoutCancel(ctx), s)
	})},
	{"Spend knows what it cannot know", honestOutcome, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if yield(); err == nil && ctx.Err() != nil {
			return backend.Spent{}, errors.Join(backend.ErrNotApplied, ctx.Err())
		}
		return spent, err
	})},
	{"Spend counts after Close", "what returns ErrClosed has no effect", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if errors.Is(err, backend.ErrClosed) {
			h.store.Open().Spend(ctx, s)
		}
		return spent, err
	})},
	{"Close loses the spends", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		s.SpendID ^= uint64(h.side.lives) << 32
		h.side.Unlock()
		return h.Spend(ctx, s)
	})},
}

package limits

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// rotation rotates a key in mid-window. All generations have one budget.
func rotation(t *testing.T, f *fleet) {
	id, first := f.limited(t, limit("hour", 100, time.Hour))
	now, end := noon.Add(time.Minute), noon.Add(time.Hour)
	f.look(t, now, single(30, first)).require(t, expected{limit: "hour", left: 100, passes: 30, now: now, reset: end})
	second := f.rotate(t, id)
	f.look(t, now, single(30, second)).require(t, expected{limit: "hour", left: 70, passes: 30, now: now, reset: end})
	third := f.rotate(t, id)
	all := []string{first, second, third}
	f.look(t, now, f.crowd(all...)).require(t, expected{limit: "hour", left: 40, passes: 40, now: now, reset: end})
	f.look(t, end, f.crowd(all...)).require(t, expected{limit: "hour", left: 100, passes: 100, now: end, reset: end.Add(time.Hour)})
}

// rotate gives the old secrets a day.
func (f *fleet) rotate(t *testing.T, id string) (token string) {
	t.Helper()
	made, _, err := f.admin.keys.Rotate(context.Background(), id, 24*time.Hour, nil)
	require.NoError(t, err)
	return made.Reveal()
}

// change changes a key. Those who shall notice at once have no cache.
func (f *fleet) change(t *testing.T, id string, edit func(c *keystore.Changes)) {
	t.Helper()
	_, err := f.admin.keys.Update(context.Background(), id, func(c *keystore.Changes) error {
		edit(c)
		return nil
	})
	require.NoError(t, err)
}

// lowered sets a limit below what is spent, and raises it again.
func lowered(t *testing.T, f *fleet) {
	f.open(t, settings{NoCache: true})
	id, token := f.limited(t, limit("hour", 100, time.Hour))
	now, end := noon.Add(time.Minute), noon.Add(time.Hour)
	f.look(t, now, single(60, token)).require(t, expected{limit: "hour", left: 100, passes: 60, now: now, reset: end})
	f.change(t, id, func(c *keystore.Changes) { c.Limits = []keystore.Limit{limit("hour", 50, time.Hour)} })
	late := end.Add(-time.Millisecond)
	for _, now := range []time.Time{now, late} {
		f.look(t, now, single(30, token)).require(t, expected{limit: "hour", now: now, reset: end})
		require.EqualValues(t, 0, f.remaining(t, id, now)["hour"])
	}
	f.look(t, end, f.crowd(token)).require(t, expected{limit: "hour", left: 50, passes: 50, now: end, reset: end.Add(time.Hour)})
	f.change(t, id, func(c *keystore.Changes) { c.Limits = []keystore.Limit{limit("hour", 120, time.Hour)} })
	f.look(t, end, f.crowd(token)).require(t, expected{limit: "hour", left: 70, passes: 70, now: end, reset: end.Add(time.Hour)})
	f.look(t, late, f.crowd(token)).require(t, expected{limit: "hour", left: 60, passes: 60, now: late, reset: end}) // the window before counts on
}

// plans changes a key's plan in mid-window, and what a plan allows.
func plans(t *testing.T, f *fleet) {
	tiers := map[string][]keystore.Limit{
		"free":   {limit("day", 100, 24*time.Hour)},
		"pro":    {limit("day", 150, 24*time.Hour)},
		"hourly": {limit("day", 40, time.Hour)}, // the same name and another length
	}
	f.open(t, settings{NoCache: true, Plans: tiers})
	id, token := f.key(t, keystore.KeyParams{Plan: "free"})
	to := func(plan string) { f.change(t, id, func(c *keystore.Changes) { c.Plan = plan }) }
	day := noon.Add(12 * time.Hour)
	f.look(t, noon, single(60, token)).require(t, expected{limit: "day", left: 100, passes: 60, now: noon, reset: day})

	to("pro") // what is spent stays spent
	f.look(t, noon, f.crowd(token)).require(t, expected{limit: "day", left: 90, passes: 90, now: noon, reset: day})
	to("hourly") // begins anew
	f.look(t, noon, f.crowd(token)).require(t, expected{limit: "day", left: 40, passes: 40, now: noon, reset: noon.Add(time.Hour)})
	to("free")
	f.look(t, noon, single(30, token)).require(t, expected{limit: "day", now: noon, reset: day})

	// An own limit takes the place of the plan's of its name.
	f.change(t, id, func(c *keystore.Changes) { c.Limits = []keystore.Limit{limit("day", 160, 24*time.Hour)} })
	f.look(t, noon, single(30, token)).require(t, expected{limit: "day", left: 10, passes: 10, now: noon, reset: day})
	f.change(t, id, func(c *keystore.Changes) { c.Limits = nil })

	// To change a plan is to change all keys that have it.
	tiers["free"] = []keystore.Limit{limit("day", 170, 24*time.Hour)}
	f.open(t, settings{NoCache: true, Plans: tiers})
	f.look(t, noon, single(30, token)).require(t, expected{limit: "day", left: 10, passes: 10, now: noon, reset: day})

	// A process that does not know the plan serves no key that has it.
	delete(tiers, "free")
	f.open(t, settings{NoCache: true, Plans: tiers})
	require.Equal(t, map[keystore.Reason]int{keystore.ReasonUnknownPlan: 6}, f.look(t, noon, single(6, token)).by())
}

package mongo

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
)

// The fields of the document of a key's counts, beside _id and purge_at, which is
// the end of the last window. Those of a window end in its name, length and start:
// "n:day:86400:1930953600". They are at the top, since FerretDB 1.24 takes a path in
// $currentDate for a name.
const (
	fieldSpends = "spends" // the ids of the last spends
	prefixCount = "n:"     // what is spent in a window, or counted in a tally
	prefixSpent = "t:"     // the server's timestamp of the last spend in a window
)

// errDamagedCounts means that a document is there, and does not say what is spent.
var errDamagedCounts = errors.New("mongo: the document of the counts is damaged, or of a later version; resetting the key's limits removes it")

// windowKey tells windows of one key apart.
func windowKey(w backend.Window) string {
	return w.Name + ":" + strconv.FormatInt(int64(w.Length/time.Second), 10) + ":" + strconv.FormatInt(w.Start.Unix(), 10)
}

// checkWindow refuses what would be another name than it looks like.
func checkWindow(w backend.Window) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789_-"
	switch {
	case w.Name == "" || len(w.Name) > backend.MaxWindowName || strings.Trim(w.Name, allowed) != "":
		return errors.New("mongo: the name of a window is not 1 to 32 of [a-z0-9_-]")
	case w.Length < time.Second || w.Length%time.Second != 0 || w.Start.Nanosecond() != 0:
		return errors.New("mongo: a window is not of whole seconds")
	}
	_, err := date(w.Start)
	return err
}

// checkSpend refuses what is beyond the contract.
func checkSpend(s backend.Spend) error {
	switch {
	case s.ID == "" || len(s.ID) > backend.MaxIDLen:
		return fmt.Errorf("mongo: the id has %d bytes, and 1 to %d are allowed", len(s.ID), backend.MaxIDLen)
	case s.Cost < 1 || s.Cost > backend.MaxCount:
		return errors.New("mongo: the cost of a spend is out of range")
	case len(s.Windows) == 0 || len(s.Windows) > backend.MaxWindows:
		return fmt.Errorf("mongo: a spend in %d windows, and 1 to %d are allowed", len(s.Windows), backend.MaxWindows)
	}
	for _, w := range s.Windows {
		if err := checkWindow(w); err != nil {
			return err
		}
	}
	return nil
}

// spendStatement is the filter and the change of a spend. What is not there is in no
// range, so that it is no obstacle; nor is what is no number, which cannot be added
// to. Counts below 1 are none of ours, and would be more than Max.
func spendStatement(s backend.Spend) (filter, change bson.D, err error) {
	obstacles := bson.A{doc(fieldSpends, int64(s.SpendID))}
	var counts, times bson.D
	var end time.Time
	for _, w := range s.Windows {
		key := windowKey(w)
		obstacles = append(obstacles, doc(prefixCount+key, doc("$gt", w.Max-s.Cost)), doc(prefixCount+key, doc("$lt", int64(1))))
		counts = append(counts, bson.E{Key: prefixCount + key, Value: s.Cost})
		times = append(times, bson.E{Key: prefixSpent + key, Value: doc("$type", "timestamp")})
		if w.End().After(end) {
			end = w.End()
		}
	}
	purgeAt, err := date(end)
	if err != nil {
		return nil, nil, err
	}
	return doc(fieldID, s.ID, "$nor", obstacles), doc(
		"$inc", counts,
		"$currentDate", times,
		"$push", doc(fieldSpends, doc("$each", bson.A{int64(s.SpendID)}, "$slice", int32(-backend.KeptSpends))),
		"$max", doc(fieldPurgeAt, purgeAt),
	), nil
}

// counter is what is spent of the limits of one key.
type counter struct {
	windows map[string]spent // by windowKey
	spends  bson.RawArray    // what is in it is looked at only where it matters
}

// spent is what is spent in one window.
type spent struct {
	count int64
	last  bson.Timestamp
}

// decodeCounter makes a counter of a document. Fields that it does not know are
// those of a later version, which would have changed one of these if they mattered.
func decodeCounter(raw bson.Raw, id string) (counter, error) {
	c := counter{windows: make(map[string]spent)}
	elements, err := raw.Elements()
	if err != nil {
		return c, errDamagedCounts
	}
	if got, ok := raw.Lookup(fieldID).StringValueOK(); !ok || got != id {
		return c, errors.New("mongo: the server answered with another document than was asked for")
	}
	for _, e := range elements {
		ok := true
		switch name, value := e.Key(), e.Value(); {
		case name == fieldPurgeAt:
			_, ok = optionalDate(value)
		case name == fieldSpends:
			c.spends, ok = value.ArrayOK()
		case strings.HasPrefix(name, prefixCount):
			w := c.windows[name[len(prefixCount):]]
			twice := w.count != 0
			w.count, ok = integer(value)
			ok = ok && w.count > 0 && !twice
			c.windows[name[len(prefixCount):]] = w
		case strings.HasPrefix(name, prefixSpent):
			w := c.windows[name[len(prefixSpent):]]
			twice := !w.last.IsZero()
			w.last.T, w.last.I, ok = value.TimestampOK()
			ok = ok && !w.last.IsZero() && !twice // no server's clock says zero
			c.windows[name[len(prefixSpent):]] = w
		}
		if !ok {
			return c, errDamagedCounts
		}
	}
	for _, w := range c.windows {
		if w.count == 0 || w.last.IsZero() {
			return c, errDamagedCounts
		}
	}
	return c, nil
}

// of returns the counts of windows.
func (c counter) of(windows []backend.Window) []int64 {
	counts := make([]int64, len(windows))
	for i, w := range windows {
		counts[i] = c.windows[windowKey(w)].count
	}
	return counts
}

// has reports whether it is known that the spend was counted.
func (c counter) has(s backend.Spend) bool {
	if c.spends == nil {
		return false
	}
	known, _ := c.spends.Values()
	return slices.ContainsFunc(known, func(v bson.RawValue) bool {
		id, ok := integer(v)
		return ok && id == int64(s.SpendID)
	})
}

// room reports whether the cost can be added to every window.
func (c counter) room(s backend.Spend) bool {
	for i, count := range c.of(s.Windows) {
		if count > s.Windows[i].Max-s.Cost {
			return false
		}
	}
	return true
}

// superfluous returns the windows that may be forgotten, once there are twice as
// many of a limit as must be kept: those that were spent in before all that are.
func (c counter) superfluous() []string {
	if len(c.windows) <= 2*backend.KeptWindows {
		return nil
	}
	byLimit := make(map[string][]string)
	for key := range c.windows {
		limit := key[:max(0, strings.LastIndexByte(key, ':'))]
		byLimit[limit] = append(byLimit[limit], key)
	}
	var old []string
	for _, keys := range byLimit {
		if len(keys) <= 2*backend.KeptWindows {
			continue
		}
		slices.SortFunc(keys, func(a, b string) int { return compareTimestamps(c.windows[b].last, c.windows[a].last) })
		kept := c.windows[keys[backend.KeptWindows-1]].last
		for _, key := range keys[backend.KeptWindows:] {
			if compareTimestamps(c.windows[key].last, kept) < 0 {
				old = append(old, key)
			}
		}
	}
	return old
}

func compareTimestamps(a, b bson.Timestamp) int {
	return cmp.Or(cmp.Compare(a.T, b.T), cmp.Compare(a.I, b.I))
}

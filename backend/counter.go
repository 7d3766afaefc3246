package backend

import (
	"context"
	"errors"
	"time"
)

// Limits of the contract of [Counter] and [Meter]. keystore keeps to them; what a
// driver does beyond them is up to it.
const (
	MaxWindows    = 8       // of Spend.Windows, and of Counts
	MaxWindowName = 32      // bytes of Window.Name
	MaxCount      = 1 << 50 // of Spend.Cost, Window.Max and each count of an Addition; a float64 holds sums of a few exactly

	// KeptWindows is how many windows of one name and length of a key a Counter
	// remembers at least: those that were spent in last.
	KeptWindows = 4
	// KeptSpends is how many accepted spends of a key a Counter recognizes when
	// they are repeated, at least: the last ones.
	KeptSpends = 64

	MaxSubjectLen = 264 // bytes of Addition.Subject
	MaxTallyNames = 120 // of the counts of one Tally
	MaxTallyName  = 8   // bytes of the name of a count
	// KeptAdditions is how many additions to a tally a Meter recognizes when they
	// are repeated, at least: the last ones.
	KeptAdditions = 32
)

// Counter is implemented by a [Backend] that can count what is spent of the
// limits of a key, in fixed windows of time. It is optional: without it keystore
// refuses to give a key limits.
//
// The counts of a key are a record of their own beside that of the key, under the
// same ID. Neither needs the other: Spend does not ask whether there is such a
// key, and Delete and Purge of the Backend leave counts alone. List shows none, and
// Watch tells of none: a key is spent of far more often than it changes. The driver
// looks at no clock. Windows are the caller's: the count of a window is that of its
// name, length and start together, and begins at 0. Which windows are spent in
// together, and in which order, is open: callers whose clocks differ spend in
// different windows.
//
// The rules of [Backend] on contexts, errors, memory and Close hold here too. All
// methods are safe for concurrent use, and linearizable per ID.
type Counter interface {
	// Spend adds s.Cost to the count of every window of s, if no count exceeds its
	// Max then, and else to none. It returns the counts in the order of s.Windows:
	// as they are after it, or, if it is not OK, as they are without it.
	//
	// A repeat, with the ID and SpendID of one of the last KeptSpends spends that
	// were OK, adds nothing and is OK, whatever its Max, so that a reply that was
	// lost costs nothing. A spend that was not OK leaves no trace: its SpendID is no
	// repeat, and its windows push none out of what is remembered.
	//
	// Of each name and length at least the KeptWindows windows that were last spent
	// in are remembered. Others may be forgotten, and would begin at 0 again: that
	// bounds what is kept of a key, and no clock that is wrong makes the driver
	// forget the window of another.
	Spend(ctx context.Context, s Spend) (Spent, error)

	// Counts returns the counts of windows in their order, 0 for those in which
	// nothing was spent; Max does not matter. It changes nothing.
	Counts(ctx context.Context, id string, windows []Window) ([]int64, error)

	// ResetCounts forgets all counts of the key. It returns nil also if there are
	// none. A spend that began before and is repeated after it may count again.
	ResetCounts(ctx context.Context, id string) error

	// PurgeCounts forgets the counts of at most limit keys of which no remembered
	// window ends after now, and returns of how many. The condition is checked
	// atomically with each. It may work in chunks: after an error some took effect,
	// and repeating is safe; fewer than limit does not mean that none is left, none
	// does.
	PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error)
}

// Window is a stretch of time in which what is spent of a limit is counted.
type Window struct {
	Name   string        // of the limit, [a-z0-9_-]{1,32}
	Length time.Duration // whole seconds, at least one
	Start  time.Time     // whole seconds from the year 1970 on; keystore aligns it to a multiple of Length
	Max    int64         // that may be spent in it, 1..MaxCount
}

// End returns the time at which the next window begins.
func (w Window) End() time.Time { return w.Start.Add(w.Length) }

// Spend is what one use of a key costs.
type Spend struct {
	ID      string   // of the key, as Record.ID
	SpendID uint64   // random, the same in repeats
	Cost    int64    // 1..MaxCount
	Windows []Window // 1..MaxWindows, no two of the same name and length
}

// Spent is the answer to a Spend.
type Spent struct {
	OK     bool    // the cost was added to every window, now or by a spend that this one repeats
	Counts []int64 // of the windows
}

// Meter is implemented by a [Backend] that can keep how much was used, by subject
// and day. It is optional: without it keystore counts no usage.
//
// A tally is a set of named counts of one subject on one day. The driver knows no
// meaning of subjects and names, and looks at no clock. Records and counts are of
// no matter to tallies, nor tallies to them: only PurgeUsage forgets one.
//
// The rules of [Backend] on contexts, errors, memory and Close hold here too. All
// methods are safe for concurrent use.
type Meter interface {
	// AddUsage adds to tallies, each atomically, and makes those that are missing.
	// PurgeAt takes the place of an earlier one. An addition that has the AddID of
	// one of the last KeptAdditions that this tally got adds nothing; whether its
	// PurgeAt counts is open. It may work in chunks: after an error some took effect,
	// and repeating is safe. No two additions of a call have the same Subject and Day.
	//
	// A tally that cannot be added to, since it is damaged or of a later version, is
	// left as it is; a damaged one may begin anew instead, if the driver's documentation
	// says so. It is in the way of no other: the error is ErrDamagedTally after all
	// other additions were made, and one that is not if some of these failed too.
	AddUsage(ctx context.Context, additions []Addition) error

	// Usage returns the tallies of the subject whose day is in [from, to), ascending
	// by day. The two are at most 366 days apart, and need not be midnights.
	Usage(ctx context.Context, subject string, from, to time.Time) ([]Tally, error)

	// PurgeUsage forgets at most limit tallies whose PurgeAt is set and not after
	// now, and returns how many; otherwise as PurgeCounts.
	PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error)
}

// ErrDamagedTally is the error of AddUsage, as [errors.Is] finds it, if all additions
// were made but those to tallies that are damaged, by somebody else's hand, or that a
// later version of the driver has written. These are left as they are, for somebody
// may repair them. To repeat the call would not change that.
var ErrDamagedTally = errors.New("backend: a tally of usage is damaged, or of a later version, and was not added to")

// Addition is what is added to a tally.
type Addition struct {
	Subject string           // 1..MaxSubjectLen bytes of UTF-8 without NUL, compared byte for byte
	Day     time.Time        // the UTC midnight at which it begins, from the year 1970 on
	AddID   uint64           // random, the same in repeats
	Counts  map[string]int64 // names are [a-z0-9]{1,8}, counts 1..MaxCount; sums are exact up to 1<<53
	PurgeAt time.Time        // zero: never; else PurgeUsage may forget the tally from then on
}

// Tally is how much a subject used on one day.
type Tally struct {
	Day    time.Time        // as in Addition
	Counts map[string]int64 // by name; there is none of 0
}

package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
)

// The fields of a tally, beside _id, purge_at and the counts, "n:" and a name. The
// _id holds subject and day, so that no index but its own is needed; the two stand
// alone too, for those who read with other tools.
const (
	fieldSubject   = "subject"
	fieldDay       = "day"
	fieldAdditions = "additions" // the ids of the last additions
)

var errDamagedTally = errors.New("mongo: a tally of usage is damaged, or of a later version")

const dayLayout = "2006-01-02"

func tallyID(subject string, day time.Time) string {
	return subject + "/" + day.UTC().Format(dayLayout)
}

// AddUsage implements [backend.Meter]. It works in chunks of 64 additions, each of
// which is one command, and three where a tally is missing. Where one is damaged it
// takes about a dozen more to find it, which is left as it is.
func (b *Backend) AddUsage(ctx context.Context, additions []backend.Addition) error {
	return b.answer(b.addUsage(ctx, additions))
}

func (b *Backend) addUsage(ctx context.Context, additions []backend.Addition) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	for _, a := range additions {
		if err := checkAddition(a); err != nil {
			return refused(err)
		}
	}
	var damage error
	for i := 0; i < len(additions); i += chunkLen {
		err := b.addChunk(ctx, additions[i:min(i+chunkLen, len(additions))])
		switch {
		case errors.Is(err, backend.ErrDamagedTally):
			damage = err
		case err != nil && i > 0:
			return partial{err}
		case err != nil:
			return err
		}
	}
	return damage
}

// addChunk adds to tallies in one go, or, if one of them is damaged, to each half of
// them alone: FerretDB stops at the first statement that fails, though they are not
// ordered, and does not say which it was. What is added once more counts once.
func (b *Backend) addChunk(ctx context.Context, additions []backend.Addition) error {
	err := b.addTogether(ctx, additions)
	switch {
	case !onlyDamage(err):
		return err
	case len(additions) == 1:
		return fmt.Errorf("%w: %w", backend.ErrDamagedTally, err)
	}
	var damage error
	half := len(additions) / 2
	for _, part := range [][]backend.Addition{additions[:half], additions[half:]} {
		err := b.addChunk(ctx, part)
		switch {
		case errors.Is(err, backend.ErrDamagedTally):
			damage = err
		case err != nil:
			return partial{err}
		}
	}
	return damage
}

// addTogether adds to the tallies that are there. If some are not, or if some
// additions were made before, it makes those that are missing and tries all once
// more, which adds nothing twice. It is no upsert that adds, for a duplicate key
// would have two meanings: the addition was made before, or another process made
// the tally at the same time.
func (b *Backend) addTogether(ctx context.Context, additions []backend.Addition) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	adds, creations := make([]bson.D, len(additions)), make([]bson.D, len(additions))
	for i, a := range additions {
		adds[i], creations[i] = addStatement(a), createStatement(a)
	}
	found, err := b.updates(ctx, b.usage, adds...)
	if err != nil || found == len(adds) {
		return err
	}
	if err := b.makeTallies(ctx, creations); err != nil {
		return orPartial(found, err)
	}
	_, err = b.updates(ctx, b.usage, adds...)
	return orPartial(found, err)
}

// makeTallies makes the tallies that are missing. A duplicate key means that
// another process has just made one.
func (b *Backend) makeTallies(ctx context.Context, creations []bson.D) error {
	_, err := b.updates(ctx, b.usage, creations...)
	if err != nil && onlyDuplicates(err) {
		return nil
	}
	return err
}

// orPartial is err, after as many additions as n.
func orPartial(n int, err error) error {
	if err != nil && n > 0 {
		return partial{err}
	}
	return err
}

// checkAddition refuses what is beyond the contract, and what would be another
// field than it looks like.
func checkAddition(a backend.Addition) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789"
	if a.Subject == "" || len(a.Subject) > backend.MaxSubjectLen {
		return fmt.Errorf("mongo: the subject has %d bytes, and 1 to %d are allowed", len(a.Subject), backend.MaxSubjectLen)
	}
	if _, err := date(a.Day); err != nil || a.Day.UTC().Year() > 9999 || !isMidnight(a.Day) {
		return errors.New("mongo: the day of an addition is no UTC midnight from 1970 to 9999")
	}
	if !a.PurgeAt.IsZero() {
		if _, err := date(a.PurgeAt); err != nil {
			return err
		}
	}
	for name, n := range a.Counts {
		if name == "" || len(name) > backend.MaxTallyName || strings.Trim(name, allowed) != "" {
			return errors.New("mongo: the name of a count is not 1 to 8 of [a-z0-9]")
		}
		if n < 1 || n > backend.MaxCount {
			return errors.New("mongo: a count of an addition is out of range")
		}
	}
	return nil
}

func isMidnight(t time.Time) bool { return t.Equal(t.Truncate(24 * time.Hour)) } // UTC has no leap seconds in Go

// addStatement adds to a tally, unless that was done before.
func addStatement(a backend.Addition) bson.D {
	change := doc("$push", doc(fieldAdditions, doc("$each", bson.A{int64(a.AddID)}, "$slice", int32(-backend.KeptAdditions))))
	var counts bson.D
	for name, n := range a.Counts {
		counts = append(counts, bson.E{Key: prefixCount + name, Value: n})
	}
	if len(counts) > 0 {
		change = append(change, bson.E{Key: "$inc", Value: counts})
	}
	if a.PurgeAt.IsZero() {
		change = append(change, bson.E{Key: "$unset", Value: without(fieldPurgeAt)})
	} else {
		change = append(change, bson.E{Key: "$set", Value: doc(fieldPurgeAt, bson.NewDateTimeFromTime(a.PurgeAt))})
	}
	return statement(doc(fieldID, tallyID(a.Subject, a.Day), fieldAdditions, doc("$ne", int64(a.AddID))), change)
}

// createStatement makes an empty tally where there is none. It can be purged like
// any other, should nothing be added.
func createStatement(a backend.Addition) bson.D {
	first := doc(fieldSubject, a.Subject, fieldDay, bson.NewDateTimeFromTime(a.Day))
	if !a.PurgeAt.IsZero() {
		first = append(first, bson.E{Key: fieldPurgeAt, Value: bson.NewDateTimeFromTime(a.PurgeAt)})
	}
	return append(statement(doc(fieldID, tallyID(a.Subject, a.Day)), doc("$setOnInsert", first)), doc("upsert", true)...)
}

// maxUsageDays is how many tallies one call returns at most.
const maxUsageDays = 366

// Usage implements [backend.Meter]. It asks for each day by its _id: a range of
// them could hold subjects that begin like this one.
func (b *Backend) Usage(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	days, err := daysBetween(from, to)
	if err != nil || len(days) == 0 {
		return nil, b.readAnswer(err)
	}
	tallies, err := b.tallies(ctx, subject, days)
	return tallies, b.readAnswer(err)
}

func daysBetween(from, to time.Time) ([]time.Time, error) {
	const length = 24 * time.Hour
	day := from.UTC().Truncate(length)
	if day.Before(from) {
		day = day.Add(length)
	}
	if day.Unix() < 0 {
		day = time.Unix(0, 0).UTC()
	}
	var days []time.Time
	for ; day.Before(to); day = day.Add(length) {
		if len(days) == maxUsageDays {
			return nil, fmt.Errorf("mongo: usage of more than %d days", maxUsageDays)
		}
		days = append(days, day)
	}
	return days, nil
}

func (b *Backend) tallies(ctx context.Context, subject string, days []time.Time) ([]backend.Tally, error) {
	ids := make(bson.A, len(days))
	for i, day := range days {
		ids[i] = tallyID(subject, day)
	}
	cursor, err := b.find(ctx, b.usage, doc(fieldID, doc("$in", ids)), doc(fieldID, 1), len(ids))
	if err != nil {
		return nil, fmt.Errorf("mongo: %w", err)
	}
	defer cursor.Close(ctx) //nolint:errcheck // what matters has been read
	var tallies []backend.Tally
	for cursor.Next(ctx) {
		t, err := decodeTally(cursor.Current, subject)
		if err != nil {
			return nil, err
		}
		if t.Day.Before(days[0]) || t.Day.After(days[len(days)-1]) {
			return nil, errors.New("mongo: the server answered with another document than was asked for")
		}
		if len(t.Counts) > 0 {
			tallies = append(tallies, t)
		}
	}
	if err := cursor.Err(); err != nil {
		return nil, fmt.Errorf("mongo: %w", err)
	}
	return tallies, nil
}

// decodeTally makes a tally of a document of the subject.
func decodeTally(raw bson.Raw, subject string) (backend.Tally, error) {
	id, isString := raw.Lookup(fieldID).StringValueOK()
	written, isStringToo := raw.Lookup(fieldSubject).StringValueOK()
	ms, isDate := raw.Lookup(fieldDay).DateTimeOK()
	t := backend.Tally{Day: time.UnixMilli(ms).UTC(), Counts: make(map[string]int64)}
	elements, err := raw.Elements()
	if err != nil || !isString || !isStringToo || !isDate || !isMidnight(t.Day) || written != subject || id != tallyID(subject, t.Day) {
		return t, errDamagedTally
	}
	for _, e := range elements {
		name, isCount := strings.CutPrefix(e.Key(), prefixCount)
		if !isCount {
			continue
		}
		n, ok := integer(e.Value())
		if !ok || n < 0 {
			return t, errDamagedTally
		}
		if n > 0 {
			t.Counts[name] = n
		}
	}
	return t, nil
}

// PurgeUsage implements [backend.Meter]. It works in chunks of 64 tallies.
func (b *Backend) PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error) {
	return b.purgeDocuments(ctx, b.usage, now, limit)
}

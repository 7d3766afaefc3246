package conformance

import (
	"fmt"
	"math"
	"slices"

	"example.com/keystore/backend"
)

var usageRepeatChecks = []check{
	{"adds nothing", repeatedAddition},
	{"of the last additions", repeatedAdditions},
	{"beside what is new", repeatedBesideNew},
	{"IDs that are much alike", addIDsApart},
	{"at once", sameAdditionAtOnce},
}

const addRepeats = rule("an addition that has the AddID of one of the last KeptAdditions that the tally got adds nothing")

func repeatedAddition(s *store) {
	all := s.meters(2)
	first, second := adding("k1", today, tally{"a": 3}), adding("k1", today, tally{"a": 2, "l": 1})
	for _, step := range []struct {
		addition backend.Addition
		want     tally
	}{
		{first, tally{"a": 3}},
		{first, tally{"a": 3}},
		{second, tally{"a": 5, "l": 1}},
		{first, tally{"a": 5, "l": 1}},
		{second, tally{"a": 5, "l": 1}},
	} {
		for _, m := range all {
			s.add(m, step.addition)
			s.tallied(addRepeats, m, "k1", on(today, step.want))
		}
	}
	elsewhere := []backend.Addition{first, first}
	elsewhere[0].Day, elsewhere[1].Subject = dayAfter(1), "k2"
	s.add(all[0], elsewhere...)
	s.tallied("an addition to another tally is no repeat", all[0], "k1", on(today, tally{"a": 5, "l": 1}), on(dayAfter(1), tally{"a": 3}))
	s.tallied("an addition to another tally is no repeat", all[0], "k2", on(today, tally{"a": 3}))
}

func repeatedAdditions(s *store) {
	m := s.meter(s.handle())
	var additions []backend.Addition
	for n := range backend.KeptAdditions + 5 {
		additions = append(additions, adding("k1", today, tally{"a": 1}))
		s.add(m, additions[n], adding("k2", today, tally{"a": 1}), adding("k1", dayAfter(1), tally{"a": 1}))
	}
	total := int64(len(additions))
	want := []backend.Tally{on(today, tally{"a": total}), on(dayAfter(1), tally{"a": total})}
	s.tallied(usageSums, m, "k1", want...)
	for _, a := range slices.Backward(additions[len(additions)-backend.KeptAdditions:]) {
		s.add(m, a)
	}
	s.tallied(addRepeats, m, "k1", want...)
}

// repeatedBesideNew repeats a call of which a part took effect.
func repeatedBesideNew(s *store) {
	m := s.meter(s.handle())
	var all []backend.Addition
	for i := range 20 {
		all = append(all, adding(fmt.Sprintf("k%02d", i), today, tally{"a": int64(i) + 1}))
	}
	s.add(m, all[5:9]...)
	s.add(m, all[:12]...)
	s.add(m, all...)
	for i, a := range all {
		s.tallied(addRepeats, m, a.Subject, on(today, tally{"a": int64(i) + 1}))
	}
}

func addIDsApart(s *store) {
	m := s.meter(s.handle())
	ids := []uint64{0, 1, 2, 10, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<63 - 1, 1 << 63, 1<<63 + 1, math.MaxUint64 - 1, math.MaxUint64, 1 << 32, 1<<32 + 1}
	for range 2 {
		for _, id := range ids {
			a := adding("k1", today, tally{"a": 1})
			a.AddID = id
			s.add(m, a)
		}
		s.tallied("additions of other AddIDs are no repeats", m, "k1", on(today, tally{"a": int64(len(ids))}))
	}
}

func sameAdditionAtOnce(s *store) {
	all := s.meters(3)
	for round := range 5 {
		subject := fmt.Sprintf("k%d", round)
		same := []backend.Addition{adding(subject, today, tally{"a": 3}), adding(subject, dayAfter(1), tally{"l": 2})}
		s.together(12, func(i int) {
			if err := all[i%3].AddUsage(s.ctx, same); err != nil {
				addRepeats.Errorf(s, "error is %v", err)
			}
		})
		s.tallied(addRepeats, all[0], subject, on(today, tally{"a": 3}), on(dayAfter(1), tally{"l": 2}))
	}
}

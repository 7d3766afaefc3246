package drivertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Tally is what came of a load.
type Tally struct {
	Acknowledged map[string]int // changes, by operation
	Refused      int            // changes that had no effect, for the store was not available
	Unknown      int            // changes that may have had one
	Happened     int            // of those: that had one
	Answers      int            // of Lookup and Get
	Outages      int            // instead of answers
	Lost         map[string]int // what was acknowledged and is not there, by what it was
}

// Changes is how many changes were acknowledged.
func (t Tally) Changes() int {
	n := 0
	for _, of := range t.Acknowledged {
		n += of
	}
	return n
}

// Losses is how many times something acknowledged was not there.
func (t Tally) Losses() int {
	n := 0
	for _, of := range t.Lost {
		n += of
	}
	return n
}

func (t Tally) String() string {
	return fmt.Sprintf("%d changes acknowledged (%s), %d refused, %d unknown (of which %d happened); %d answers, %d outages; lost: %d (%s)",
		t.Changes(), list(t.Acknowledged), t.Refused, t.Unknown, t.Happened, t.Answers, t.Outages, t.Losses(), list(t.Lost))
}

func list(m map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(parts, ", ")
}

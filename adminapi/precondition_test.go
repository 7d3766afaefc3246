package adminapi

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestParseIfMatch(t *testing.T) {
	for _, test := range []struct {
		lines   []string
		matches []uint64 // of 1 to 12
		valid   bool
	}{
		{nil, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, true},
		{[]string{"*"}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, true},
		{[]string{` * `}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, true},
		{[]string{`"7"`}, []uint64{7}, true},
		{[]string{`"7","9"`}, []uint64{7, 9}, true},
		{[]string{` "7" ,, "9" , `}, []uint64{7, 9}, true},
		{[]string{`"7"`, `"9", "12"`}, []uint64{7, 9, 12}, true},
		{[]string{`W/"7"`}, nil, true}, // the comparison is strong
		{[]string{`W/"7", "8"`}, []uint64{8}, true},
		{[]string{`"07"`}, nil, true}, // another text than the tag
		{[]string{`"+7"`}, nil, true},
		{[]string{`"abc"`}, nil, true}, // of another resource, perhaps
		{[]string{`"a,b", "7"`}, []uint64{7}, true},
		{[]string{`""`}, nil, true},
		{[]string{`"99999999999999999999999"`}, nil, true},
		{[]string{""}, nil, false},
		{[]string{","}, nil, false},
		{[]string{"7"}, nil, false},
		{[]string{`"7`}, nil, false},
		{[]string{`"7" "8"`}, nil, false},
		{[]string{`"7"x`}, nil, false},
		{[]string{`*, "7"`}, nil, false},
		{[]string{`"7", *`}, nil, false},
		{[]string{`w/"7"`}, nil, false},
		{[]string{`W/7`}, nil, false},
	} {
		p, err := parseIfMatch(test.lines)
		require.Equal(t, test.valid, err == nil, "%q", test.lines)
		if err != nil {
			continue
		}
		var matches []uint64
		for revision := range uint64(12) {
			if p.holds(revision + 1) {
				matches = append(matches, revision+1)
			}
		}
		assert.Equal(t, test.matches, matches, "%q", test.lines)
	}
}

// TestIfMatch: every change that carries another revision is refused, and changes
// nothing.
func TestIfMatch(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(everything))
	for _, op := range changing {
		k, _ := s.key(keystore.KeyParams{Owner: "alice"})
		ask := func(match string) reply {
			return s.do(request{method: op.method, path: "/keys/" + k.ID + op.path, body: op.body, header: map[string]string{"If-Match": match}})
		}
		ask(`"2", W/"1"`).want(t, 412, "precondition_failed")
		assert.Equal(t, k, s.get(k.ID), op.name)
		ask(`"nonsense`).want(t, 400, "malformed")
		assert.Less(t, ask(`"5", "1"`).StatusCode, 300, op.name)
	}
}

// TestIfMatchRace: of several who saw one revision, one changes the key.
func TestIfMatchRace(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(everything))
	for _, r := range []request{
		{method: "PATCH", body: m{"name": "x"}},
		{method: "POST", path: "/rotate", body: m{"grace_seconds": 0}},
	} {
		k, _ := s.key(keystore.KeyParams{Owner: "alice"})
		r.path = "/keys/" + k.ID + r.path
		r.header = map[string]string{"If-Match": etag(k)}
		var won, lost atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				switch got := s.do(r); got.StatusCode {
				case 200:
					won.Add(1)
				case 412:
					lost.Add(1)
				default:
					t.Error(got.raw)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, won.Load(), r.method)
		assert.EqualValues(t, 31, lost.Load(), r.method)
	}
}

package fleet

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	_ "example.com/keystore/memory"
)

const ms = int64(time.Millisecond)

// A change that was called at 1 000 ms and returned at 1 010 ms; the bound is 2 s.
const (
	called   = 1000 * ms
	returned = 1010 * ms
	bound    = 2 * time.Second
	atBound  = returned + int64(bound)
)

func madeUp(k kind) change {
	return change{Key: key{ID: "id", Kind: k}, Called: called, Returned: returned, Tries: 1}
}

// calm is a reader that noticed the change while it was made, and was asked until
// after the bound.
func calm() observation {
	return observation{Old: oldToken{
		Accepted: 500, LastAccepted: called + ms,
		Refused: 500, FirstRefusal: answer{called + 2*ms, called + 3*ms, "revoked"}, LastAnswered: atBound + 1,
		Hits: []hits{{Count: 500, First: called - 400*ms, Last: called + ms, Ended: called + 2*ms}},
	}}
}

func TestJudgeLag(t *testing.T) {
	other := calm()
	for name, c := range map[string]struct {
		last     int64
		lag      time.Duration
		violates bool
	}{
		"before the return":   {returned - 1, 0, false},
		"with the return":     {returned, 0, false},
		"right after it":      {returned + 1, 1, false},
		"right at the bound":  {atBound, bound, false},
		"just past the bound": {atBound + 1, bound + 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := calm()
			o.Old.LastAccepted = c.last
			for _, readers := range [][]observation{{o, other}, {other, o}} {
				v := judge(madeUp(revoke), readers, bound)
				assert.Equal(t, c.lag, v.Lag)
				assert.Equal(t, c.violates, len(v.Violations) > 0, v.Violations)
				assert.Empty(t, v.Void)
				assert.Equal(t, 2, v.Cached)
			}
		})
	}
}

func TestJudgeGoodKeyRefused(t *testing.T) {
	o := calm()
	o.Old.FirstRefusal = answer{called - 2*ms, called - 1, "unknown_key"}
	assert.Len(t, judge(madeUp(revoke), []observation{calm(), o}, bound).Violations, 1)
	// What ended after the change was called may have seen it.
	o.Old.FirstRefusal = answer{called - 2*ms, called, "unknown_key"}
	assert.Empty(t, judge(madeUp(revoke), []observation{calm(), o}, bound).Violations)
}

func TestJudgeWrongAnswer(t *testing.T) {
	o := calm()
	o.Wrong = []string{"a token that was never issued: <nil>"}
	assert.Len(t, judge(madeUp(revoke), []observation{o, calm()}, bound).Violations, 1)
}

// Where nobody looked after the bound, nothing is proved.
func TestJudgeVoid(t *testing.T) {
	o := calm()
	o.Old.LastAnswered = atBound
	v := judge(madeUp(revoke), []observation{calm(), o}, bound)
	assert.Len(t, v.Void, 1)
	assert.Empty(t, v.Violations)
}

func TestJudgeCached(t *testing.T) {
	run := func(first, ended int64) hits { return hits{Count: 1, First: first, Last: first, Ended: ended} }
	for name, c := range map[string]struct {
		hits   []hits
		cached bool
	}{
		"never":                     {nil, false},
		"until then":                {[]hits{run(called-9, called)}, false},
		"from then on":              {[]hits{run(called, called+1)}, true},
		"beyond":                    {[]hits{run(called-9, called+1)}, true},
		"to the end":                {[]hits{run(called-9, 0)}, true},
		"later":                     {[]hits{run(called+1, 0)}, false},
		"before and after, but not": {[]hits{run(called-9, called-1), run(called+1, 0)}, false},
		"again":                     {[]hits{run(called-9, called-5), run(called-4, called+1)}, true},
	} {
		assert.Equal(t, c.cached, oldToken{Hits: c.hits}.cachedAt(called), name)
	}
}

func TestJudgeNewToken(t *testing.T) {
	for name, c := range map[string]struct {
		new               newToken
		refusals          int
		violates, voids   bool
		firstNew, longNew time.Duration
	}{
		"accepted at once": {new: newToken{
			Accepted: 9, FirstAccepted: answer{Began: returned + ms, Ended: returned + 3*ms}, Longest: 2 * ms,
		}, firstNew: 3 * time.Millisecond, longNew: 2 * time.Millisecond},
		"refused for a slot": {new: newToken{
			Accepted: 9, FirstAccepted: answer{Began: returned + 60*ms, Ended: returned + 61*ms},
			Refused: 3, LastRefusal: answer{Began: returned + 50*ms, Ended: returned + 55*ms, Reason: "wrong_secret"},
		}, refusals: 3, firstNew: 61 * time.Millisecond},
		"refused for longer": {new: newToken{
			Accepted: 9, FirstAccepted: answer{Began: returned + 60*ms, Ended: returned + 61*ms},
			Refused: 3, LastRefusal: answer{Began: returned + 50*ms + 1, Ended: returned + 55*ms, Reason: "wrong_secret"},
		}, refusals: 3, violates: true, firstNew: 61 * time.Millisecond},
		"never accepted":  {new: newToken{Outages: 5}, voids: true},
		"never presented": {new: newToken{}, voids: true},
	} {
		t.Run(name, func(t *testing.T) {
			o, other := calm(), calm()
			o.New, other.New = c.new, newToken{Accepted: 1, FirstAccepted: answer{Began: returned, Ended: returned + 1}}
			v := judge(madeUp(renew), []observation{other, o}, bound)
			assert.Equal(t, c.refusals, v.Refusals)
			assert.Equal(t, c.violates, len(v.Violations) > 0, v.Violations)
			assert.Equal(t, c.voids, len(v.Void) > 0, v.Void)
			assert.Equal(t, max(c.firstNew, 1), v.Fresh)
			assert.Equal(t, c.longNew, v.Longest)
		})
	}
}

// What a reader notes is what it saw.
func TestSeen(t *testing.T) {
	refusal := keystore.ErrRevoked
	var s seen
	s.old(10, 11, false, nil) // a read
	s.old(12, 13, true, nil)
	s.old(14, 15, true, nil)
	s.old(16, 17, false, keystore.ErrUnavailable)
	s.old(18, 19, true, nil)
	s.old(20, 21, true, refusal) // decided by the cache, but no hit of a key that is good
	s.old(22, 23, false, refusal)
	s.wrongSecret(keystore.ErrUnauthenticated)
	s.wrongSecret(keystore.ErrUnavailable)
	s.fresh(30, 33, refusal)
	s.fresh(34, 36, nil)
	s.fresh(37, 41, nil)
	s.fresh(42, 43, keystore.ErrUnavailable)
	assert.Equal(t, observation{
		Old: oldToken{
			Accepted: 4, Refused: 2, Outages: 1, LastAccepted: 18, LastAnswered: 22,
			FirstRefusal: answer{20, 21, refusal.Error()},
			Hits:         []hits{{Count: 2, First: 12, Last: 14, Ended: 16}, {Count: 1, First: 18, Last: 18, Ended: 20}},
		},
		New: newToken{
			Accepted: 2, Refused: 1, Outages: 1, FirstAccepted: answer{Began: 34, Ended: 36}, Longest: 4,
			Refusals: []answer{{30, 33, refusal.Error()}}, LastRefusal: answer{30, 33, refusal.Error()},
		},
	}, s.snapshot())
	assert.Zero(t, s.hitsInARow())
	s.old(44, 45, true, nil)
	assert.Equal(t, 1, s.hitsInARow())

	s.old(46, 47, false, keystore.ErrCorrupt)
	s.fresh(48, 49, errors.New("of no kind"))
	s.wrongSecret(nil)
	assert.Len(t, s.snapshot().Wrong, 3)
}

// A forged token parses, and is another one of the same key.
func TestForge(t *testing.T) {
	s, err := keystore.Open(t.Context(), "memory://", &keystore.Options{CacheSize: -1})
	require.NoError(t, err)
	defer s.Close()
	token, k, err := s.Generate(t.Context(), keystore.KeyParams{Owner: "o"})
	require.NoError(t, err)
	for n := range 100 {
		_, err := s.Lookup(t.Context(), forge(token.Reveal(), n))
		var refusal *keystore.LookupError
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, keystore.ReasonWrongSecret, refusal.Reason)
		require.Equal(t, k.ID, refusal.KeyID)
	}
}

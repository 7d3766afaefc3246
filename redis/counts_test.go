package redis_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/redis"
)

var (
	today = time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC)
	noon  = today.Add(12 * time.Hour)
)

// spendOf is a spend at noon, in two windows that hold 10.
func spendOf(id string, spendID uint64, cost int64) backend.Spend {
	windows := twoLimits(noon)
	for i := range windows {
		windows[i].Max = 10
	}
	return backend.Spend{ID: id, SpendID: spendID, Cost: cost, Windows: windows}
}

func spend(t testing.TB, b *redis.Backend, s backend.Spend) backend.Spent {
	t.Helper()
	spent, err := b.Spend(testContext(t), s)
	require.NoError(t, err)
	return spent
}

func counts(t testing.TB, b *redis.Backend, id string, windows []backend.Window) []int64 {
	t.Helper()
	all, err := b.Counts(testContext(t), id, windows)
	require.NoError(t, err)
	return all
}

func countsKey(id string) string { return namesOf(id).Counts + id }

// model is what should be stored of the counts of one key, spelt out a second time.
type model struct {
	windows []string // that were spent in last are the first
	counts  map[string]int64
	ends    map[string]int64
	ids     []uint64 // the last is the first
}

func (m *model) spend(s backend.Spend) (ok bool, after []int64) {
	var names []string
	ok = true
	for _, w := range s.Windows {
		name := fmt.Sprintf("%s/%d,%d", w.Name, w.Length/time.Second, w.Start.Unix())
		names, after = append(names, name), append(after, m.counts[name])
		ok = ok && m.counts[name]+s.Cost <= w.Max
	}
	if slices.Contains(m.ids, s.SpendID) {
		return true, after
	}
	if !ok {
		return false, after
	}
	for i, name := range names {
		m.counts[name] += s.Cost
		m.ends[name] = s.Windows[i].End().Unix()
		after[i] = m.counts[name]
	}
	all := slices.DeleteFunc(m.windows, func(w string) bool { return slices.Contains(names, w) })
	all = append(slices.Clone(names), all...)
	kinds := make(map[string]int)
	m.windows = nil
	for _, w := range all {
		kind, _, _ := strings.Cut(w, ",")
		if kinds[kind]++; kinds[kind] <= backend.KeptWindows {
			m.windows = append(m.windows, w)
		} else {
			delete(m.counts, w)
		}
	}
	m.ids = append([]uint64{s.SpendID}, m.ids...)
	m.ids = m.ids[:min(len(m.ids), backend.KeptSpends)]
	return true, after
}

// end is when the last window ends.
func (m *model) end() (end int64) {
	for _, w := range m.windows {
		end = max(end, m.ends[w])
	}
	return end
}

func (m *model) stored() string {
	text := fmt.Sprintf("\x01%d;", m.end())
	for _, w := range m.windows {
		text += fmt.Sprintf("%s=%d;", w, m.counts[w])
	}
	text += "\n"
	for _, id := range m.ids {
		text += string(binary.BigEndian.AppendUint64(nil, id))
	}
	return text
}

// Whatever is spent, reset and purged, the database holds what docs/redis.md says,
// and nothing else.
func TestWhatIsStoredOfCounts(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		keys := make(map[string]*model)
		limits := []backend.Window{
			{Name: "day", Length: 24 * time.Hour}, {Name: "day", Length: time.Hour}, {Name: "a-b_c", Length: time.Second},
			{Name: "1", Length: time.Minute}, {Name: "day-2", Length: 366 * 24 * time.Hour},
		}
		wantAll := func() map[string]any {
			all := make(map[string]any)
			for id, m := range keys {
				all[countsKey(id)] = m.stored()
				ends, _ := all[namesOf(id).Ends].([]string)
				ends = append(ends, fmt.Sprintf("%s %d", id, m.end()))
				slices.Sort(ends)
				all[namesOf(id).Ends] = ends
			}
			return all
		}
		for range 600 {
			id := fmt.Sprintf("k%d", random.IntN(6))
			switch at := noon.Add(time.Duration(random.IntN(8)-4) * time.Minute * time.Duration(1+random.IntN(2000))); {
			case random.IntN(100) == 0:
				require.NoError(t, b.ResetCounts(testContext(t), id))
				delete(keys, id)
			case random.IntN(100) == 0:
				n, err := b.PurgeCounts(testContext(t), at.Add(time.Duration(random.IntN(1000))*time.Millisecond), 100)
				require.NoError(t, err)
				ended := 0
				for id, m := range keys {
					if m.end() <= at.Unix() {
						delete(keys, id)
						ended++
					}
				}
				require.Equal(t, ended, n)
			default:
				s := backend.Spend{ID: id, SpendID: random.Uint64N(300), Cost: 1 + random.Int64N(3)}
				for _, l := range random.Perm(len(limits))[:1+random.IntN(len(limits))] {
					w := limits[l]
					w.Start, w.Max = at.Truncate(w.Length), 20
					s.Windows = append(s.Windows, w)
				}
				m := keys[id]
				if m == nil {
					m = &model{counts: map[string]int64{}, ends: map[string]int64{}}
				}
				ok, after := m.spend(s)
				require.Equal(t, backend.Spent{OK: ok, Counts: after}, spend(t, b, s))
				require.Equal(t, after, counts(t, b, id, s.Windows))
				if ok {
					keys[id] = m
				}
			}
		}
		require.Equal(t, wantAll(), snapshot(t, client))
	})
}

// The format, byte by byte, as docs/redis.md has it.
func TestCountsByHand(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		spend(t, b, spendOf("abc", 0x0102030405060708, 7))
		spend(t, b, spendOf("abc", 'A'<<56|'\n', 2))
		denied := spend(t, b, spendOf("abc", 9, 2))
		require.Equal(t, backend.Spent{Counts: []int64{9, 9}}, denied)
		require.Equal(t, map[string]any{
			"{keystore:43}:c:abc": "\x011770163200;burst/1,1770120000=9;day/86400,1770076800=9;\nA\x00\x00\x00\x00\x00\x00\n\x01\x02\x03\x04\x05\x06\x07\x08",
			"{keystore:43}:ce":    []string{"abc 1770163200"},
		}, snapshot(t, client))
	})
}

// The end of the last window is corrected when that is forgotten, or Purge would not
// find the counts.
func TestEndOfForgottenWindow(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		for i := range uint64(5) {
			at := noon.Add(time.Duration(i) * time.Second)
			if i == 0 {
				at = noon.AddDate(100, 0, 0) // by a clock that was wrong
			}
			spend(t, b, backend.Spend{ID: "id", SpendID: i, Cost: 1, Windows: twoLimits(at)[:1]})
		}
		require.InEpsilon(t, float64(noon.Unix()+5), client.ZScore(testContext(t), namesOf("id").Ends, "id").Val(), 0)
		n, err := b.PurgeCounts(testContext(t), noon.Add(5*time.Second), 1)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Empty(t, snapshot(t, client))
	})
}

// Sums at the limits of the contract are exact, and what cannot be exact is refused.
func TestLargeCounts(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		w := backend.Window{Name: "w", Length: time.Second, Start: noon, Max: backend.MaxCount}
		s := backend.Spend{ID: "id", SpendID: 1, Cost: backend.MaxCount - 1, Windows: []backend.Window{w}}
		require.Equal(t, backend.Spent{OK: true, Counts: []int64{backend.MaxCount - 1}}, spend(t, b, s))
		s.SpendID, s.Cost = 2, 2
		require.Equal(t, backend.Spent{Counts: []int64{backend.MaxCount - 1}}, spend(t, b, s))
		s.SpendID, s.Cost = 3, backend.MaxCount
		require.False(t, spend(t, b, s).OK)
		s.SpendID, s.Cost = 4, 1
		require.Equal(t, backend.Spent{OK: true, Counts: []int64{backend.MaxCount}}, spend(t, b, s))
		require.Contains(t, client.Get(testContext(t), countsKey("id")).Val(), "=1125899906842624;")
		for name, bad := range map[string]func(*backend.Spend){
			"an id":                func(s *backend.Spend) { s.ID = "a b" },
			"no cost":              func(s *backend.Spend) { s.Cost = 0 },
			"a cost that gives":    func(s *backend.Spend) { s.Cost = -1 },
			"a cost":               func(s *backend.Spend) { s.Cost = backend.MaxCount + 1 },
			"no windows":           func(s *backend.Spend) { s.Windows = nil },
			"nine windows":         func(s *backend.Spend) { s.Windows = make([]backend.Window, 9) },
			"the same twice":       func(s *backend.Spend) { s.Windows = []backend.Window{w, w} },
			"a max":                func(s *backend.Spend) { s.Windows[0].Max = backend.MaxCount + 1 },
			"a max of nothing":     func(s *backend.Spend) { s.Windows[0].Max = 0 },
			"a start between":      func(s *backend.Spend) { s.Windows[0].Start = noon.Add(1) },
			"a start before 1970":  func(s *backend.Spend) { s.Windows[0].Start = time.Unix(-1, 0) },
			"a start never":        func(s *backend.Spend) { s.Windows[0].Start = time.Time{} },
			"a start far from now": func(s *backend.Spend) { s.Windows[0].Start = time.Unix(1<<53, 0) },
			"a length":             func(s *backend.Spend) { s.Windows[0].Length = time.Second + 1 },
			"no length":            func(s *backend.Spend) { s.Windows[0].Length = 0 },
			"no name":              func(s *backend.Spend) { s.Windows[0].Name = "" },
			"a name":               func(s *backend.Spend) { s.Windows[0].Name = "a;b=1" },
			"a pattern":            func(s *backend.Spend) { s.Windows[0].Name = "%d" },
		} {
			s := backend.Spend{ID: "id", SpendID: 5, Cost: 1, Windows: []backend.Window{w}}
			bad(&s)
			_, err := b.Spend(testContext(t), s)
			require.ErrorIs(t, err, backend.ErrNotApplied, name)
		}
		require.Equal(t, []int64{backend.MaxCount}, counts(t, b, "id", []backend.Window{w}))

		stored := client.Get(testContext(t), countsKey("id")).Val()
		for _, digits := range []string{"9007199254740992", "9007199254740993", strings.Repeat("9", 30), strings.Repeat("9", 300)} {
			client.Set(testContext(t), countsKey("id"), strings.Replace(stored, "=1125899906842624;", "="+digits+";", 1), 0)
			for spendID := range uint64(6) { // repeats among them
				s.SpendID = spendID
				_, err := b.Spend(testContext(t), s)
				require.ErrorIs(t, err, backend.ErrNotApplied, "nobody spent %s", digits)
				require.ErrorContains(t, err, "damaged")
			}
		}
	})
}

// Counts that cannot be read are an error, and nothing is spent, until they are
// reset. Purge passes over them, and those of other keys work.
func TestDamagedCounts(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		ctx := testContext(t)
		b := handleOn(t, client, nil)
		s := spendOf("bad", 1, 1)
		spend(t, b, s)
		sound := client.Get(ctx, countsKey("bad")).Val()
		later := spendOf("bad", 2, 1) // in other windows
		later.Windows = twoLimits(noon.AddDate(0, 0, 1))
		for name, value := range map[string]any{
			"empty":                "",
			"text":                 "hello",
			"a number":             "1",
			"of a later version":   "\x02" + sound[1:],
			"cut in the counts":    sound[:20],
			"cut in the ids":       sound[:len(sound)-1],
			"a time that is none":  "\x01x" + sound[2:],
			"a count that is none": strings.Replace(sound, "=1;", "=x;", 1),
			"no count":             strings.Replace(sound, "=1;", "=;", 1),
			"a start that is none": strings.Replace(sound, ",177", ",x77", 1),
			"something between":    strings.Replace(sound, ";day", ";;day", 1),
			"something at the end": strings.Replace(sound, "\n", "x\n", 1),
			"a count below 0":      strings.Replace(sound, "=1;", "=-1;", 1),
			"no string":            nil,
		} {
			if value == nil && strings.HasSuffix(t.Name(), "miniredis") {
				continue // which has errors of its own
			}
			require.NoError(t, client.Del(ctx, countsKey("bad")).Err())
			if value != nil {
				require.NotEqual(t, sound, value, name)
				require.NoError(t, client.Set(ctx, countsKey("bad"), value, 0).Err())
			} else {
				require.NoError(t, client.LPush(ctx, countsKey("bad"), "x").Err())
			}
			before := client.Dump(ctx, countsKey("bad")).Val()
			for _, s := range []backend.Spend{s, later} {
				if name == "something at the end" && s.SpendID == 1 {
					// A repeat in the windows of the last spend, whose counts are sound, reads nothing else.
					require.Equal(t, backend.Spent{OK: true, Counts: []int64{1, 1}}, spend(t, b, s))
					continue
				}
				_, err := b.Spend(ctx, s)
				require.ErrorIs(t, err, backend.ErrNotApplied, name)
				noAnswer(t, err)
				_, err = b.Counts(ctx, "bad", s.Windows)
				require.Error(t, err, name)
			}
			require.Equal(t, before, client.Dump(ctx, countsKey("bad")).Val(), name)
			require.True(t, spend(t, b, spendOf("good", 1, 1)).OK)

			n, err := b.PurgeCounts(ctx, noon.AddDate(1, 0, 0), 10)
			require.NoError(t, err, name)
			require.LessOrEqual(t, n, 2, name)
			require.NoError(t, b.ResetCounts(ctx, "bad"), name)
			require.Equal(t, []int64{1, 1}, spend(t, b, s).Counts, name)
		}
	})
}

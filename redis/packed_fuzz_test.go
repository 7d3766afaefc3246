package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// FuzzUnpack: what is read of counts and tallies is in the form that scripts write,
// and whatever else is stored is an error.
func FuzzUnpack(f *testing.F) {
	for _, seed := range []string{
		"", "\x01", "\x01;\n", "\x011770163200;burst/1,1770120000=9;day/86400,1770076800=9;\n12345678", "\x01;12a=7;2a=1;\n1234567\n87654321",
		"\x015;a=1;\n1234567", "\x01x;a=1;\n", "\x01;a=1\n", "\x01;a=;\n", "\x01;a=-1;\n", "\x01;=1;\n", "\x01;a=9007199254740993;\n", "\x02;a=1;\n", "\x01;;\n", "\x01;a=1;a=2;\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		counts, err := unpack(value)
		if err != nil {
			require.ErrorIs(t, err, errPacked)
			require.Nil(t, counts)
			return
		}
		require.True(t, strings.HasPrefix(value, "\x01"))
		for name, n := range counts {
			require.NotEmpty(t, name)
			require.NotContains(t, name, ";")
			require.True(t, n >= 0 && n <= maxExact)
			require.Contains(t, value, name+"=")
		}
	})
}

// FuzzSpent: a reply is an answer only if it speaks of the windows that were asked
// for, and never one that leaves counts out.
func FuzzSpent(f *testing.F) {
	for _, seed := range []string{"", "1", "damaged", "1\x015;a/1,2=3;b-/4,5=6", "0\x015;a/1,2=3;b-/4,5=6", "1\x01;a/1,2=3;b-/4,5=6;", "1\x01;a/1,2=3", "1\x01;a/1,2=3;a/1,2=3", "2\x01;a/1,2=3;b-/4,5=6", "1\x01;a/1,2=;b-/4,5=-6"} {
		f.Add(seed)
	}
	windows := []backend.Window{
		{Name: "a", Length: time.Second, Start: time.Unix(2, 0)}, {Name: "b-", Length: 4 * time.Second, Start: time.Unix(5, 0)},
	}
	asked := frontOf(windows)
	f.Fuzz(func(t *testing.T, reply string) {
		spent, err := asked.spent(reply, 2, nil)
		if err != nil {
			require.Equal(t, backend.Spent{}, spent)
			return
		}
		require.Len(t, spent.Counts, 2)
		require.Equal(t, spent.OK, reply[0] == '1')
		for i, w := range []string{";a/1,2=", ";b-/4,5="} {
			require.Contains(t, reply, w)
			require.True(t, spent.Counts[i] >= 0 && spent.Counts[i] <= maxExact)
		}
	})
}

package audit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestReadGoesOnBehindWhatIsNoEvent(t *testing.T) {
	const good = `{"time":"2026-11-23T12:00:00.123Z","action":"purge","outcome":"done","count":3,"later":{"x":1}}`
	want := keystore.Event{Time: noon, Action: keystore.ActionPurge, Outcome: keystore.OutcomeDone, Count: 3}
	text := strings.Join([]string{
		good, "", "{", good + good, "[]", "null", "{}", `{"action":7}`, "\xff\x00", strings.Repeat("x", maxLine), strings.Repeat(" ", 3*maxLine) + good, "  " + good + "\r", good[:40],
	}, "\n")
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "by bytes": iotest.OneByteReader(strings.NewReader(text))} {
		var found []keystore.Event
		var at []string
		for e, err := range Read(r) {
			if err == nil {
				found = append(found, e)
				continue
			}
			require.ErrorIs(t, err, ErrLine)
			require.Zero(t, e)
			at = append(at, strings.TrimSuffix(strings.Fields(err.Error())[2], ":"))
		}
		require.Equal(t, []keystore.Event{want, want}, found, name)
		require.Equal(t, []string{"3", "4", "5", "6", "7", "8", "9", "10", "11", "13"}, at, name)
	}
	for range Read(strings.NewReader(text)) {
		break
	}
}

func TestReadEndsWithTheErrorOfTheReader(t *testing.T) {
	r := io.MultiReader(strings.NewReader("{\n{"), iotest.ErrReader(errDisk))
	var errs []error
	for _, err := range Read(r) {
		errs = append(errs, err)
	}
	require.Len(t, errs, 2)
	require.ErrorIs(t, errs[0], ErrLine)
	require.ErrorIs(t, errs[1], errDisk)
	require.NotErrorIs(t, errs[1], ErrLine)
}

// Whatever the text is, Read ends, gives no more than its lines, and what it gives
// can be written and read again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-23T12:00:00.123Z","action":"lookup","outcome":"refused","reason":"expired","count":2}` + "\n{"))
	f.Add([]byte("\n\n{\"action\":\"a\",\"count\":-1,\"detail\":\"\\ud800\"}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := 0
		for e, err := range Read(bytes.NewReader(text)) {
			lines++
			if err != nil {
				require.True(t, errors.Is(err, ErrLine), "%v", err)
				continue
			}
			path := somewhere(t)
			file := openFile(t, path, &FileOptions{NoSync: true})
			if file.Audit(t.Context(), []keystore.Event{e}) != nil {
				continue // a time with an offset that RFC 3339 does not have
			}
			again := read(t, path)
			require.Len(t, again, 1)
			require.True(t, e.Time.Equal(again[0].Time))
			again[0].Time = e.Time
			require.Equal(t, e, again[0])
		}
		require.LessOrEqual(t, lines, bytes.Count(text, []byte("\n"))+1)
	})
}

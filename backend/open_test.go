package backend_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// opened is what the test's driver was given last.
var opened struct {
	url string
	o   *backend.OpenOptions
}

var errRefused = errors.New("refused")

func init() {
	backend.Register("test+scheme", func(_ context.Context, rawURL string, o *backend.OpenOptions) (backend.Backend, error) {
		opened.url, opened.o = rawURL, o
		return nil, errRefused
	})
}

func TestOpenHandsTheURLToItsDriver(t *testing.T) {
	const url = "Test+Scheme://user:pw@host/%zz?a=b" // not even a URL that net/url would take
	_, err := backend.Open(context.Background(), url, nil)
	require.ErrorIs(t, err, errRefused)
	require.Equal(t, url, opened.url)
	require.NotNil(t, opened.o, "drivers get options, always")
}

func TestOpenOfAnUnknownSchemeSaysWhatIsMissing(t *testing.T) {
	for url, want := range map[string][]string{
		"badger:///var/hunter2":        {`"badger"`, "test+scheme", `import _ "example.com/keystore/badger"`},
		"memory://hunter2":             {`"memory"`, "test+scheme", `import _ "example.com/keystore/memory"`},
		"redis://hunter2":              {`"redis"`, "test+scheme", `import _ "example.com/keystore/redis"`},
		"rediss://hunter2":             {`"rediss"`, `import _ "example.com/keystore/redis"`},
		"redis+cluster://hunter2":      {`"redis+cluster"`, `import _ "example.com/keystore/redis"`},
		"REDISS+Cluster://hunter2":     {`"rediss+cluster"`, `import _ "example.com/keystore/redis"`},
		"redis+sentinel://hunter2":     {`"redis+sentinel"`, `import _ "example.com/keystore/redis"`},
		"rediss+sentinel://hunter2":    {`"rediss+sentinel"`, `import _ "example.com/keystore/redis"`},
		"mongodb://u:hunter2@host":     {`"mongodb"`, "test+scheme", `import _ "example.com/keystore/mongo"`},
		"mongodb+srv://u:hunter2@host": {`"mongodb+srv"`, `import _ "example.com/keystore/mongo"`},
		"nosuch://u:hunter2@h/hunter2": {`"nosuch"`, "test+scheme", "import"},
		"hunter2":                      {"scheme", "test+scheme"},
		"":                             {"scheme", "test+scheme"},
		"://hunter2":                   {"scheme", "test+scheme"},
		"1x://hunter2":                 {"scheme", "test+scheme"},
		"/var/hunter2://x":             {"scheme"},
		"hunter2 hunter2://x":          {"scheme"},
		"redis:hunter2@host":           {"scheme"},
		"a_token_hunter2_that_stands_where_a_scheme_belongs://": {"scheme"},
		"hunter2\x00://": {"scheme"},
	} {
		_, err := backend.Open(context.Background(), url, nil)
		require.ErrorIs(t, err, backend.ErrInvalidURL, url)
		for _, w := range want {
			require.Contains(t, err.Error(), w, url)
		}
		require.False(t, strings.Contains(err.Error(), "hunter2"), "%v holds more of the URL than its scheme", err)
	}
}

func TestSchemesAreSorted(t *testing.T) {
	require.Equal(t, []string{"test+scheme"}, backend.Schemes())
}

func TestRegisterRefusesMistakes(t *testing.T) {
	open := func(context.Context, string, *backend.OpenOptions) (backend.Backend, error) { return nil, nil }
	for _, scheme := range []string{"", "UPPER", "has space", "1st", "test+scheme", "a:b"} {
		require.Panics(t, func() { backend.Register(scheme, open) }, scheme)
	}
	require.Panics(t, func() { backend.Register("nil", nil) })
}

func FuzzOpenHidesTheURL(f *testing.F) {
	for _, seed := range []string{"badger:///x", "://", "a://b", "a b://c", "\x00://", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		const secret = "hunter2hunter2hunter2"
		for _, url := range []string{rest + secret, "nosuch://" + rest + secret, secret + rest} {
			_, err := backend.Open(context.Background(), url, nil)
			if err == nil {
				t.Fatal("opened")
			}
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("%v holds a part of the URL", err)
			}
		}
	})
}

package redis_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// What a URL makes of the client.
func TestURL(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	type settings struct {
		addrs                          string
		user, password                 string // of the Redis servers
		db                             int
		master, sentinelUser, sentinel string
		read, pool                     time.Duration
		retries, active                int
		tls                            bool
		serverName                     string
	}
	usual := func(s settings) settings {
		if s.read == 0 {
			s.read = time.Second
		}
		if s.active == 0 {
			s.active = 20 * procs
		}
		if s.retries == 0 {
			s.retries = 2
		}
		s.pool = 500 * time.Millisecond
		return s
	}
	for rawURL, want := range map[string]settings{
		"redis://host":                      {addrs: "[host:6379]"},
		"redis://host/":                     {addrs: "[host:6379]"},
		"REDIS://host:1/3":                  {addrs: "[host:1]", db: 3},
		"redis://host?db=3":                 {addrs: "[host:6379]", db: 3},
		"redis://[::1]:7/0":                 {addrs: "[[::1]:7]"},
		"redis://[::1]":                     {addrs: "[[::1]:6379]"},
		"redis://user:p%40%2F%3A%23@host":   {addrs: "[host:6379]", user: "user", password: "p@/:#"},
		"redis://:pw@host":                  {addrs: "[host:6379]", password: "pw"},
		"redis://u:p@w@host":                {addrs: "[host:6379]", user: "u", password: "p@w"},
		"rediss://host":                     {addrs: "[host:6379]", tls: true},
		"rediss://host?tls_server_name=x.y": {addrs: "[host:6379]", tls: true, serverName: "x.y"},
		"redis://host?read_timeout=7s&max_retries=1&pool_size=3":             {addrs: "[host:6379]", read: 7 * time.Second, retries: 1, active: 6},
		"redis://host?max_active_conns=9":                                    {addrs: "[host:6379]", active: 9},
		"redis+cluster://a:1,b,[::2]:3":                                      {addrs: "[a:1 b:6379 [::2]:3]"},
		"redis+cluster://a:1/?addr=b:2&addr=c:3":                             {addrs: "[a:1 b:2 c:3]"},
		"rediss+cluster://u:p@a,b?pool_size=1":                               {addrs: "[a:6379 b:6379]", user: "u", password: "p", tls: true, active: 2},
		"redis+sentinel://a,b:1/mymaster":                                    {addrs: "[a:26379 b:1]", master: "mymaster"},
		"redis+sentinel://u:p@a/my%2Fmaster/2":                               {addrs: "[a:26379]", master: "my", db: 0}, // replaced below
		"redis+sentinel://u:p@a/m/2?sentinel_username=s&sentinel_password=t": {addrs: "[a:26379]", master: "m", db: 2, user: "u", password: "p", sentinelUser: "s", sentinel: "t"},
		"rediss+sentinel://a/1?master_name=m&addr=b:2":                       {addrs: "[a:26379 b:2]", master: "m", db: 1, tls: true},
	} {
		if strings.Contains(rawURL, "%2Fmaster") {
			_, err := redis.ParseURL(rawURL)
			assert.Error(t, err, "a slash is no part of a name")
			continue
		}
		client, err := redis.ParseURL(rawURL)
		require.NoError(t, err, rawURL)
		var got settings
		var security *tls.Config
		switch o := client.(type) {
		case *goredis.Options:
			got = settings{addrs: fmt.Sprint([]string{o.Addr}), user: o.Username, password: o.Password, db: o.DB, read: o.ReadTimeout, pool: o.PoolTimeout, retries: o.MaxRetries, active: o.MaxActiveConns}
			security = o.TLSConfig
			assert.True(t, o.ContextTimeoutEnabled)
		case *goredis.ClusterOptions:
			got = settings{addrs: fmt.Sprint(o.Addrs), user: o.Username, password: o.Password, read: o.ReadTimeout, pool: o.PoolTimeout, retries: o.MaxRetries, active: o.MaxActiveConns}
			security = o.TLSConfig
			assert.True(t, o.ContextTimeoutEnabled)
			assert.False(t, o.ReadOnly || o.RouteByLatency || o.RouteRandomly)
		case *goredis.FailoverOptions:
			got = settings{addrs: fmt.Sprint(o.SentinelAddrs), user: o.Username, password: o.Password, db: o.DB, read: o.ReadTimeout, pool: o.PoolTimeout, retries: o.MaxRetries, active: o.MaxActiveConns,
				master: o.MasterName, sentinelUser: o.SentinelUsername, sentinel: o.SentinelPassword}
			security = o.TLSConfig
			assert.True(t, o.ContextTimeoutEnabled)
			assert.False(t, o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly)
		}
		if got.tls = security != nil; got.tls {
			got.serverName = security.ServerName
			assert.GreaterOrEqual(t, security.MinVersion, uint16(tls.VersionTLS12))
			assert.False(t, security.InsecureSkipVerify)
		}
		assert.Equal(t, usual(want), got, rawURL)
	}
}

func TestInvalidURL(t *testing.T) {
	for name, rawURL := range map[string]string{
		"no server":                    "redis://",
		"no server, path":              "redis:///0",
		"no server, user":              "redis://s3cret:s3cret@",
		"an empty server":              "redis+cluster://s3cret,,s3cret2",
		"a port only":                  "redis://:6379",
		"a port that is none":          "redis://s3cret:port",
		"port 0":                       "redis://s3cret:0",
		"port 65536":                   "redis://s3cret:65536",
		"a space":                      "redis://s3 cret",
		"a control character":          "redis://s3cret\n",
		"NUL":                          "redis://s3cret\x00",
		"a bad escape in the user":     "redis://s3cret%zz@host",
		"a bad escape in the path":     "redis://host/s3cret%zz",
		"a bad escape in the query":    "redis://host/?s3cret=%zz",
		"a fragment":                   "redis://u:s3cret#s3cret@host",
		"two servers":                  "redis://s3cret,s3cret2",
		"two servers by parameter":     "redis://s3cret?addr=s3cret2:1",
		"a database that is no number": "redis://host/s3cret",
		"a negative database":          "redis://host/-1",
		"a database too large":         "redis://host/99999999999",
		"a database by parameter":      "redis://host?db=s3cret",
		"a negative one by parameter":  "redis+sentinel://host/m?db=-1",
		"dialing again and again":      "redis+cluster://host?dialer_retries=1000",
		"a long path":                  "redis://host/0/s3cret",
		"two databases":                "redis://host/0?db=1",
		"a cluster's database":         "redis+cluster://host/1",
		"a cluster's path":             "redis+cluster://host/s3cret",
		"no master":                    "redis+sentinel://s3cret",
		"no master, slash":             "redis+sentinel://s3cret/",
		"an empty master":              "redis+sentinel://s3cret/?master_name=",
		"a master's database":          "redis+sentinel://s3cret/mymaster/s3cret",
		"a password parameter":         "redis+sentinel://host/m?password=s3cret",
		"a user parameter":             "redis+sentinel://host/m?username=s3cret",
		"unknown parameter":            "redis://host?s3cret=s3cret",
		"parameter in other case":      "redis://host?Namespace=s3cret",
		"twice":                        "redis://host?namespace=s3cret&namespace=s3cret",
		"semicolon":                    "redis://host?namespace=a;s3cret=b",
		"a bad namespace":              "redis://host?namespace=s3cret:s3cret",
		"an empty namespace":           "redis://host?namespace=",
		"no verification":              "rediss://host?skip_verify=true",
		"a bad duration":               "redis://host?read_timeout=s3cret",
		"a bad number":                 "redis://host?pool_size=s3cret",
		"a number too large":           "redis://host?pool_size=3000000000",
		"a number no number holds":     "redis://host?pool_size=99999999999999999999",
		"a negative size":              "redis://host?pool_size=-1",
		"a negative buffer":            "redis+cluster://host?pipeline_read_buffer_size=-1",
		"no timeout":                   "redis://host?read_timeout=0",
		"a negative timeout":           "redis+sentinel://host/m?write_timeout=-1s",
		"a bad switch":                 "redis://host?pool_fifo=s3cret",
		"an addr that is none":         "redis+cluster://host?addr=s3cret%20",
		"replicas of a cluster":        "redis+cluster://host?read_only=true",
		"latency":                      "redis+cluster://host?route_by_latency=1",
		"randomness":                   "redis+cluster://host?route_randomly=1",
		"a replica":                    "redis+sentinel://host/m?replica_only=true",
		"TLS files without TLS":        "redis://host?tls_ca_file=/s3cret",
		"a relative file":              "rediss://host?tls_ca_file=s3cret",
		"an empty file":                "rediss://host?tls_ca_file=",
		"a file with NUL":              "rediss://host?tls_ca_file=/s3cret%00",
		"a certificate alone":          "rediss://host?tls_cert_file=/s3cret",
		"a key alone":                  "rediss://host?tls_key_file=/s3cret",
		"an empty server name":         "rediss://host?tls_server_name=",
		"sentinel's user elsewhere":    "redis://host?sentinel_password=s3cret",
		"the idle_timeout of old":      "redis://host?idle_timeout=s3cret",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := backend.Open(testContext(t), rawURL, nil)
			require.ErrorIs(t, err, backend.ErrInvalidURL, rawURL)
			hides(t, err, "s3cret", "host?", "6379\"", "Namespace", "%zz")
		})
	}
}

// hides checks that an error holds none of the parts, whatever one does with it.
func hides(t *testing.T, err error, parts ...string) {
	t.Helper()
	var onNet *net.OpError
	var onDNS *net.DNSError
	var onPath *fs.PathError
	require.False(t, errors.As(err, &onNet) || errors.As(err, &onDNS) || errors.As(err, &onPath), "it would hold an address or path")
	for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %#v %q %x", err, err, err, err, err)} {
		for _, part := range parts {
			require.NotContains(t, text, part)
		}
	}
}

func TestURLHints(t *testing.T) {
	for rawURL, hint := range map[string]string{
		"redis://a,b":                     "redis+cluster or redis+sentinel",
		"redis+sentinel://a/":             "redis+sentinel://host:26379/mymaster",
		"redis+cluster://a/0":             "no database numbers",
		"redis+cluster://a?read_only=0":   "read_only is refused: a replica may show a key as valid that was revoked",
		"redis://a?tls_ca_file=/x":        "tls_ca_file is of no use without TLS: the scheme is rediss",
		"redis://a?what=ever":             "those of go-redis, namespace and, with rediss, tls_ca_file",
		"redis+sentinel://a/m?password=p": "sentinel_password",
		"redis://user:pa#ss@a":            "%23",
		"rediss://a?tls_key_file=/x":      "together",
		"redis://host/0?namespace=a%2Fb":  "namespace must be 1 to 64 of [0-9A-Za-z._-]",
	} {
		_, err := backend.Open(testContext(t), rawURL, nil)
		assert.ErrorContains(t, err, hint, rawURL)
	}
}

// Opening makes sure that the server answers, and no error of it shows the URL.
func TestOpeningFails(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, "requirepass right", "user s3cret-user on >right ~* &* -@all +ping")
	secured, files := testserver.StartRedisTLS(t, "tls-auth-clients no")
	unused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := unused.Addr().String()
	require.NoError(t, unused.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	folder := filepath.Join(t.TempDir(), "s3cret")
	require.NoError(t, os.Mkdir(folder, 0o700))
	noPEM := filepath.Join(folder, "no.pem")
	require.NoError(t, os.WriteFile(noPEM, []byte("s3cret"), 0o600))
	port := func(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

	for name, c := range map[string]struct {
		url  string
		text string
		auth bool
		is   error
	}{
		"wrong password":     {"redis://:s3cret@" + server.Addr(), "refused the user or the password", true, nil},
		"wrong user":         {"redis://s3cret:right@" + server.Addr(), "refused the user or the password", true, nil},
		"no password":        {"redis://" + server.Addr(), "refused the user or the password", true, nil},
		"no such database":   {"redis://:right@" + server.Addr() + "/4711", "no database of this number", false, nil},
		"no cluster":         {"redis+cluster://:right@" + server.Addr(), "not part of a cluster", false, nil},
		"nobody there":       {"redis://s3cret:s3cret@" + gone, "cannot be reached: connection refused", false, nil},
		"no node there":      {"redis+cluster://s3cret:s3cret@" + gone + "," + gone, "cannot be reached: connection refused", false, nil},
		"no sentinel there":  {"redis+sentinel://s3cret:s3cret@" + gone + "/s3cret", "no sentinel can be asked for the master: the server cannot be reached: connection refused", false, nil},
		"no sentinel":        {"redis+sentinel://:right@" + server.Addr() + "/s3cret", "no sentinel can be asked for the master: the server replied an error", false, nil},
		"no such host":       {"redis://s3cret.invalid", "name of the server cannot be resolved", false, nil},
		"silence":            {"redis://s3cret@" + silent.Addr().String(), "did not answer in time", false, nil},
		"no TLS spoken":      {"rediss://:s3cret@" + server.Addr(), "TLS", false, nil},
		"TLS expected":       {"redis://:s3cret@" + secured.Addr(), "TLS", false, nil},
		"unknown authority":  {"rediss://s3cret@" + secured.Addr(), "authority that is not trusted", false, nil},
		"another name":       {"rediss://" + secured.Addr() + "?tls_server_name=s3cret&tls_ca_file=" + files.CAFile, "another name", false, nil},
		"no such file":       {"rediss://" + secured.Addr() + "?tls_ca_file=" + folder + "/s3cret", "tls_ca_file: no such file", false, fs.ErrNotExist},
		"no PEM":             {"rediss://" + secured.Addr() + "?tls_ca_file=" + noPEM, "no certificate in PEM form", false, nil},
		"no key in PEM":      {"rediss://" + secured.Addr() + "?tls_cert_file=" + noPEM + "&tls_key_file=" + noPEM, "tls_cert_file or tls_key_file", false, nil},
		"a folder for a key": {"rediss://" + secured.Addr() + "?tls_cert_file=" + noPEM + "&tls_key_file=" + folder, "is a directory", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			ctx := testContext(t)
			if name == "silence" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
			}
			_, err := backend.Open(ctx, c.url, &backend.OpenOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			require.ErrorContains(t, err, c.text)
			require.Equal(t, c.auth, errors.Is(err, redis.ErrAuth), "%v", err)
			require.NotErrorIs(t, err, backend.ErrInvalidURL, "it may be right another time")
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			hides(t, err, "s3cret", "right", "127.0.0.1", port(server.Addr()), port(secured.Addr()), port(gone), port(silent.Addr().String()))
			require.NotContains(t, log.String(), "s3cret")
		})
	}
	t.Run("a user that may not", func(t *testing.T) {
		b := openURL(t, "redis://s3cret-user:right@"+server.Addr())
		err := b.Create(testContext(t), record("id", "o", "d"))
		require.ErrorContains(t, err, "NOPERM")
		require.ErrorIs(t, err, backend.ErrNotApplied)
	})
}

func TestURLObeysContext(t *testing.T) {
	server := startMini(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := backend.Open(ctx, "redis://"+server.Addr(), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, server.TotalConnectionCount())

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	ctx, cancel = context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = backend.Open(ctx, "redis://"+silent.Addr().String()+"?read_timeout=20s", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)
}

// TLS: the files of the URL, or the configuration of the program, or both.
func TestTLS(t *testing.T) {
	server, files := testserver.StartRedisTLS(t)
	query := "?tls_ca_file=" + files.CAFile + "&tls_cert_file=" + files.CertFile + "&tls_key_file=" + files.KeyFile
	ca := files.Config.Clone()
	ca.Certificates = nil
	for name, c := range map[string]struct {
		query string
		base  *tls.Config
		fails string
	}{
		"files":                    {query, nil, ""},
		"configuration":            {"", files.Config, ""},
		"both":                     {"?tls_cert_file=" + files.CertFile + "&tls_key_file=" + files.KeyFile, ca, ""},
		"the name in another way":  {query + "&tls_server_name=localhost", nil, ""},
		"without a certificate":    {"?tls_ca_file=" + files.CAFile, nil, "connection"},
		"a name that is not there": {query + "&tls_server_name=example.org", nil, "another name"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(testContext(t), 10*time.Second)
			defer cancel()
			b, err := backend.Open(ctx, strings.TrimSuffix(server.URL(), "/0")+c.query, &backend.OpenOptions{TLS: c.base})
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				return
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			id := strings.ReplaceAll(name, " ", "-")
			create(t, b, record(id, "o", "d"))
			require.Equal(t, "d", string(get(t, b, id).Data))
			changes, err := b.(backend.Watcher).Watch(testContext(t))
			require.NoError(t, err)
			require.NoError(t, b.Delete(testContext(t), id))
			require.Equal(t, id, <-changes)
		})
	}
	require.Nil(t, ca.Certificates, "the program's configuration is not changed")

	var log bytes.Buffer
	plain := testserver.StartRedis(t)
	b, err := backend.Open(testContext(t), plain.URL(), &backend.OpenOptions{TLS: files.Config, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.Contains(t, log.String(), "it is rediss with it", "TLS was meant, perhaps")
}

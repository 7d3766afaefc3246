package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// kind is how the servers of a store are found.
type kind int

const (
	single kind = iota
	cluster
	sentinel
)

// schemes are the URL schemes; those of TLS have an s behind redis.
var schemes = map[string]struct {
	kind kind
	tls  bool
}{
	"redis":           {single, false},
	"rediss":          {single, true},
	"redis+cluster":   {cluster, false},
	"rediss+cluster":  {cluster, true},
	"redis+sentinel":  {sentinel, false},
	"rediss+sentinel": {sentinel, true},
}

// defaults are parameters for go-redis where the URL has none. A server that does
// not answer within a second is told as an outage, and tried again by the caller;
// a pool that is exhausted for half a second will not recover by waiting; retries
// are those of reads, since the driver forbids those of writes. max_active_conns
// is added to them: twice the pool, which go-redis otherwise exceeds without limit.
var defaults = map[string]string{
	"protocol":           "3",
	"dial_timeout":       "1s",
	"read_timeout":       "1s",
	"write_timeout":      "1s",
	"pool_timeout":       "500ms",
	"max_retries":        "2",
	"min_retry_backoff":  "8ms",
	"max_retry_backoff":  "64ms",
	"conn_max_idle_time": "5m",
}

// replicaParameters make go-redis read from replicas, where a key that was revoked
// may still be valid.
var replicaParameters = []string{"read_only", "route_by_latency", "route_by_latency_tolerance", "route_randomly", "replica_only", "use_disconnected_replicas"}

// location is what a URL says. One of the options is set.
type location struct {
	namespace string
	tls       *tlsFiles // nil: no TLS
	single    *goredis.Options
	cluster   *goredis.ClusterOptions
	sentinel  *goredis.FailoverOptions
}

// parseURL takes rawURL apart. Its errors hold no part of it.
func parseURL(rawURL string) (*location, error) {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	form, known := schemes[strings.ToLower(scheme)]
	switch {
	case !known:
		return nil, errors.New("the scheme is none of this driver")
	case strings.Contains(rest, "#"):
		return nil, errors.New("a fragment (#) is of no use; in a password write %23")
	}
	rest, rawQuery, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	query, err := parseQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	at := &location{}
	if at.namespace, known = take(query, "namespace"); known && !validNamespace(at.namespace) {
		return nil, errors.New("namespace must be 1 to 64 of [0-9A-Za-z._-]")
	}
	if at.tls, err = takeTLS(query, form.tls); err != nil {
		return nil, err
	}
	user, hosts, err := parseAuthority(authority, query, form.kind)
	if err != nil {
		return nil, err
	}
	if path, err = parsePath(path, query, form.kind); err != nil {
		return nil, err
	}
	if err := checkNumbers(query); err != nil {
		return nil, err
	}
	addDefaults(query)
	var sentinelUser, sentinelPassword string
	if form.kind == sentinel {
		sentinelUser, _ = take(query, "sentinel_username")
		sentinelPassword, _ = take(query, "sentinel_password")
	}
	query["addr"] = hosts[1:] // go-redis takes other servers as parameters
	plain := &url.URL{Scheme: "redis", User: user, Host: hosts[0], Path: path, RawQuery: query.Encode()}
	if err := at.parse(form.kind, plain.String()); err != nil {
		// Its error quotes the URL.
		return nil, errors.New("a parameter is unknown, or its value is none; known are those of go-redis, namespace and, with rediss, tls_ca_file, tls_cert_file, tls_key_file and tls_server_name")
	}
	if o := at.sentinel; o != nil { // go-redis takes the user of the URL for one of the sentinels
		o.Username, o.Password = o.SentinelUsername, o.SentinelPassword
		o.SentinelUsername, o.SentinelPassword = sentinelUser, sentinelPassword
	}
	return at, nil
}

// parse hands the URL to the parser of go-redis.
func (at *location) parse(k kind, plain string) (err error) {
	switch k {
	case cluster:
		at.cluster, err = goredis.ParseClusterURL(plain)
	case sentinel:
		at.sentinel, err = goredis.ParseFailoverURL(plain)
	default:
		at.single, err = goredis.ParseURL(plain)
	}
	return err
}

func parseQuery(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errors.New("the parameters cannot be parsed")
	}
	for name, values := range query {
		switch {
		case len(values) != 1 && name != "addr":
			return nil, errors.New("a parameter is given more than once")
		case slices.Contains(replicaParameters, name):
			return nil, fmt.Errorf("%s is refused: a replica may show a key as valid that was revoked", name)
		case name == "dialer_retries":
			return nil, errors.New("dialer_retries is refused: a caller that is told at once can try again")
		}
	}
	return query, nil
}

// take removes a parameter.
func take(query url.Values, name string) (value string, given bool) {
	value, given = query.Get(name), query.Has(name)
	query.Del(name)
	return value, given
}

// parseAuthority returns the user and the addresses. Further addresses may be
// parameters: addr=host:port.
func parseAuthority(authority string, query url.Values, k kind) (user *url.Userinfo, hosts []string, err error) {
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		u, err := url.Parse("redis://" + authority[:i+1] + "host")
		if err != nil {
			return nil, nil, errors.New("the user or password cannot be parsed; what is no letter or digit is written %xx")
		}
		user, authority = u.User, authority[i+1:]
	}
	hosts = append(strings.Split(authority, ","), query["addr"]...)
	query.Del("addr")
	if k == single && len(hosts) > 1 {
		return nil, nil, errors.New("there is more than one server: the scheme is redis+cluster or redis+sentinel then")
	}
	port := "6379"
	if k == sentinel {
		port = "26379"
	}
	for i, host := range hosts {
		if hosts[i], err = parseHost(host, port); err != nil {
			return nil, nil, err
		}
	}
	return user, hosts, nil
}

func parseHost(text, port string) (string, error) {
	u, err := url.Parse("redis://" + text)
	if err != nil || u.Host != text || u.User != nil {
		return "", errors.New("a server is not written as host or host:port")
	}
	if u.Hostname() == "" {
		return "", errors.New("the URL names no server, or an empty one")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("a port is none")
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// parsePath returns the path that go-redis expects, of a database number, and moves
// the name of the master and the users of sentinels to where it expects them.
func parsePath(path string, query url.Values, k kind) (string, error) {
	path, err := url.PathUnescape(strings.TrimSuffix(path, "/"))
	if err != nil {
		return "", errors.New("the path cannot be parsed")
	}
	switch k {
	case cluster:
		if path != "" || query.Has("db") {
			return "", errors.New("a cluster has no database numbers, so there is no path")
		}
	case sentinel:
		if query.Has("username") || query.Has("password") {
			return "", errors.New("the user and password of the Redis servers stand before the @; those of the sentinels are sentinel_username and sentinel_password")
		}
		if !query.Has("master_name") {
			var master string
			master, path, _ = strings.Cut(path, "/")
			query.Set("master_name", master)
		}
		if query.Get("master_name") == "" {
			return "", errors.New("the path begins with the name of the master: redis+sentinel://host:26379/mymaster")
		}
	}
	db, given := take(query, "db")
	switch {
	case given && path != "":
		return "", errors.New("the database is named twice")
	case given:
		path = db
	case path == "":
		return "", nil
	}
	if _, err := strconv.ParseUint(path, 10, 31); err != nil {
		return "", errors.New("the database is no number")
	}
	return "/" + path, nil
}

// Sizes that go-redis would panic over if they were negative or too large, and
// timeouts without which what nobody waits for any more would wait for ever.
var (
	sizes    = []string{"pool_size", "min_idle_conns", "max_idle_conns", "max_active_conns", "max_concurrent_dials", "pipeline_read_buffer_size", "pipeline_write_buffer_size"}
	timeouts = []string{"dial_timeout", "read_timeout", "write_timeout", "pool_timeout"}
)

const maxNumber = 1 << 20

// checkNumbers leaves what is no number to go-redis.
func checkNumbers(query url.Values) error {
	for name, values := range query {
		n, err := strconv.Atoi(values[0])
		switch {
		case errors.Is(err, strconv.ErrRange), err == nil && (n > maxNumber || n < -maxNumber),
			err == nil && n < 0 && slices.Contains(sizes, name):
			return errors.New("a number is out of range")
		case !slices.Contains(timeouts, name):
			continue
		}
		d, notDuration := time.ParseDuration(values[0])
		if err == nil && n <= 0 || notDuration == nil && d <= 0 {
			return fmt.Errorf("%s must be positive", name)
		}
	}
	return nil
}

func addDefaults(query url.Values) {
	for name, value := range defaults {
		if !query.Has(name) {
			query.Set(name, value)
		}
	}
	if query.Has("max_active_conns") {
		return
	}
	size := 10 * runtime.GOMAXPROCS(0) // go-redis's own default
	if n, err := strconv.Atoi(query.Get("pool_size")); err == nil && n > 0 {
		size = n
	}
	query.Set("max_active_conns", strconv.Itoa(2*size))
}

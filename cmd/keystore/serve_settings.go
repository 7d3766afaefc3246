package main

import (
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/keystore"
	"example.com/keystore/internal/server"
)

const defaultListen = "127.0.0.1:8080"

func addServeFlags(flags *pflag.FlagSet) {
	flags.String("listen", "", "`address` to listen on, host:port or unix:/path; default "+defaultListen)
	flags.String("ops-listen", "", "`address` of /healthz, /readyz and /metrics, without TLS; default: that of --listen")
	flags.String("tls-cert", "", "`file` of the certificate in PEM, with its chain; read again when it changes")
	flags.String("tls-key", "", "`file` of its key in PEM")
	flags.Bool("tls-self-signed", false, "make a certificate at the start, for trying out")
	flags.Bool("insecure", false, "listen on any address without TLS: tokens cross the network in the clear")
	flags.StringArray("trusted-proxy", nil, "`CIDR` of proxies whose X-Forwarded-For is believed (repeatable)")
	flags.String("socket", "", "`file` of the unix socket by which this tool works on the store meanwhile, or none; default keystore.sock in a Badger folder, else none")
	flags.String("max-connections", "", "`number` of connections at a time; default 10000")
	flags.String("shutdown-timeout", "", "`duration` that requests under way may take at the end; default 10s")
	flags.String("cache-size", "", "`number` of keys kept in memory, or none; default 10000")
	flags.String("cache-ttl", "", "`duration` after which a change elsewhere is seen at the latest; default 5s")
	flags.String("stale-if-unavailable", "", "`duration` for which a key goes on being accepted beyond --cache-ttl while the store fails; default none")
	flags.Bool("limits-open", false, "let keys pass whose limits cannot be counted while the store fails")
	flags.String("usage-retention", "", "how long counts of lookups are kept: `duration` or never; default 90d")
	flags.Bool("rate-limit-fields", false, "send RateLimit and RateLimit-Policy also where /verify lets a key pass")
	flags.Bool("legacy-rate-limit-fields", false, "send X-RateLimit-* wherever these are sent")
	flags.String("log-format", "", "`format` of the log: text or json; default text, with --json json")
	flags.String("log-level", "", "`level` of the log: debug, info, warn or error; default info")
	flags.Bool("log-requests", false, "log a line a request at level info")
}

// served is what flags and environment say of serve.
type served struct {
	options *keystore.Options
	server  server.Config
}

// served reads the settings. Unlike the other commands, serve has a cache, notes and
// counts uses, and purges.
func (a *app) served(cmd *cobra.Command, rawURL string) (served, error) {
	if err := switches(cmd, "tls-self-signed", "insecure", "limits-open", "rate-limit-fields", "legacy-rate-limit-fields", "log-requests"); err != nil {
		return served{}, err
	}
	options, err := a.options()
	if err != nil {
		return served{}, err
	}
	s := &settingReader{flags: cmd.Flags(), getenv: a.getenv}
	options.Logger = a.serveLogger(s)
	options.CacheSize = read(s, "cache-size", 0, parseCacheSize)
	options.CacheTTL = read(s, "cache-ttl", 0, parsePositive)
	options.StaleIfUnavailable = read(s, "stale-if-unavailable", 0, parsePositive)
	options.TouchInterval, options.PurgeInterval, options.UsageInterval = 0, 0, 0
	options.UsageRetention = read(s, "usage-retention", 0, parseRetention)
	if s.given("limits-open") {
		options.LimitFailure = keystore.LimitsOpen
	}
	if !a.flags.Changed("timeout") && a.getenv("KEYSTORE_TIMEOUT") == "" {
		options.OpTimeout = 0 // the library's own, for callers wait
	}
	config := server.Config{
		Listen:          read(s, "listen", defaultListen, anyText),
		OpsListen:       read(s, "ops-listen", "", anyText),
		CertFile:        read(s, "tls-cert", "", anyText),
		KeyFile:         read(s, "tls-key", "", anyText),
		SelfSigned:      s.given("tls-self-signed"),
		Insecure:        s.given("insecure"),
		Socket:          read(s, "socket", defaultSocket(rawURL), parseSocket),
		TrustedProxies:  read(s, "trusted-proxy", nil, parsePrefixes),
		MaxConnections:  read(s, "max-connections", 0, parseCount),
		ShutdownTimeout: read(s, "shutdown-timeout", 0, parsePositive),
		LogRequests:     s.given("log-requests"),

		RateLimitFields:       s.given("rate-limit-fields"),
		LegacyRateLimitFields: s.given("legacy-rate-limit-fields"),

		Version: buildVersion(),
		Logger:  options.Logger,
	}
	return served{options, config}, s.err
}

// serveLogger writes to standard error, with the time, which nobody else may add.
func (a *app) serveLogger(s *settingReader) *slog.Logger {
	o := &slog.HandlerOptions{Level: read(s, "log-level", slog.LevelInfo, parseLevel), ReplaceAttr: server.RedactAttr}
	if read(s, "log-format", a.global.json, parseFormat) {
		return slog.New(slog.NewJSONHandler(a.err, o))
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

// settingReader reads settings and keeps what is wrong with the first one that is.
type settingReader struct {
	flags  *pflag.FlagSet
	getenv func(string) string
	err    error
}

func (s *settingReader) given(flag string) bool { return s.flags.Changed(flag) }

// read returns a setting of a flag, or else of the variable with its name, or else
// def. Of a flag that repeats, the parts are separated by commas.
func read[T any](s *settingReader, flag string, def T, parse func(string) (T, error)) T {
	variable := "KEYSTORE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	got := setting{s.getenv(variable), variable}
	if f := s.flags.Lookup(flag); f.Changed {
		got = setting{f.Value.String(), "--" + flag}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			got.text = strings.Join(list.GetSlice(), ",")
		}
	}
	if got.text == "" && got.from == variable {
		return def
	}
	value, err := parse(got.text)
	if err != nil && s.err == nil {
		s.err = got.wrong(err)
	}
	return value
}

func anyText(text string) (string, error) {
	if text == "" {
		return "", problem("it is empty")
	}
	return text, nil
}

// defaultSocket is a file in the folder of a Badger store, which nobody else can
// open meanwhile. Other stores need none, and on Windows there are no such sockets.
func defaultSocket(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || schemeOf(rawURL) != "badger" || u.Path == "" || runtime.GOOS == "windows" {
		return ""
	}
	return filepath.Join(filepath.FromSlash(u.Path), "keystore.sock")
}

func parseSocket(text string) (string, error) {
	if text == "none" {
		return "", nil
	}
	return anyText(text)
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, problem("it must be a whole number, more than 0")
	}
	return n, nil
}

// parseCacheSize reads Options.CacheSize, for which a negative number means none.
func parseCacheSize(text string) (int, error) {
	if text == "none" {
		return -1, nil
	}
	return parseCount(text)
}

func parsePrefixes(text string) (prefixes []netip.Prefix, err error) {
	for part := range strings.SplitSeq(text, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, problem("a range of addresses is like 10.0.0.0/8, one address like 127.0.0.1/32")
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

func parseLevel(text string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, known := levels[text]
	if !known {
		return 0, problem("it is debug, info, warn or error")
	}
	return level, nil
}

// parseFormat reports whether the log is JSON.
func parseFormat(text string) (bool, error) {
	if text != "text" && text != "json" {
		return false, problem("it is text or json")
	}
	return text == "json", nil
}

package keystore

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"slices"
	"time"
)

// Never, as one of the durations in Options, switches off what it is for.
const Never time.Duration = -1

// Options configure a Keystore. A nil *Options and zero fields mean the
// defaults. A negative duration other than Never is ErrInvalid.
type Options struct {
	// Prefix begins every new token and names the environment, for example
	// "sk_live": [a-z][a-z0-9_]*, 1 to 16 characters, not ending in "_".
	// Default "ks".
	Prefix string
	// AcceptPrefixes lists further prefixes whose tokens are looked up.
	AcceptPrefixes []string

	// Hash makes new digests. Default SHA256().
	Hash Hasher
	// AcceptHash lists what else verifies. A pepper is turned on in two steps:
	// first here in every process, then in Hash, with Rehash.
	AcceptHash []Hasher
	// Rehash rewrites a digest of another scheme or key than Hash makes, after
	// a successful lookup, in the background and once per secret and process.
	// Turn it on when all processes have the same Hash: else they undo each
	// other's work.
	Rehash bool

	// DefaultTTL is the lifetime of keys generated without an expiry. Zero or
	// Never: they do not expire.
	DefaultTTL time.Duration
	// MaxTTL is the longest lifetime, counted from the call, that Generate,
	// Update, Expire and Rotate accept; a key without expiry exceeds it. Zero
	// or Never: no bound.
	MaxTTL time.Duration
	// Retention is how long a revoked or expired key stays before Purge may
	// delete it. It is applied as keys are written. Default 30 days; Never: for
	// ever.
	Retention time.Duration

	// OpTimeout bounds each backend call, with the context's deadline if that
	// is sooner. Default 2 s; Never: the context's deadline alone.
	OpTimeout time.Duration

	// CacheSize is how many keys the read cache holds, about 1 KB each.
	// Default 10 000; negative: there is no cache, and each lookup reads the
	// store. As many answers of OwnerActive are kept.
	CacheSize int
	// CacheTTL is the bound on staleness: a lookup that begins later than this
	// after a change has returned, in any process, sees the change. Through
	// the Keystore that made it, and others in the process on the same Backend
	// value, all do at once, and elsewhere most do after one message
	// where the backend is a backend.Watcher. It holds for the answers of
	// OwnerActive too. Default 5 s; Never is ErrInvalid.
	CacheTTL time.Duration
	// StaleIfUnavailable is how much longer than CacheTTL a token that proved
	// itself may be accepted while the store fails. It extends the bound by
	// that much: a revocation in another process may be missed as long. It
	// never does past the key's expiry, nor after a revocation that this
	// process made or heard of. Result.Stale says so. Default 0; Never is
	// ErrInvalid.
	StaleIfUnavailable time.Duration

	// TouchInterval is how often last-used times are written, all in one batch.
	// Default 30 s; Never: they are not recorded.
	TouchInterval time.Duration
	// PurgeInterval is how often keys whose retention has passed are deleted in
	// the background. Default 1 h; Never: only when Purge is called.
	PurgeInterval time.Duration

	// OwnerActive says whether an owner's keys may be used; it is asked after
	// the secret matched. nil: every owner's may. An error is ErrUnavailable. It
	// must return when ctx ends, OpTimeout at the latest.
	OwnerActive func(ctx context.Context, owner string) (bool, error)

	// Plans are sets of limits by name, such as "free" and "pro": what a key's plan
	// allows is looked up here at each use, so changing a plan changes all its keys.
	// Names are [a-z0-9][a-z0-9_-]*, 1 to 32 characters; a plan without limits is
	// one. Every process needs the same plans: a key whose plan is not among them is
	// refused as ErrUnavailable.
	Plans map[string][]Limit
	// LimitFailure says what a lookup is answered if what it spends cannot be
	// counted, because the store fails. Default LimitsClosed.
	LimitFailure LimitFailure

	// UsageInterval is how often the counts of lookups are written, all in one
	// batch. What a process has counted since is lost if it is killed. Default 30 s;
	// Never: usage is not counted. It never is on a backend that is no
	// backend.Meter.
	UsageInterval time.Duration
	// UsageRetention is how long counts of lookups are kept. Default 90 days; Never:
	// for ever.
	UsageRetention time.Duration

	// TLS is for the connections of a store that Open reaches over a network by
	// TLS, for example to trust a certificate authority of your own or to show
	// a client certificate. Default: what the URL says, and the system's roots.
	// New does not use it.
	TLS *tls.Config

	// Audit receives an event for every change, and failed lookups in sum. nil:
	// nothing is audited. Lookups never wait for it; a change does, OpTimeout at
	// most, while too many events are waiting.
	Audit Auditor
	// Observer is told of operations and of calls of the store, for traces and
	// metrics. nil: there is none.
	Observer Observer

	// Logger gets warnings of background work. Default: discard.
	Logger *slog.Logger
	// Now is the clock by which keys expire, safe for concurrent use. Default
	// time.Now.
	Now func() time.Time

	systemClock bool // Now is time.Now
	plans       map[string]Limits
}

// LimitFailure is what happens to the lookups of keys with limits while the store
// fails.
type LimitFailure int

// The two ways to treat a lookup that cannot be counted.
const (
	// LimitsClosed refuses it: ErrUnavailable.
	LimitsClosed LimitFailure = iota
	// LimitsOpen lets it pass, and Result.LimitsUnchecked says so. The key itself
	// must be known: it is for CacheTTL, and StaleIfUnavailable longer. Without the
	// latter little passes on a store whose failure ends its Watch, as Redis' does.
	LimitsOpen
)

// withDefaults checks the options and returns a copy with every default in place.
func (o *Options) withDefaults() (Options, error) {
	out := Options{}
	if o != nil {
		out = *o
	}
	for _, d := range []struct {
		field string
		value *time.Duration
		def   time.Duration
		never bool // whether Never has a meaning
	}{
		{"DefaultTTL", &out.DefaultTTL, Never, true},
		{"MaxTTL", &out.MaxTTL, Never, true},
		{"Retention", &out.Retention, 30 * 24 * time.Hour, true},
		{"OpTimeout", &out.OpTimeout, 2 * time.Second, true},
		{"CacheTTL", &out.CacheTTL, 5 * time.Second, false},
		{"StaleIfUnavailable", &out.StaleIfUnavailable, 0, false},
		{"TouchInterval", &out.TouchInterval, 30 * time.Second, true},
		{"PurgeInterval", &out.PurgeInterval, time.Hour, true},
		{"UsageInterval", &out.UsageInterval, 30 * time.Second, true},
		{"UsageRetention", &out.UsageRetention, 90 * 24 * time.Hour, true},
	} {
		switch {
		case *d.value == 0:
			*d.value = d.def
		case *d.value < 0 && (*d.value != Never || !d.never):
			return out, invalid(d.field, "it is negative")
		}
	}
	if out.MaxTTL > 0 && out.DefaultTTL > out.MaxTTL {
		return out, invalid("DefaultTTL", "it is longer than MaxTTL")
	}
	if out.StaleIfUnavailable > math.MaxInt64-out.CacheTTL {
		return out, invalid("StaleIfUnavailable", "with CacheTTL it is longer than 292 years")
	}
	if out.LimitFailure != LimitsClosed && out.LimitFailure != LimitsOpen {
		return out, invalid("LimitFailure", "it is neither LimitsClosed nor LimitsOpen")
	}
	var err error
	if out.plans, err = newPlans(out.Plans); err != nil {
		return out, err
	}
	if out.CacheSize == 0 {
		out.CacheSize = 10_000
	}
	if out.Prefix == "" {
		out.Prefix = "ks"
	}
	out.AcceptPrefixes = slices.Clone(out.AcceptPrefixes)
	for i, p := range append([]string{out.Prefix}, out.AcceptPrefixes...) {
		if !validPrefix(p) {
			field := "Prefix"
			if i > 0 {
				field = "AcceptPrefixes"
			}
			return out, invalid(field, "a prefix is [a-z][a-z0-9_]*, 1 to %d characters, not ending in \"_\"", maxPrefix)
		}
	}
	if out.Hash == nil {
		out.Hash = SHA256()
	}
	out.AcceptHash = slices.Clone(out.AcceptHash)
	if slices.Contains(out.AcceptHash, nil) {
		return out, invalid("AcceptHash", "a hasher is nil")
	}
	if err := checkPeppers(append([]Hasher{out.Hash}, out.AcceptHash...)); err != nil {
		return out, err
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	if out.Now == nil {
		out.Now, out.systemClock = time.Now, true
	}
	return out, nil
}

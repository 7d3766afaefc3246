package badger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Options are the settings of [Open] and [New]. nil and zero values mean
// defaults. Printing, logging or marshalling Options hides the encryption key;
// printing a struct of yours that holds Options in an unexported field does not.
type Options struct {
	// NoSync acknowledges a change before it is synced. A change then survives
	// the end of the process, but a power failure loses the last ones, in any
	// order: a key that was revoked may be valid again, and what was spent of a
	// limit may be spent again. Open only.
	NoSync bool

	// NoCreate refuses a folder that holds no store, with [ErrNoStore], where
	// Open would make one. To start with an empty store because a disk was not
	// mounted would turn an outage into "invalid key". Open only.
	NoCreate bool

	// AcceptDamage opens a folder in spite of [ErrDamaged], and logs what is
	// wrong. What can be read is served, in its last state that can: a key that
	// was revoked may be valid again, one that was made may be gone, and what was
	// spent of a limit may be spent again. With a damaged table it is refused all
	// the same, since Badger would end the process. Open only.
	AcceptDamage bool

	// InMemory keeps everything in memory and uses no folder: dir must be "".
	// Open only.
	InMemory bool

	// EncryptionKey encrypts the folder with AES-128, 192 or 256: 16, 24 or 32
	// random bytes. A folder is encrypted from its first Open on or never, and
	// always opened with the same key. It is copied. Open only.
	EncryptionKey []byte

	// Reserve is how many bytes stay free on the file system; see Room in the
	// package documentation. Below it Create, Update, Touch, Spend, AddUsage and
	// Restore are refused; below half of it also Delete, the purges, ResetCounts
	// and Open. Default 128 MiB,
	// enough for a store of about 1 GiB; double it for each tenfold of that.
	// Negative: unguarded.
	Reserve int64

	// GCInterval is how often unused space in Badger's value log is reclaimed;
	// default 10 minutes, negative: never. Open only: with New it is up to the
	// owner of the database.
	GCInterval time.Duration

	// Namespace begins every key that the driver uses in the database, so that
	// a database can hold other things too: 1 to 64 of [0-9A-Za-z._-] and a
	// final slash. Default "keystore/". No two namespaces overlap.
	Namespace string

	// Logger gets what Badger has to say from warnings on, and what the driver
	// has. With New, Badger logs as its owner decided. Default: discard.
	Logger *slog.Logger
}

const (
	defaultGCInterval = 10 * time.Minute
	defaultNamespace  = "keystore/"
)

// withDefaults returns a copy of o that is complete and valid.
func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	opts := *o
	opts.EncryptionKey = bytes.Clone(o.EncryptionKey) // Badger uses it again, days later
	if opts.Reserve == 0 {
		opts.Reserve = defaultReserve
	}
	if opts.GCInterval == 0 {
		opts.GCInterval = defaultGCInterval
	}
	if opts.Namespace == "" {
		opts.Namespace = defaultNamespace
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case !validNamespace(opts.Namespace):
		return Options{}, errors.New("badger: Options.Namespace must be 1 to 64 of [0-9A-Za-z._-] and a final slash")
	case opts.InMemory && opts.AcceptDamage:
		return Options{}, errors.New("badger: Options.AcceptDamage is of no use with InMemory, where there are no files")
	case opts.InMemory && opts.NoCreate:
		return Options{}, errors.New("badger: Options.NoCreate makes no sense with InMemory, where a store is always a new one")
	case opts.InMemory && len(opts.EncryptionKey) > 0:
		return Options{}, errors.New("badger: Options.EncryptionKey is of no use with InMemory, which writes nothing")
	}
	return opts, checkKeyLen(opts.EncryptionKey)
}

// checkKeyLen accepts the key lengths of AES, and none at all.
func checkKeyLen(key []byte) error {
	switch len(key) {
	case 0, 16, 24, 32:
		return nil
	}
	return fmt.Errorf("badger: the encryption key has %d bytes; AES needs 16, 24 or 32", len(key))
}

// validNamespace accepts only names of which none is the beginning of another.
func validNamespace(ns string) bool {
	name, found := strings.CutSuffix(ns, "/")
	if !found || name == "" || len(name) > 64 {
		return false
	}
	const allowed = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-"
	return strings.Trim(name, allowed) == "" // what Trim leaves begins with another character
}

// memTableSize bounds the log and the memory that one generation of changes
// takes. 8 MiB keeps a fresh folder at tens of MB; below 7 MiB Badger's limit on
// a transaction, 15 % of it, would fall under the default ValueThreshold.
const memTableSize = 8 << 20

// upstream returns Badger's own options for the folder dir, or for "" in memory.
func (o *Options) upstream(dir string) badgerdb.Options {
	opts := badgerdb.DefaultOptions(dir).
		WithInMemory(o.InMemory).
		WithSyncWrites(!o.NoSync).                         // a revocation must survive a power failure
		WithDetectConflicts(true).                         // compare-and-swap rests on it
		WithNumVersionsToKeep(1).                          // only the latest state of a key counts
		WithCompression(options.None).                     // records are small and mostly random
		WithBlockCacheSize(0).                             // blocks that are not compressed are read from the page cache
		WithIndexCacheSize(0).                             // all table indexes in memory: fastest up to 10 million keys
		WithMemTableSize(memTableSize).                    // see there
		WithNumMemtables(2).                               // one being written, one being flushed: bounds memory and disk
		WithNumLevelZeroTables(2).                         // compact early: every read looks into each table of level zero
		WithNumLevelZeroTablesStall(4).                    // bounds level zero when writers outrun compaction
		WithNumCompactors(2).                              // the fewest that Badger accepts
		WithValueLogFileSize(16 << 20).                    // mapped at twice its size, yet records stay out of the value log
		WithMetricsEnabled(false).                         // expvar is global, and costs on every read
		WithChecksumVerificationMode(options.OnBlockRead). // no damaged block is taken for good, though it may be passed over: see Damage in doc.go; inspect reads whole tables
		WithLogger(upstreamLogger{o.Logger.With("package", "badger"), dir})
	if len(o.EncryptionKey) > 0 {
		opts = opts.
			WithEncryptionKey(o.EncryptionKey).
			WithBlockCacheSize(32 << 20). // Badger demands it; spares decrypting a hot block on every read
			WithIndexCacheSize(64 << 20)  // without one Badger panics at the first flush of an encrypted memtable (table.go, fetchIndex)
	}
	return opts
}

// printable is what may be shown of Options.
type printable struct {
	NoSync        bool
	NoCreate      bool
	AcceptDamage  bool
	InMemory      bool
	EncryptionKey string
	Reserve       int64
	GCInterval    time.Duration
	Namespace     string
}

func (o Options) printable() printable {
	p := printable{o.NoSync, o.NoCreate, o.AcceptDamage, o.InMemory, "none", o.Reserve, o.GCInterval, o.Namespace}
	if len(o.EncryptionKey) > 0 {
		p.EncryptionKey = "hidden"
	}
	return p
}

// Format implements [fmt.Formatter] for every verb, without the encryption key.
func (o Options) Format(f fmt.State, verb rune) {
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), o.printable())
}

// LogValue implements [slog.LogValuer], without the encryption key.
func (o Options) LogValue() slog.Value { return slog.AnyValue(o.printable()) }

// MarshalJSON implements [json.Marshaler], without the encryption key.
func (o Options) MarshalJSON() ([]byte, error) { return json.Marshal(o.printable()) }

// upstreamLogger passes on Badger's warnings and errors. Its other messages are
// about its own work.
type upstreamLogger struct {
	log *slog.Logger
	dir string // is part of a URL, and not shown
}

func (l upstreamLogger) text(format string, args []any) string {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	if l.dir != "" {
		text = strings.ReplaceAll(text, l.dir, "(path)")
	}
	return text
}

func (l upstreamLogger) Errorf(format string, args ...any)   { l.log.Error(l.text(format, args)) }
func (l upstreamLogger) Warningf(format string, args ...any) { l.log.Warn(l.text(format, args)) }

func (upstreamLogger) Infof(string, ...any)  {}
func (upstreamLogger) Debugf(string, ...any) {}

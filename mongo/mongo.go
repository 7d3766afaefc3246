package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"example.com/keystore/backend"
)

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Watcher = (*Backend)(nil)
	_ backend.Counter = (*Backend)(nil)
	_ backend.Meter   = (*Backend)(nil)
)

// Options are the settings of a Backend. nil and zero values mean defaults.
type Options struct {
	// Linearizable makes Get ask with read concern "linearizable" instead of
	// "majority": it then sees every change that was acknowledged before it
	// began, also amid a network partition or an election, at the price of a
	// round trip to a majority. Only a replica set or a sharded cluster can do
	// so; others refuse or ignore it.
	Linearizable bool

	// PollInterval is how often each Watch asks for changes; default 1 s.
	PollInterval time.Duration

	// Logger gets warnings. Default: discard.
	Logger *slog.Logger
}

const defaultPollInterval = time.Second

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.PollInterval < 0 {
		return Options{}, errors.New("mongo: Options.PollInterval is negative")
	}
	if opts.PollInterval == 0 {
		opts.PollInterval = defaultPollInterval
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return opts, nil
}

// Backend is a handle on a store. It is safe for concurrent use.
type Backend struct {
	client  *mongo.Client     // disconnected by Close; nil: the caller's
	keys    *mongo.Collection // for reads with majority; writes are commands
	lookups *mongo.Collection // for Get
	counts  *mongo.Collection // what is spent of limits
	usage   *mongo.Collection // how much was used
	opts    Options
	log     *slog.Logger

	life       context.Context // ends with Close
	end        context.CancelFunc
	mu         sync.Mutex // so that no background work begins after Close has looked
	background sync.WaitGroup
}

// New opens a handle on the store in the collection, whose client stays the
// caller's. It does no I/O: call [Backend.EnsureIndexes] once before. Counts and
// tallies are in collections beside it, of its name and ".counts" or ".usage".
//
// Whatever concerns and read preference the collection has, this package asks
// and writes with its own, see the package documentation. RetryWrites should be
// off: with it the client repeats writes after an error of a server that says to
// be overloaded, and what was applied before is not known then.
func New(coll *mongo.Collection, o *Options) (*Backend, error) {
	if coll == nil {
		return nil, errors.New("mongo: New of a nil collection")
	}
	if besideKeys(coll.Name()) {
		return nil, errors.New("mongo: New of a collection whose name ends in " + countsSuffix + " or " + usageSuffix + ", as those beside another store do")
	}
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	concern := readconcern.Majority()
	if opts.Linearizable {
		concern = readconcern.Linearizable()
	}
	// A database of our own, so that nothing of the caller's encodes our documents.
	db := coll.Database().Client().Database(coll.Database().Name(), options.Database().
		SetRegistry(registry).SetBSONOptions(&options.BSONOptions{}).
		SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary()))
	life, end := context.WithCancel(context.Background())
	return &Backend{
		keys:    db.Collection(coll.Name()),
		lookups: db.Collection(coll.Name(), options.Collection().SetReadConcern(concern)),
		counts:  db.Collection(coll.Name() + countsSuffix),
		usage:   db.Collection(coll.Name() + usageSuffix),
		opts:    opts,
		log:     opts.Logger.With("package", "mongo"),
		life:    life,
		end:     end,
	}, nil
}

var registry = bson.NewRegistry()

// What follows the name of the collection of keys in those of the others.
const (
	countsSuffix = ".counts"
	usageSuffix  = ".usage"
)

// besideKeys reports whether a collection may be one of those beside the keys of
// another store, which would purge what is in it.
func besideKeys(name string) bool {
	return strings.HasSuffix(name, countsSuffix) || strings.HasSuffix(name, usageSuffix)
}

// closeGrace is how long Close waits for calls under way before it closes their
// connections.
const closeGrace = 5 * time.Second

// Close closes the channels of Watch. After opening by URL it also disconnects
// the client: calls under way have 5 s to end.
func (b *Backend) Close() error {
	b.mu.Lock()
	first := !b.isClosed()
	b.end()
	b.mu.Unlock()
	b.background.Wait()
	if !first || b.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := b.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("mongo: closing: %w", err)
	}
	return nil
}

// enter begins a call. It returns the context for it, or why it may not begin.
func (b *Backend) enter(ctx context.Context) (context.Context, error) {
	if err := ctx.Err(); err != nil {
		return nil, refused(contextError(err))
	}
	if b.isClosed() {
		return nil, backend.ErrClosed
	}
	// What is called within a transaction of the program is no part of it: its end
	// would undo what was acknowledged here.
	if mongo.SessionFromContext(ctx) != nil {
		ctx = mongo.NewSessionContext(ctx, nil)
	}
	return ctx, nil
}

func (b *Backend) isClosed() bool { return b.life.Err() != nil }

// answer is what a call returns for err: ErrClosed for a failure without effect
// that Close brought about.
func (b *Backend) answer(err error) error {
	if err != nil && errors.Is(err, backend.ErrNotApplied) && !isAnswer(err) && b.isClosed() {
		return backend.ErrClosed
	}
	return err
}

// readAnswer is answer for the failure of a read, which never has an effect.
func (b *Backend) readAnswer(err error) error {
	if err == nil {
		return nil
	}
	return b.answer(refused(err))
}

func isAnswer(err error) bool {
	return errors.Is(err, backend.ErrNotFound) || errors.Is(err, backend.ErrExists) || errors.Is(err, backend.ErrConflict)
}

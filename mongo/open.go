package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/backend"
)

func init() {
	backend.Register("mongodb", openURL)
	backend.Register("mongodb+srv", openURL)
}

// What the client library does by default is longer: 30 s, or no end.
const (
	defaultTimeout   = 2 * time.Second // of a call whose context has no deadline
	selectionTimeout = 3 * time.Second // of waiting for a primary
	connectTimeout   = 5 * time.Second // of a new connection, and of the heartbeat that finds out that a server is gone
	openTimeout      = time.Minute     // of opening, if the context has no deadline
)

// openURL opens "mongodb://user:password@host1,host2/database?collection=keys".
// Parameters:
//
//	collection=name   default "keys"
//	linearizable=1    Options.Linearizable
//
// The others are those of a connection string of the client library. A database
// that is not named is "keystore".
func openURL(ctx context.Context, rawURL string, o *backend.OpenOptions) (backend.Backend, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: mongo: %w", backend.ErrInvalidURL, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, contextError(err)
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, openTimeout)
		defer cancel()
	}
	clientOptions, err := at.lookUp(ctx)
	if err != nil {
		return nil, at.optionsError(ctx, err)
	}
	if o.TLS != nil {
		clientOptions.SetTLSConfig(o.TLS.Clone())
	}
	client, err := mongo.Connect(clientOptions)
	if err != nil {
		return nil, openError(ctx, err)
	}
	b, err := at.open(ctx, client, clientOptions.Direct != nil && *clientOptions.Direct, o.Logger)
	if err != nil {
		// Its connections are of no use to anybody: they are closed at once.
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_ = client.Disconnect(gone)
		return nil, openError(ctx, err)
	}
	return b, nil
}

// lookUp is clientOptions, bounded by ctx.
func (at location) lookUp(ctx context.Context) (*options.ClientOptions, error) {
	type result struct {
		o   *options.ClientOptions
		err error
	}
	done := make(chan result, 1)
	go func() {
		o, err := at.clientOptions()
		done <- result{o, err}
	}()
	select {
	case r := <-done:
		return r.o, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (at location) open(ctx context.Context, client *mongo.Client, direct bool, log *slog.Logger) (*Backend, error) {
	b, err := New(client.Database(at.database).Collection(at.collection), &Options{Linearizable: at.linearizable, Logger: log})
	if err != nil {
		return nil, err
	}
	b.client = client
	if err := b.checkServer(ctx, direct); err != nil {
		return nil, err
	}
	if err := b.EnsureIndexes(ctx); err != nil {
		return nil, err
	}
	// A server that refuses to answer like this is better found out now.
	_, err = b.load(ctx, b.lookups, "probe")
	switch {
	case at.linearizable && hasCode(err, codeNotAReplicaSet):
		return nil, fmt.Errorf("%w: %w", backend.ErrInvalidURL, errNotLinearizable)
	case err == nil, errors.Is(err, backend.ErrNotFound), errors.Is(err, errDamaged):
		return b, nil
	}
	return nil, err
}

// finding is what is wrong with a store that was reached. It names no part of
// its URL.
type finding string

func (f finding) Error() string { return "mongo: " + string(f) }

const (
	errDirect = finding("directConnection=true reads from this member of the replica set also when it is no longer the primary; " +
		"leave it out, and name the set with replicaSet")
	errNotLinearizable = finding("the server is no member of a replica set and refuses linearizable reads; leave out linearizable")
)

// checkServer refuses a connection to one member of a replica set that has
// others: such a connection reads from it whatever it is.
func (b *Backend) checkServer(ctx context.Context, direct bool) error {
	var hello struct {
		SetName string   `bson:"setName"`
		Hosts   []string `bson:"hosts"`
		Primary bool     `bson:"isWritablePrimary"`
	}
	if err := b.keys.Database().RunCommand(ctx, doc("hello", 1)).Decode(&hello); err != nil {
		return err
	}
	if direct && hello.SetName != "" && (len(hello.Hosts) > 1 || !hello.Primary) {
		return fmt.Errorf("%w: %w", backend.ErrInvalidURL, errDirect)
	}
	return nil
}

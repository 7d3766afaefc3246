package redis

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Create implements [backend.Backend]. It refuses an id outside the contract's
// grammar, data over 64 KiB and an owner over 65535 bytes.
func (b *Backend) Create(ctx context.Context, r backend.Record) error {
	purgeAt, score, err := purgeTime(r.PurgeAt)
	if err == nil {
		err = checkRecord(r)
	}
	if err != nil {
		return refused(err)
	}
	value, err := envelope.Append(make([]byte, 0, envelope.Len(r.Owner, r.Data)), envelope.Header{Revision: 1, PurgeAt: purgeAt}, r.Owner, r.Data)
	if err != nil {
		return refused(err)
	}
	s := b.names.shard(r.ID)
	return b.apply(ctx, true, invocation{
		script: createScript,
		keys:   []string{s.record + r.ID, s.ids, s.owners, s.purge},
		args:   []any{b.names.channel, nil, r.ID, ownerMember(r.Owner, r.ID), score, value},
	}, recordChanged)
}

// Update implements [backend.Backend]. It refuses data over 64 KiB. A record whose
// header is damaged or of a later version is an error that is
// [backend.ErrNotApplied].
func (b *Backend) Update(ctx context.Context, r backend.Record) error {
	purgeAt, score, err := purgeTime(r.PurgeAt)
	if err == nil {
		err = checkData(r.Data)
	}
	if err != nil {
		return refused(err)
	}
	s := b.names.shard(r.ID)
	return b.apply(ctx, true, invocation{
		script: updateScript,
		keys:   []string{s.record + r.ID, s.purge},
		args:   []any{b.names.channel, nil, r.ID, bytesOf(r.Revision), bytesOf(r.Revision + 1), bytesOf(purgeAt), score, bytes.Clone(r.Data)}, // cloned, since the write may outlive the call
	}, recordChanged)
}

// Delete implements [backend.Backend]. It also deletes a record that cannot be read.
func (b *Backend) Delete(ctx context.Context, id string) error {
	s := b.names.shard(id)
	// Not to be repeated: meanwhile another writer may have made the record again.
	return b.apply(ctx, false, invocation{
		script: deleteScript,
		keys:   []string{s.record + id, s.ids, s.owners, s.purge},
		args:   []any{b.names.channel, nil, id},
	}, recordDeleted)
}

// Get implements [backend.Backend]. A record that is damaged or of a later version
// comes without Data, which no reader takes for a key. When many are under way they
// are sent together.
func (b *Backend) Get(ctx context.Context, id string) (backend.Record, error) {
	key := b.names.key(id)
	if err := b.enter(ctx); err != nil {
		return backend.Record{}, err
	}
	many := b.coalescer.begin()
	defer b.coalescer.end()
	if cmd := b.firstGet(ctx, key, many); cmd != nil {
		r, err := found(id, cmd)
		if err == nil || errors.Is(err, backend.ErrNotFound) {
			b.work.Done()
			return r, err
		}
		b.noAnswer(err)
	}
	if ended(ctx) != nil {
		b.work.Done()
		return backend.Record{}, contextError(ctx)
	}
	return awaitRead(ctx, b, func() (backend.Record, error) {
		return found(id, b.client.Get(ctx, key))
	})
}

// firstGet sends a GET the quickest way there is, and returns the command with its
// reply or error; nil if there is no quick way, or ctx ended.
func (b *Backend) firstGet(ctx context.Context, key string, many bool) *goredis.StringCmd {
	if many {
		cmd := onceGet{goredis.NewStringCmd(context.Background(), "get", key)}
		if b.coalescer.send(ctx, key, cmd) != replied || cmd.Err() == nil && cmd.Val() == "" {
			return nil // empty, which no record is: a hook of the client's did not let it through
		}
		return cmd.StringCmd
	}
	attempt := b.direct.begin(ctx)
	if attempt == nil {
		return nil
	}
	cmd := onceGet{goredis.NewStringCmd(attempt, "get", key)}
	if err := b.client.Process(attempt, cmd); err != nil {
		b.direct.failed(attempt)
	}
	return cmd.StringCmd
}

// onceGet is a GET that go-redis does not repeat.
type onceGet struct{ *goredis.StringCmd }

func (onceGet) NoRetry() bool { return true }

// found makes a record of the reply to GET.
func found(id string, cmd *goredis.StringCmd) (backend.Record, error) {
	value, err := cmd.Bytes()
	switch {
	case errors.Is(err, goredis.Nil):
		return backend.Record{}, backend.ErrNotFound
	case hasCode(err, "WRONGTYPE"):
		return backend.Record{ID: id}, nil
	case err != nil:
		return backend.Record{}, failed(err)
	}
	h, owner, data, err := envelope.Decode(value)
	if err != nil {
		return backend.Record{ID: id}, nil
	}
	return backend.Record{
		ID: id, Owner: string(owner), Data: bytes.Clone(data),
		PurgeAt: h.PurgeAt.Time(), LastUsed: h.LastUsed.Time(), Revision: h.Revision,
	}, nil
}

// damaged reports whether a record is there and cannot be read.
func damaged(r *backend.Record) bool { return r.Revision == 0 }

func checkRecord(r backend.Record) error {
	if !validID(r.ID) {
		return errors.New("redis: a record's id must be 1 to 64 of [0-9A-Za-z_-]")
	}
	return checkData(r.Data)
}

func checkData(data []byte) error {
	if len(data) > backend.MaxDataLen {
		return errors.New("redis: a record's data must not be longer than 64 KiB")
	}
	return nil
}

// purgeTime returns t as it stands in the header, and its score in the shard's
// purge times, "" for a record that is never purged.
func purgeTime(t time.Time) (at envelope.Time, score string, err error) {
	at, err = envelope.TimeOf(t)
	if err != nil || at == 0 {
		return at, "", err
	}
	return at, scoreOf(at), nil
}

// scoreOf is the Unix milliseconds of at. Scores are doubles, which hold each one
// up to the year 287396; of later times the header alone is exact.
func scoreOf(at envelope.Time) string { return strconv.FormatInt(at.Time().UnixMilli(), 10) }

func bytesOf[T ~uint64](v T) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }

package redis

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	return b.change(ctx, &invocation{
		script: createScript,
		keys:   []string{s.record + r.ID, s.ids, s.owners, s.purge},
		args:   []any{b.names.channel, r.ID, ownerMember(r.Owner, r.ID), score, value},
	}, true)
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
	return b.change(ctx, &invocation{
		script: updateScript,
		keys:   []string{s.record + r.ID, s.purge},
		args:   []any{b.names.channel, r.ID, bytesOf(r.Revision), bytesOf(r.Revision + 1), bytesOf(purgeAt), score, bytes.Clone(r.Data)}, // cloned, since the write may outlive the call
	}, true)
}

// Delete implements [backend.Backend]. It also deletes a record that cannot be read.
func (b *Backend) Delete(ctx context.Context, id string) error {
	s := b.names.shard(id)
	return b.change(ctx, &invocation{
		script: deleteScript,
		keys:   []string{s.record + id, s.ids, s.owners, s.purge},
		args:   []any{b.names.channel, id},
	}, false) // another writer may have made the record again meanwhile
}

// change runs a script on one record and turns its reply into the answer of the
// contract. An answer that an earlier attempt may have caused is none.
func (b *Backend) change(ctx context.Context, i *invocation, repeatable bool) error {
	_, err := do(ctx, b, endedDuring, func() (struct{}, error) {
		reply, doubt, err := b.mutate(ctx, i, repeatable)
		if err != nil {
			return struct{}{}, err
		}
		err = answer(i.script, reply)
		if err != nil && doubt != nil {
			err = unknownOutcome(doubt)
		}
		return struct{}{}, err
	})
	return err
}

func answer(s *script, reply any) error {
	switch text, _ := reply.(string); {
	case text == "ok", text == "none" && s == deleteScript:
		return nil
	case text == "none":
		return errGone
	case text == "exists":
		return backend.ErrExists
	case text == "conflict":
		return errConflict
	case text == "version":
		return refused(fmt.Errorf("redis: not changed: %w", envelope.ErrVersion))
	case text == "malformed":
		return refused(fmt.Errorf("redis: not changed: %w", envelope.ErrMalformed))
	}
	return errors.New("redis: a script returned what it never does")
}

// Get implements [backend.Backend]. A record that is damaged or of a later version
// comes without Data, which no reader takes for a key.
func (b *Backend) Get(ctx context.Context, id string) (backend.Record, error) {
	key := b.names.key(id)
	return read(ctx, b, func() (backend.Record, error) {
		return found(id, b.client.Get(ctx, key))
	})
}

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
	const allowed = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
	if r.ID == "" || len(r.ID) > backend.MaxIDLen || strings.Trim(r.ID, allowed) != "" {
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

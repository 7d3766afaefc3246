package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Purge implements [backend.Backend]. It works in chunks of at most 128 records of
// one shard, and passes over records that are damaged.
func (b *Backend) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	until, err := envelope.TimeOf(now)
	if err != nil {
		return 0, refused(err)
	}
	if err := b.enter(ctx); err != nil {
		return 0, refused(err)
	}
	p := purge{b: b, now: until}
	return await(ctx, b, endedDuring, func() (int, error) {
		for p.deleted < limit {
			more, err := p.round(ctx, limit-p.deleted)
			switch {
			case err != nil && b.isClosing():
				return p.deleted, backend.ErrClosed
			case err != nil:
				return p.deleted, withEnd(ctx, err)
			case !more:
				return p.deleted, nil
			case ctx.Err() != nil:
				return p.deleted, contextError(ctx)
			}
		}
		return p.deleted, nil
	})
}

// purge is the state of one Purge.
type purge struct {
	b       *Backend
	now     envelope.Time
	left    [shardCount]int64 // entries at the head of a shard's purge times that stay there
	deleted int
}

// round deletes up to limit records, and reports whether there may be more.
func (p *purge) round(ctx context.Context, limit int) (more bool, err error) {
	due, err := p.due(ctx, limit)
	if err != nil {
		return false, err
	}
	var chunks []invocation
	var shards []int
	for n, ids := range due {
		ids = ids[:min(len(ids), limit)]
		if len(ids) == 0 {
			continue
		}
		limit -= len(ids)
		s := &p.b.names.shards[n]
		c := invocation{script: purgeScript, keys: []string{s.ids, s.owners, s.purge}, args: []any{p.b.names.channel, messageEnd(), bytesOf(p.now)}}
		for _, id := range ids {
			c.keys = append(c.keys, s.record+id)
			c.args = append(c.args, id)
		}
		chunks, shards = append(chunks, c), append(shards, n)
	}
	if len(chunks) == 0 {
		return false, nil
	}
	for n, cmd := range runAll(ctx, p.b.client, chunks) {
		counts, cmdErr := cmd.Int64Slice()
		switch {
		case cmdErr != nil:
			p.b.noAnswer(cmdErr)
			err = errors.Join(err, failed(cmdErr))
		case len(counts) != 2:
			err = errors.Join(err, errors.New("redis: a script returned what it never does"))
		default:
			p.deleted += int(counts[0])
			p.left[shards[n]] += counts[1]
		}
	}
	return err == nil, err
}

// due returns ids by shard whose purge time has come, as the index has it.
func (p *purge) due(ctx context.Context, limit int) ([shardCount][]string, error) {
	var due [shardCount][]string
	pipe := p.b.client.Pipeline()
	var cmds [shardCount]*goredis.StringSliceCmd
	to := strconv.FormatInt(p.now.Time().UnixMilli(), 10)
	for n := range cmds {
		cmds[n] = pipe.ZRangeByScore(ctx, p.b.names.shards[n].purge, &goredis.ZRangeBy{
			Min: "-inf", Max: to, Offset: p.left[n], Count: int64(min(2*limit/shardCount+4, chunkLen)),
		})
	}
	_, _ = pipe.Exec(ctx) // each command has its error
	for n, cmd := range cmds {
		ids, err := cmd.Result()
		if err != nil {
			p.b.noAnswer(err)
			return due, failed(err)
		}
		due[n] = ids
	}
	return due, nil
}

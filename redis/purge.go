package redis

import (
	"context"
	"errors"
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
	return b.purge(ctx, limit, &purge{
		times: func(s *shard) string { return s.purge },
		until: scoreOf(until),
		chunk: func(s *shard, ids []string) invocation {
			return invocation{
				script: purgeScript,
				keys:   append([]string{s.ids, s.owners, s.purge}, prefixed(s.record, ids)...),
				args:   append([]any{b.names.channel, messageEnd(), bytesOf(until)}, anys(ids)...),
			}
		},
	})
}

// purge is the state of one Purge, of records, counts or tallies.
type purge struct {
	times   func(s *shard) string                       // ZSET by the time from which each may be deleted
	until   string                                      // the score up to which that has come
	chunk   func(s *shard, members []string) invocation // that deletes those of which it is so
	left    [shardCount]int64                           // members at the head of the times that stay there
	deleted int
}

func (b *Backend) purge(ctx context.Context, limit int, p *purge) (int, error) {
	if err := b.enter(ctx); err != nil {
		return 0, refused(err)
	}
	return await(ctx, b, endedDuring, func() (int, error) {
		for p.deleted < limit {
			more, err := p.round(ctx, b, limit-p.deleted)
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

// round deletes up to limit of them, and reports whether there may be more.
func (p *purge) round(ctx context.Context, b *Backend, limit int) (more bool, err error) {
	due, err := p.due(ctx, b, limit)
	if err != nil {
		return false, err
	}
	var chunks []invocation
	var shards []int
	for n, members := range due {
		members = members[:min(len(members), limit)]
		if len(members) == 0 {
			continue
		}
		limit -= len(members)
		chunks, shards = append(chunks, p.chunk(&b.names.shards[n], members)), append(shards, n)
	}
	if len(chunks) == 0 {
		return false, nil
	}
	for n, cmd := range runAll(ctx, b.client, chunks) {
		counts, cmdErr := cmd.Int64Slice()
		switch {
		case cmdErr != nil:
			b.noAnswer(cmdErr)
			err = errors.Join(err, failed(cmdErr))
		case len(counts) != 2:
			err = errors.Join(err, errReply)
		default:
			p.deleted += int(counts[0])
			p.left[shards[n]] += counts[1]
		}
	}
	return err == nil, err
}

// due returns members by shard whose time has come, as the index has it.
func (p *purge) due(ctx context.Context, b *Backend, limit int) ([shardCount][]string, error) {
	var due [shardCount][]string
	pipe := b.client.Pipeline()
	var cmds [shardCount]*goredis.StringSliceCmd
	for n := range cmds {
		cmds[n] = pipe.ZRangeByScore(ctx, p.times(&b.names.shards[n]), &goredis.ZRangeBy{
			Min: "-inf", Max: p.until, Offset: p.left[n], Count: int64(min(2*limit/shardCount+4, chunkLen)),
		})
	}
	_ = execute(ctx, pipe) // each command has its error
	for n, cmd := range cmds {
		members, err := cmd.Result()
		if err != nil {
			b.noAnswer(err)
			return due, failed(err)
		}
		due[n] = members
	}
	return due, nil
}

func prefixed(prefix string, members []string) []string {
	keys := make([]string, len(members))
	for i, m := range members {
		keys[i] = prefix + m
	}
	return keys
}

func anys(members []string) []any {
	args := make([]any, len(members))
	for i, m := range members {
		args[i] = m
	}
	return args
}

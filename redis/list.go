package redis

import (
	"context"
	"errors"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
)

// maxPageBytes ends a page early, so that a full one of large records does not
// take 64 MiB.
const maxPageBytes = 4 << 20

// List implements [backend.Backend]. A page ends at about 4 MiB of data. Each shard
// is asked for a few ids, and again only if it may have more that belong to the page.
func (b *Backend) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	o.Limit = min(o.Limit, backend.MaxLimit)
	if o.Limit <= 0 {
		return read(ctx, b, func() ([]backend.Record, error) { return nil, nil })
	}
	return read(ctx, b, func() ([]backend.Record, error) {
		for {
			ids, err := b.listIDs(ctx, o)
			if err != nil || len(ids) == 0 {
				return nil, err
			}
			page, err := b.load(ctx, ids, o.Owner)
			if err != nil || len(page) > 0 {
				return page, err
			}
			// All of them vanished between: not the end.
			if o.After = ids[len(ids)-1]; ctx.Err() != nil {
				return nil, contextError(ctx)
			}
		}
	})
}

// lister merges the ids of all shards, in order.
type lister struct {
	names *layout
	o     backend.ListOptions
	ids   []string           // of all shards, in order
	after [shardCount]string // the last id that came from a shard
	ended [shardCount]bool   // whether a shard has no more
}

// listIDs returns the first o.Limit ids after o.After.
func (b *Backend) listIDs(ctx context.Context, o backend.ListOptions) ([]string, error) {
	l := lister{names: b.names, o: o}
	behind := make([]int, shardCount)
	for n := range behind {
		behind[n], l.after[n] = n, o.After
	}
	for ask := 2*o.Limit/shardCount + 4; len(behind) > 0; ask = min(4*ask, o.Limit) {
		if err := l.fetch(ctx, b.client, behind, ask); err != nil {
			return nil, err
		}
		slices.Sort(l.ids)
		if len(l.ids) > o.Limit {
			l.ids = l.ids[:o.Limit]
		}
		behind = l.behind()
	}
	return l.ids, nil
}

// behind returns the shards that may have ids for the page that have not come yet.
func (l *lister) behind() []int {
	var shards []int
	for n := range shardCount {
		if !l.ended[n] && (len(l.ids) < l.o.Limit || l.after[n] < l.ids[len(l.ids)-1]) {
			shards = append(shards, n)
		}
	}
	return shards
}

// fetch asks each of the shards for count more ids.
func (l *lister) fetch(ctx context.Context, client goredis.UniversalClient, shards []int, count int) error {
	pipe := client.Pipeline()
	cmds := make([]*goredis.StringSliceCmd, len(shards))
	for i, n := range shards {
		key, from, to := l.names.shards[n].ids, l.after[n], "+"
		if l.o.Owner != "" {
			key, from, to = l.names.shards[n].owners, ownerMember(l.o.Owner, from), "("+l.o.Owner+"\x01"
		}
		by := &goredis.ZRangeBy{Min: "[" + from + "\x00", Max: to, Count: int64(count)} // the string that follows from
		cmds[i] = pipe.ZRangeByLex(ctx, key, by)
	}
	_ = execute(ctx, pipe) // each command has its error
	for i, n := range shards {
		members, err := cmds[i].Result()
		if err != nil {
			return failed(err)
		}
		for _, id := range members {
			if l.o.Owner != "" {
				id = strings.TrimPrefix(id, ownerMember(l.o.Owner, ""))
			}
			if id <= l.after[n] {
				return errors.New("redis: the server returned what it was not asked for")
			}
			l.ids = append(l.ids, id)
			l.after[n] = id
		}
		l.ended[n] = len(members) < count
	}
	return nil
}

// load reads the records of ids, of which all are the owner's if there is one, until
// the page is full. Index entries without a record, or with one of another owner,
// are passed over: they are what lost data leaves, or a change since.
func (b *Backend) load(ctx context.Context, ids []string, owner string) ([]backend.Record, error) {
	var page []backend.Record
	size := 0
	for count := 64; len(ids) > 0 && size < maxPageBytes; {
		pipe := b.client.Pipeline()
		some := ids[:min(count, len(ids))]
		ids = ids[len(some):]
		cmds := make([]*goredis.StringCmd, len(some))
		for i, id := range some {
			cmds[i] = pipe.Get(ctx, b.names.key(id))
		}
		_ = execute(ctx, pipe) // each command has its error
		for i, id := range some {
			r, err := found(id, cmds[i])
			if errors.Is(err, backend.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if damaged(&r) {
				r.Owner = owner // that of the index
			}
			if owner != "" && r.Owner != owner {
				continue
			}
			page = append(page, r)
			size += len(r.Data)
		}
		// As many as fit, if they are like those so far, and never so many that
		// large ones among them would not.
		count = min(256, (maxPageBytes-size)/(size/max(len(page), 1)+1))
		count = max(count, 1)
	}
	return page, nil
}

package redis

import (
	"context"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// chunkLen is how many records of a shard one script works on. It bounds how long
// the server does nothing else.
const chunkLen = 128

// Touch implements [backend.Backend]. It works in chunks of 128 records of one shard,
// and passes over records that are damaged.
func (b *Backend) Touch(ctx context.Context, used map[string]time.Time) error {
	var chunks []invocation
	var last [shardCount]int // of the chunks of a shard, the one that is not full, plus one
	for id, t := range used {
		at, err := envelope.TimeOf(t)
		if err != nil {
			return refused(err)
		}
		n := shardOf(id)
		if last[n] == 0 || len(chunks[last[n]-1].keys) == chunkLen {
			chunks = append(chunks, invocation{script: touchScript})
			last[n] = len(chunks)
		}
		c := &chunks[last[n]-1]
		c.keys = append(c.keys, b.names.shards[n].record+id)
		c.args = append(c.args, bytesOf(at))
	}
	if err := b.enter(ctx); err != nil {
		return refused(err)
	}
	_, err := await(ctx, b, endedDuring, func() (struct{}, error) {
		return struct{}{}, b.runChunks(ctx, chunks, func(any) error { return nil })
	})
	return err
}

// runChunks runs all of them, and those again that failed, which must be safe. What
// take says of a reply is returned when all have one.
func (b *Backend) runChunks(ctx context.Context, chunks []invocation, take func(reply any) error) error {
	var taken error
	for try := 1; len(chunks) > 0; try++ {
		var rest []invocation
		var failure error
		hopeless := false
		for n, cmd := range runAll(ctx, b.client, chunks) {
			reply, err := cmd.Result()
			if err != nil {
				b.noAnswer(err)
				rest, failure = append(rest, chunks[n]), err
				hopeless = hopeless || certain(err) && !worthRetrying(err)
				continue
			}
			if err := take(reply); err != nil {
				taken = err
			}
		}
		if chunks = rest; failure != nil && (hopeless || !b.pause(ctx, try)) {
			if b.isClosing() {
				return backend.ErrClosed
			}
			return withEnd(ctx, failed(failure))
		}
	}
	return taken
}

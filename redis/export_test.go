package redis

import (
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// What tests need to see of the driver.

func Client(b *Backend) goredis.UniversalClient { return b.client }

func RecordKey(b *Backend, id string) string { return b.names.key(id) }

type ShardNames struct{ Record, IDs, Owners, Purge, Counts, Ends, Tallies, TallyAt string }

func Names(namespace string) []ShardNames {
	var all []ShardNames
	for _, s := range newLayout(namespace).shards {
		all = append(all, ShardNames{s.record, s.ids, s.owners, s.purge, s.counts, s.ends, s.tallies, s.tallyAt})
	}
	return all
}

func Channel(namespace string) string { return newLayout(namespace).channel }

func ShardOf(id string) int { return shardOf(id) }

func Digest(name string) string { return mustScript(name).sha1 }

func Source(name string) string { return mustScript(name).source }

// ParseURL returns the options for go-redis that a URL leads to.
func ParseURL(rawURL string) (any, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	security, err := at.tls.config(nil)
	if err != nil {
		return nil, err
	}
	client := at.client(security)
	defer client.Close()
	switch {
	case at.cluster != nil:
		return at.cluster, nil
	case at.sentinel != nil:
		return at.sentinel, nil
	}
	return at.single, nil
}

func Code(err error) string { return code(err) }

func Certain(err error) bool { return certain(err) }

func WorthRetrying(err error) bool { return worthRetrying(err) }

const (
	FewCalls      = fewCalls
	PipelineLen   = pipelineLen
	PipelineCount = pipelineCount
)

// GatherAll has a handle gather calls however few there are.
func GatherAll(b *Backend) *Backend {
	b.coalescer.few = 0
	return b
}

// GatherPatiently is GatherAll for tests in which pipelines are held up: nobody goes
// another way before that has happened, however slow the machine.
func GatherPatiently(b *Backend) *Backend {
	b.coalescer.wait = time.Minute
	return GatherAll(b)
}

// Gathering tells how many senders a handle has, and how many calls wait for them.
func Gathering(b *Backend) (senders, waiting int) {
	b.coalescer.mu.Lock()
	defer b.coalescer.mu.Unlock()
	for _, q := range b.coalescer.queues {
		senders += q.senders
		for _, p := range q.waiting {
			waiting += len(p.cmds)
		}
	}
	return senders, waiting
}

// GathersNothing tells whether nothing is left of calls that a handle had.
func GathersNothing(b *Backend) bool {
	b.coalescer.mu.Lock()
	defer b.coalescer.mu.Unlock()
	return len(b.coalescer.queues)+len(b.coalescer.spending) == 0 && b.coalescer.calls.Load() == 0
}

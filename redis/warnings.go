package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// risks are settings of a server with which it loses changes that it acknowledged:
// keys that were made are gone then, and keys that were revoked are valid again.
var risks = []struct {
	field string // of INFO, which must be there
	risky func(info map[string]string) bool
	text  string
}{
	{"aof_enabled", func(info map[string]string) bool { return info["aof_enabled"] == "0" },
		"the server keeps no append-only file: when it ends it loses what it acknowledged since its last snapshot, if it keeps any; set appendonly yes"},
	{"maxmemory_policy", func(info map[string]string) bool { return info["maxmemory_policy"] != "noeviction" },
		"the server may delete keys when memory runs short; set maxmemory-policy noeviction"},
	{"connected_slaves", func(info map[string]string) bool {
		_, waits := info["min_slaves_good_slaves"] // shown only if both settings are on
		return info["role"] == "master" && info["connected_slaves"] != "0" && !waits
	}, "the server acknowledges changes that no replica has, and a failover loses them; set min-replicas-to-write 1 and min-replicas-max-lag 10, or less"},
	{"role", func(info map[string]string) bool { return info["role"] != "master" },
		"the server is a replica: it refuses changes, and may show a key as valid that was revoked; connect to the master"},
}

// errUntold is of INFO in a form of a service's own.
var errUntold = errors.New("redis: the reply to INFO does not tell the settings of the server")

// Warnings asks the server, or each master of a cluster, for settings with which it
// would lose changes that it acknowledged, and returns a sentence about each that
// says what to set. It needs the permission to use INFO. Opening a store by URL
// logs the same.
//
// What a server does not tell is not warned of: whether the append-only file is
// written to the disk (appendfsync) is one such thing. The error says that not
// all servers could be asked.
func (b *Backend) Warnings(ctx context.Context) ([]string, error) {
	return read(ctx, b, func() ([]string, error) { return b.warnings(ctx) })
}

func (b *Backend) warnings(ctx context.Context) ([]string, error) {
	var mu sync.Mutex
	masters, counts := 0, make([]int, len(risks))
	err := b.eachMaster(ctx, func(ctx context.Context, master goredis.UniversalClient) error {
		text, err := master.Info(ctx).Result()
		if err != nil {
			return failed(err)
		}
		info := infoFields(text)
		mu.Lock()
		defer mu.Unlock()
		masters++
		for i, r := range risks {
			if _, told := info[r.field]; !told {
				err = errUntold
			} else if r.risky(info) {
				counts[i]++
			}
		}
		return err
	})
	var found []string
	for i, n := range counts {
		switch {
		case n == 0:
		case masters == 1:
			found = append(found, risks[i].text)
		default:
			found = append(found, fmt.Sprintf("%d of %d masters: %s", n, masters, risks[i].text))
		}
	}
	return found, err
}

// eachMaster calls fn for each master of a cluster, concurrently, or for the one
// server that there is.
func (b *Backend) eachMaster(ctx context.Context, fn func(context.Context, goredis.UniversalClient) error) error {
	cluster, ok := b.client.(masters)
	if !ok {
		return fn(ctx, b.client)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *goredis.Client) error { return fn(ctx, master) })
}

// infoFields takes the reply to INFO apart.
func infoFields(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			fields[name] = value
		}
	}
	return fields
}

package testserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// masters is how many masters a cluster begins with; it has as many replicas.
const masters = 3

// Cluster is a Redis Cluster of 3 masters and 3 replicas, which takes a node for
// dead after 1.5 s.
type Cluster struct {
	tb    testing.TB
	Nodes []*Redis // the masters first, then the replica of each
}

// StartCluster starts a cluster and returns when all nodes agree that it is fit.
// config are further lines of every node's redis.conf.
func StartCluster(tb testing.TB, config ...string) *Cluster {
	tb.Helper()
	return startCluster(tb, nil, config)
}

func startCluster(tb testing.TB, files *TLS, config []string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	lines := slices.Concat(common, []string{
		"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 1500",
		"cluster-allow-replica-migration no", // a replica stays with its master
	}, config)
	for range 2 * masters {
		node := newRedis(tb, files, lines)
		node.Start()
		c.Nodes = append(c.Nodes, node)
	}
	c.join()
	return c
}

// join makes one cluster of the nodes.
func (c *Cluster) join() {
	c.tb.Helper()
	ctx := testContext(c.tb)
	for i, node := range c.Nodes {
		c.must(node.client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i < masters {
			c.must(node.client.ClusterAddSlotsRange(ctx, i*slots/masters, (i+1)*slots/masters-1).Err())
		}
		if i > 0 {
			c.must(c.Nodes[0].client.ClusterMeet(ctx, "127.0.0.1", strconv.Itoa(node.port)).Err())
		}
	}
	for i, node := range c.Nodes {
		await(c.tb, "every node knows the others", func() error {
			return c.info(node, "cluster_known_nodes", strconv.Itoa(len(c.Nodes)))
		})
		if i >= masters {
			id := c.id(c.Nodes[i-masters])
			await(c.tb, "a node becomes a replica", func() error { return node.client.ClusterReplicate(ctx, id).Err() })
		}
	}
	c.AwaitOK()
}

// AwaitOK returns when every running node finds the cluster fit, and every running
// replica whose master runs is in sync.
func (c *Cluster) AwaitOK() {
	c.tb.Helper()
	for _, node := range c.Nodes {
		if !node.Running() {
			continue
		}
		await(c.tb, "the cluster is fit", func() error {
			if err := c.info(node, "cluster_state", "ok"); err != nil {
				return err
			}
			self, err := node.self()
			if err != nil || self.master == "-" {
				return err
			}
			return node.is("replication", "master_link_status", "up")
		})
	}
}

// URL opens the cluster through its first 3 nodes.
func (c *Cluster) URL() string {
	return c.Nodes[0].scheme() + "+cluster://" + strings.Join(c.Addrs()[:masters], ",") + "/"
}

// Addrs are the host:port of all nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = node.Addr()
	}
	return addrs
}

// MasterOf is the running node that serves a slot.
func (c *Cluster) MasterOf(slot int) *Redis {
	c.tb.Helper()
	var master *Redis
	await(c.tb, fmt.Sprintf("slot %d has a master", slot), func() error {
		master = nil
		newest := -1
		for _, node := range c.Nodes {
			if !node.Running() {
				continue
			}
			// One that is paused does not answer, and one that was replaced may not know
			// it yet.
			if self, err := node.self(); err == nil && self.serves(slot) && self.epoch > newest {
				master, newest = node, self.epoch
			}
		}
		if master == nil {
			return errors.New("no running node serves it")
		}
		return nil
	})
	return master
}

// ReplicasOf are the running replicas of a master.
func (c *Cluster) ReplicasOf(master *Redis) []*Redis {
	c.tb.Helper()
	id := c.id(master)
	var replicas []*Redis
	for _, node := range c.Nodes {
		if !node.Running() {
			continue
		}
		self, err := node.self()
		c.must(err)
		if self.master == id {
			replicas = append(replicas, node)
		}
	}
	return replicas
}

// MoveSlot moves a slot with all that is in it to another master. It calls
// between, if not nil, while the slot is neither here nor there: the old master
// answers ASK for what it does not have, and the new one TRYAGAIN to a command
// with several keys of which it lacks one. It returns when all nodes know of it.
func (c *Cluster) MoveSlot(slot int, to *Redis, between func()) {
	c.tb.Helper()
	ctx := testContext(c.tb)
	from := c.MasterOf(slot)
	fromID, toID := c.id(from), c.id(to)
	c.must(to.client.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID).Err())
	c.must(from.client.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID).Err())
	if between != nil {
		between()
	}
	for {
		keys, err := from.client.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		c.must(err)
		if len(keys) == 0 {
			break
		}
		c.must(migrate(ctx, from, to, keys))
	}
	// The new master first, for the other order leaves the slot without one for
	// a moment. It tells all nodes at once. To tell them from here is no good: what
	// the new master sent them before may arrive after that.
	for _, node := range []*Redis{to, from} {
		c.must(node.client.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", toID).Err())
	}
	for _, node := range c.Nodes {
		if node.Running() {
			await(c.tb, "all nodes know who serves the slot", func() error { return node.believes(toID, slot) })
		}
	}
}

func migrate(ctx context.Context, from, to *Redis, keys []string) error {
	args := []any{"MIGRATE", "127.0.0.1", to.port, "", 0, patience.Milliseconds(), "KEYS"}
	for _, key := range keys {
		args = append(args, key)
	}
	err := from.client.Do(ctx, args...).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

func (c *Cluster) id(node *Redis) string {
	c.tb.Helper()
	self, err := node.self()
	c.must(err)
	return self.id
}

// info tells how a field of CLUSTER INFO differs from what it should be.
func (c *Cluster) info(node *Redis, field, want string) error {
	text, err := node.client.ClusterInfo(context.Background()).Result()
	if err == nil && !strings.Contains(text, field+":"+want+"\r\n") {
		err = fmt.Errorf("%s is not %s in %q", field, want, text)
	}
	return err
}

func (c *Cluster) must(err error) {
	c.tb.Helper()
	if err != nil {
		c.tb.Fatal(err)
	}
}

// testContext bounds what one step of a test waits for.
func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

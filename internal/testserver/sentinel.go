package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

// SentinelMaster is the name of the master that sentinels watch here.
const SentinelMaster = "mymaster"

// sentinels is how many there are; 2 of them must agree.
const sentinels = 3

// Sentinel is a master with a replica, and 3 sentinels that put the one in the
// place of the other when it has been down for 1.5 s.
type Sentinel struct {
	tb        testing.TB
	Master    *Redis // as it began
	Replica   *Redis // as it began
	Sentinels []*Redis
}

// StartSentinel starts all of it, and returns when the sentinels know each other
// and the replica. config are further lines of redis.conf of master and replica.
func StartSentinel(tb testing.TB, config ...string) *Sentinel {
	tb.Helper()
	return startSentinel(tb, nil, nil, config)
}

// startSentinel starts it with lines of redis.conf for all that take part, and others
// for master and replica.
func startSentinel(tb testing.TB, files *TLS, all, config []string) *Sentinel {
	tb.Helper()
	s := &Sentinel{tb: tb}
	s.Master = newRedis(tb, files, slices.Concat(common, all, config))
	s.Master.Start()
	s.Replica = StartReplica(tb, s.Master, slices.Concat(all, config)...)
	for range sentinels {
		node := newRedis(tb, files, slices.Concat(all, []string{
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", SentinelMaster, s.Master.port),
			// A second or less is too little: as long after a failover the new master is
			// not asked yet, and then taken for dead as well.
			"sentinel down-after-milliseconds " + SentinelMaster + " 1500",
			"sentinel failover-timeout " + SentinelMaster + " 3000",
		}), "--sentinel")
		node.Start()
		// Look around more often than every 2, 10 and 1 s. Redis 6.2 lacks the command, and is slower.
		_ = node.client.Do(context.Background(), "SENTINEL", "DEBUG", "PUBLISH-PERIOD", 200, "INFO-PERIOD", 500, "PING-PERIOD", 250).Err()
		s.Sentinels = append(s.Sentinels, node)
	}
	s.AwaitReady()
	return s
}

// AwaitReady returns when every sentinel knows the others and a replica, and so is
// able to fail over.
func (s *Sentinel) AwaitReady() {
	s.tb.Helper()
	for _, node := range s.Sentinels {
		await(s.tb, "the sentinels know each other and the replica", func() error {
			info, err := infoField(node.client, "sentinel", "master0")
			if err == nil && !strings.HasSuffix(info, fmt.Sprintf("status=ok,address=%s,slaves=1,sentinels=%d", s.Current().Addr(), sentinels)) {
				err = errors.New(info)
			}
			return err
		})
	}
}

// URL opens the master through the sentinels.
func (s *Sentinel) URL() string {
	return s.Master.scheme() + "+sentinel://" + strings.Join(s.Addrs(), ",") + "/" + SentinelMaster + "/0"
}

// Addrs are the host:port of the sentinels.
func (s *Sentinel) Addrs() []string {
	addrs := make([]string, len(s.Sentinels))
	for i, node := range s.Sentinels {
		addrs[i] = node.Addr()
	}
	return addrs
}

// Current is the server that the sentinels call the master.
func (s *Sentinel) Current() *Redis {
	s.tb.Helper()
	var current *Redis
	await(s.tb, "a sentinel names the master", func() error {
		var err error
		current, err = s.ask()
		return err
	})
	return current
}

// AwaitFailover returns the new master when all sentinels agree that it is no more
// old, and it has taken its office.
func (s *Sentinel) AwaitFailover(old *Redis) *Redis {
	s.tb.Helper()
	var current *Redis
	await(s.tb, "the sentinels have a new master", func() error {
		var err error
		if current, err = s.ask(); err != nil {
			return err
		}
		if current == old {
			return errors.New("it is the old one")
		}
		return current.is("replication", "role", "master")
	})
	return current
}

// ask is whom all running sentinels call the master.
func (s *Sentinel) ask() (*Redis, error) {
	var current *Redis
	for _, node := range s.Sentinels {
		if !node.Running() {
			continue
		}
		answer, err := node.client.Do(context.Background(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SentinelMaster).StringSlice()
		if err != nil {
			return nil, err
		}
		named := s.server(net.JoinHostPort(answer[0], answer[1]))
		if named == nil || current != nil && current != named {
			return nil, fmt.Errorf("the sentinels disagree: %v", answer)
		}
		current = named
	}
	if current == nil {
		return nil, errors.New("no sentinel runs")
	}
	return current, nil
}

func (s *Sentinel) server(addr string) *Redis {
	for _, r := range []*Redis{s.Master, s.Replica} {
		if r.Addr() == addr {
			return r
		}
	}
	return nil
}

package testserver

import (
	"fmt"
	"slices"
	"testing"
)

// StartReplica starts a replica of a server and returns when it is in sync.
func StartReplica(tb testing.TB, of *Redis, config ...string) *Redis {
	tb.Helper()
	r := newRedis(tb, of.tls, slices.Concat(common, []string{fmt.Sprintf("replicaof 127.0.0.1 %d", of.port)}, config))
	r.Start()
	r.AwaitSync()
	return r
}

// AwaitSync returns when the server is a replica that is linked to its master.
func (r *Redis) AwaitSync() {
	r.tb.Helper()
	await(r.tb, "the replica is in sync", func() error {
		return r.is("replication", "master_link_status", "up")
	})
}

// is tells how a field of INFO differs from what it should be.
func (r *Redis) is(section, field, want string) error {
	got, err := infoField(r.client, section, field)
	if err == nil && got != want {
		err = fmt.Errorf("%s is %q", field, got)
	}
	return err
}

package redis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
)

// A replica, such as a master that was deposed, refuses every change, also a Delete of
// a record that it has not got from its master yet.
func TestReplicaRefusesChanges(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	b := openURL(t, server.URL())
	there := backend.Record{ID: "there", Owner: "alice", Data: []byte("d")}
	create(t, b, there)
	require.NoError(t, server.Client().ReplicaOf(testContext(t), "127.0.0.1", "1").Err())
	for name, change := range map[string]func() error{
		"Create": func() error { return b.Create(testContext(t), record("new", "alice", "d")) },
		"Update": func() error {
			return b.Update(testContext(t), backend.Record{ID: "there", Revision: 1, Data: []byte("e")})
		},
		"Delete":              func() error { return b.Delete(testContext(t), "there") },
		"Delete of an absent": func() error { return b.Delete(testContext(t), "absent") },
		"Spend": func() error {
			_, err := b.Spend(testContext(t), spendOf("there", 1, 1))
			return err
		},
		"Spend that would be denied": func() error {
			_, err := b.Spend(testContext(t), spendOf("there", 1, 11))
			return err
		},
		"ResetCounts of none": func() error { return b.ResetCounts(testContext(t), "absent") },
	} {
		err := change()
		require.ErrorContains(t, err, "READONLY", name)
		require.ErrorIs(t, err, backend.ErrNotApplied, name)
		require.Equal(t, "d", string(get(t, b, "there").Data))
	}
	require.NoError(t, server.Client().ReplicaOf(testContext(t), "NO", "ONE").Err())
	require.NoError(t, b.Delete(testContext(t), "absent"))
	require.Len(t, listAll(t, b, "alice", 10), 1)
}

package mongo_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
)

func TestOpenByURL(t *testing.T) {
	url := testserver.MongoURL(t) + "openurl?collection=some.keys&linearizable=1&w=majority"
	b, err := backend.Open(t.Context(), url, nil)
	require.NoError(t, err)
	r := backend.Record{ID: "a", Owner: "o", Data: []byte("d"), PurgeAt: time.UnixMilli(5)}
	require.NoError(t, b.Create(t.Context(), r))
	require.NoError(t, b.Delete(t.Context(), r.ID))
	require.NoError(t, b.Close())
	b, err = backend.Open(t.Context(), url, nil)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	for _, u := range []string{"mongodb://127.0.0.1:1/x", "mongodb+srv://nowhere.invalid.example/x", "mongodb://u:p@127.0.0.1:1/x?authMechanism=foo", "mongodb://127.0.0.1:1/x?tls=maybe", "mongodb://127.0.0.1:1/x?tlsCAFile=/nowhere", "mongodb://127.0.0.1:1/x?w=1"} {
		start := time.Now()
		_, err = backend.Open(t.Context(), u, nil)
		t.Log(time.Since(start), err)
		require.Error(t, err)
	}
}

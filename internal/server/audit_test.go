package server

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/memory"
)

// trail is an Auditor that keeps the events.
type trail struct {
	mu     sync.Mutex
	events []keystore.Event
}

func (t *trail) Audit(_ context.Context, events []keystore.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, events...)
	return nil
}

func TestRefusalsOfVerifyNameTheRequest(t *testing.T) {
	store := new(memory.Store)
	events := new(trail)
	s := serveOn(t, store.Open(), store.Open(), &keystore.Options{Audit: events}, Config{})
	token, id := s.generate("a")
	got := s.raw("GET /verify?scope=b HTTP/1.1\r\nHost: x\r\nX-Request-Id: from-the-proxy\r\nAuthorization: Bearer " + token + "\r\n\r\n")
	require.Equal(t, 403, got.StatusCode)
	require.NoError(t, s.end())
	require.Len(t, events.events, 1)
	require.Equal(t, "from-the-proxy", events.events[0].RequestID)
	require.Equal(t, id, events.events[0].KeyID)
}

package redis

import (
	"context"

	"example.com/keystore/backend"
	"example.com/keystore/internal/hub"
)

// Watch implements [backend.Watcher] for the changes made by scripts of this
// package through any handle. It sends "" when a subscription is lost, in every
// interval until there is a new one and when there is, and whenever it is not sure
// that it would hear of a change; see Options.ProbeInterval. It ends when ctx ends,
// and with the client.
//
// On a cluster it subscribes at each master, because messages between servers may
// get lost in silence. It begins if one of them can be reached.
func (b *Backend) Watch(ctx context.Context) (<-chan string, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	own, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.life, cancel)
	w := &watch{b: b}
	changes := w.hub.Watch(own, b.life.Done())
	ready := make(chan error, 1)
	go func() {
		defer b.work.Done()
		defer stop()
		defer cancel() // which closes changes
		if cluster, ok := b.client.(masters); ok {
			w.recent = new(recent)
			w.followMasters(own, cluster, ready)
		} else {
			(&line{w: w, client: b.client}).follow(own, ready)
		}
	}()
	var err error
	select {
	case err = <-ready:
	case <-own.Done():
		err = own.Err()
	}
	switch {
	case err == nil:
		return changes, nil
	case ctx.Err() != nil:
		err = contextError(ctx)
	case b.isClosing():
		err = backend.ErrClosed
	}
	cancel()
	return nil, err
}

// watch is the state of one Watch.
type watch struct {
	b      *Backend
	hub    hub.Hub
	recent *recent // nil: there is one line, which gets each message once
	begun  bool    // Watch has returned; followMasters alone uses it
}

// missed tells the reader that it may have missed changes.
func (w *watch) missed() { w.hub.Notify("") }

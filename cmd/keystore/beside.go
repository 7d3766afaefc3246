package main

import (
	"errors"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/socket"
)

// beside opens a store. A Badger folder that another process has open is opened by
// way of that one, if it is 'keystore serve': then every command works beside it.
func beside[T any](rawURL string, open func(rawURL string) (T, error)) (T, error) {
	store, err := open(rawURL)
	// A full disk is found before the lock, and a server goes on to delete.
	var locked *badger.LockedError
	if !errors.As(err, &locked) && !errors.Is(err, badger.ErrNoSpace) {
		return store, err
	}
	path := defaultSocket(rawURL)
	if path == "" {
		return store, err
	}
	served, failed := open(socket.URL(path))
	if errors.Is(failed, socket.ErrNoServer) {
		return store, err
	}
	return served, failed
}

// errServed is why a store that a server has open is not restored.
func errServed() error {
	return unavailable(backend.ErrNotApplied, "a restore needs the folder for itself, and a server has it open: stop that one first, or restore into another folder")
}

package fleet

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore"
)

const (
	passes = 3                // goroutines of a reader that look all its keys up, again and again
	pace   = time.Millisecond // that such a goroutine rests between two passes
	// passTime is what one pass may wait for the server: while it is away, keys that
	// are cached must go on to be looked up.
	passTime = 250 * time.Millisecond
	warmth   = 20 // lookups in a row without a read, after which a key counts as cached
)

// reader is a process that looks keys up, with its cache on.
type reader struct {
	store   *counted
	channel *channel
	keys    *keystore.Keystore
	shut    func() error

	ctx  context.Context // ends with the reader
	end  context.CancelFunc
	wait sync.WaitGroup

	served map[string]*served
	hot    atomic.Pointer[[]*served] // all that are served
}

// served is a key that the reader looks up.
type served struct {
	key
	seen
	reads *reads

	ctx  context.Context // ends when it is not looked up any more
	end  context.CancelFunc
	wait sync.WaitGroup // for the goroutines of this key alone
}

func openReader(j job) (*reader, error) {
	b, ch, shut, err := openBroken(j)
	if err != nil {
		return nil, err
	}
	store, err := newCounted(b)
	if err != nil {
		return nil, err
	}
	keys, err := keystore.New(store, &keystore.Options{CacheTTL: j.CacheTTL})
	if err != nil {
		return nil, err
	}
	r := &reader{store: store, channel: ch, keys: keys, shut: shut, served: make(map[string]*served)}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.hot.Store(new([]*served))
	for range passes {
		r.wait.Go(r.lookUpAll)
	}
	return r, nil
}

func (r *reader) close() error {
	for _, s := range r.served {
		s.end()
		s.wait.Wait()
	}
	r.end()
	r.wait.Wait()
	_ = r.keys.Close() // last-used times may be lost if the server has just been away
	return errors.Join(r.store.Close(), r.shut())
}

func (r *reader) do(q request) (reply, error) {
	switch q.Do {
	case "hello":
		return reply{Now: now()}, nil
	case "serve":
		r.serve(q.Keys)
		return reply{}, nil
	case "warm":
		err := r.await("every key is cached", q.IDs, func(s *served) bool { return s.hitsInARow() >= warmth })
		r.store.forget(q.IDs) // that they were made was told as well
		return reply{}, err
	case "present":
		return reply{}, r.present(q.Keys[0])
	case "retire":
		seen, err := r.retire(q.IDs, q.Until)
		return reply{Seen: seen}, err
	case "channel":
		r.channel.set(q.Mode)
		return reply{}, nil
	case "stats":
		return reply{Stats: r.keys.Stats()}, nil
	case "heard":
		return reply{Heard: r.store.heard(q.IDs...)}, nil
	}
	return reply{}, fmt.Errorf("a reader cannot %s", q.Do)
}

// serve begins to look keys up.
func (r *reader) serve(keys []key) {
	for _, k := range keys {
		s := &served{key: k, reads: r.store.of(k.ID)}
		s.ctx, s.end = context.WithCancel(r.ctx)
		r.served[k.ID] = s
		if k.Flood {
			s.wait.Go(func() { r.flood(s) })
		}
	}
	r.publish()
}

func (r *reader) publish() {
	r.hot.Store(new(slices.Collect(maps.Values(r.served))))
}

// lookUpAll presents the old tokens of all keys, again and again.
func (r *reader) lookUpAll() {
	for r.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(r.ctx, passTime)
		for _, s := range *r.hot.Load() {
			began := now()
			hit, err := s.reads.lookup(func() error {
				_, err := r.keys.Lookup(ctx, s.Token, writing)
				return err
			})
			s.old(began, now(), hit, err)
		}
		cancel()
		rest(r.ctx)
	}
}

// present presents a new token of a key from now on, as its owner does.
func (r *reader) present(k key) error {
	s := r.served[k.ID]
	if s == nil {
		return fmt.Errorf("key %s is not served", k.ID)
	}
	s.wait.Go(func() {
		for s.ctx.Err() == nil {
			began := now()
			_, err := r.keys.Lookup(s.ctx, k.Token, writing)
			if s.ctx.Err() == nil { // else it is no use to anybody
				s.fresh(began, now(), err)
			}
			rest(s.ctx)
		}
	})
	return nil
}

// flood presents wrong secrets for a key.
func (r *reader) flood(s *served) {
	for n := 0; s.ctx.Err() == nil; n++ {
		_, err := r.keys.Lookup(s.ctx, forge(s.Token, n), writing)
		if s.ctx.Err() == nil {
			s.wrongSecret(err)
		}
		rest(s.ctx)
	}
}

func rest(ctx context.Context) {
	timer := time.NewTimer(pace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// retire goes on until each of the keys was looked up after a time, and answered,
// and tells what was seen of them.
func (r *reader) retire(ids []string, until int64) (map[string]observation, error) {
	err := r.await("every key is looked up once more", ids, func(s *served) bool { return s.lastAnswered() > until })
	if err != nil {
		return nil, err
	}
	all := make(map[string]observation)
	for _, id := range ids {
		s := r.served[id]
		delete(r.served, id)
		s.end()
		s.wait.Wait()
		o := s.snapshot()
		o.Heard = r.store.heard(id)
		all[id] = o
	}
	r.publish()
	return all, nil
}

// await waits until something holds of each key.
func (r *reader) await(what string, ids []string, holds func(s *served) bool) error {
	deadline := time.Now().Add(patience)
	for _, id := range ids {
		s := r.served[id]
		if s == nil {
			return fmt.Errorf("key %s is not served", id)
		}
		for !holds(s) {
			if time.Now().After(deadline) {
				return fmt.Errorf("it does not come to pass that %s: %+v", what, s.snapshot())
			}
			rest(r.ctx)
		}
	}
	return nil
}

// forge makes a token of the same key that was never issued: a secret that differs
// in its last 4 characters, with the checksum that belongs to it.
func forge(token string, n int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const checksum, changed = 6, 3
	forged := []byte(token)
	at := len(forged) - checksum - changed
	for i := range changed {
		forged[at+i] = alphabet[n%62]
		n /= 62
	}
	// The character before them is another one in any case.
	if forged[at-1] = '0'; token[at-1] == '0' {
		forged[at-1] = '1'
	}
	sum := crc32.ChecksumIEEE(forged[:len(forged)-checksum])
	for i := range checksum {
		forged[len(forged)-1-i] = alphabet[sum%62]
		sum /= 62
	}
	return string(forged)
}

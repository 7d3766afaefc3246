package drivertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/keystore"
)

// operation is a call that changes a key.
type operation struct {
	name  string
	call  func(ctx context.Context, s *keystore.Keystore, e *entry) (keystore.Key, error)
	apply func(state) state // what it makes of one
}

func generate(owner string) operation {
	return operation{"Generate", func(ctx context.Context, s *keystore.Keystore, e *entry) (keystore.Key, error) {
		token, key, err := s.Generate(ctx, keystore.KeyParams{Owner: owner, Name: "first"})
		e.id, e.tokens = key.ID, map[int]keystore.Token{1: token}
		return key, err
	}, func(state) state { return state{true, "first", 1, false, 1} }}
}

func rename(name string) operation {
	return operation{"Update", func(ctx context.Context, s *keystore.Keystore, e *entry) (keystore.Key, error) {
		return s.Update(ctx, e.id, func(c *keystore.Changes) error {
			c.Name = name
			return nil
		})
	}, func(s state) state {
		s.name, s.revision = name, s.revision+1
		return s
	}}
}

// rotate leaves older tokens valid, of which a key has at most 5.
var rotate = operation{"Rotate", func(ctx context.Context, s *keystore.Keystore, e *entry) (keystore.Key, error) {
	token, key, err := s.Rotate(ctx, e.id, time.Hour, nil)
	if err == nil || errors.Is(err, keystore.ErrUnknownOutcome) {
		e.tokens[key.Generation] = token
	}
	return key, err
}, func(s state) state {
	s.generation, s.revision = s.generation+1, s.revision+1
	return s
}}

const mostGenerations = 5

var revoke = operation{"Revoke", func(ctx context.Context, s *keystore.Keystore, e *entry) (keystore.Key, error) {
	return s.Revoke(ctx, e.id, "")
}, func(s state) state {
	s.revoked, s.revision = true, s.revision+1
	return s
}}

var remove = operation{"Delete", func(ctx context.Context, s *keystore.Keystore, e *entry) (keystore.Key, error) {
	return keystore.Key{}, s.Delete(ctx, e.id)
}, func(state) state { return state{} }}

// outcome is what a call says about itself.
type outcome int

const (
	acknowledged outcome = iota
	refused              // it had no effect
	unknown
)

// do makes the operation and enters it. A loss names what turned out to be lost
// that was acknowledged before. The error says what is wrong with the answer.
func (e *entry) do(ctx context.Context, s *keystore.Keystore, op operation) (result outcome, loss string, wrong error) {
	key, err := op.call(ctx, s, e)
	was, next := e.now, op.apply(e.now)
	switch {
	case err == nil:
		got := next
		if op.name != remove.name {
			got = stateOf(key)
		}
		if got != next {
			before := func(s state) bool { return op.apply(s) == got }
			if loss = e.backTo(before); loss == "" && !e.forthTo(before) {
				wrong = fmt.Errorf("%s of a key with %v returned one with %v", op.name, was, got)
			}
		}
		e.acknowledge(got)
		return acknowledged, loss, wrong
	case errors.Is(err, keystore.ErrUnknownOutcome):
		e.maybe = &next
		return unknown, "", nil
	case errors.Is(err, keystore.ErrUnavailable):
		return refused, "", nil
	case errors.Is(err, keystore.ErrNotFound):
		loss = e.backTo(func(earlier state) bool { return !earlier.there })
	}
	if loss == "" {
		wrong = fmt.Errorf("%s of key %s with %v: %w", op.name, e.id, was, err)
	}
	return refused, loss, wrong
}

// look says how a call that changes nothing was answered: whether it was, and by
// what that was acknowledged and is lost. The error says what is wrong with it.
func (e *entry) look(what string, found state, err error) (answered bool, loss string, wrong error) {
	before := *e
	switch {
	case errors.Is(err, keystore.ErrUnavailable):
		return false, "", nil
	case errors.Is(err, keystore.ErrNotFound):
		found, err = state{}, nil
	}
	fits := false
	if err == nil {
		fits, loss = e.see(found)
		err = fmt.Errorf("found %v", found)
	}
	if !fits && loss == "" {
		wrong = fmt.Errorf("%s of key %s with %v, maybe %v: %w", what, e.id, before.now, before.maybe, err)
	}
	return true, loss, wrong
}

// get reads the key by its id.
func (e *entry) get(ctx context.Context, s *keystore.Keystore) (answered bool, loss string, wrong error) {
	key, err := s.Get(ctx, e.id)
	return e.look("Get", stateOf(key), err)
}

// lookup presents the token of a generation.
func (e *entry) lookup(ctx context.Context, s *keystore.Keystore, generation int) (answered bool, loss string, wrong error) {
	key, err := s.Lookup(ctx, e.tokens[generation].Reveal())
	found := stateOf(key)
	var refusal *keystore.LookupError
	if errors.As(err, &refusal) {
		switch refusal.Reason {
		case keystore.ReasonUnknownKey:
			found, err = state{}, nil
		case keystore.ReasonRevoked:
			if s, known := e.known(func(s state) bool { return s.revoked }); known {
				found, err = s, nil
			}
		case keystore.ReasonWrongSecret: // as if the token had not been made yet
			if s, known := e.known(func(s state) bool { return s.there && s.generation < generation }); known {
				found, err = s, nil
			}
		}
	}
	return e.look(fmt.Sprintf("Lookup with the token of generation %d", generation), found, err)
}

package keystore

import (
	"context"
	"errors"
)

// manage makes one change of a key, of which the observer and the audit are told.
// do may fill in what it learns of the event.
func (s *Keystore) manage(ctx context.Context, name string, e *Event, do func(context.Context) (Key, error)) (key Key, err error) {
	inside, end := s.begin(ctx, name, e.KeyID)
	err = ErrPanicked
	defer func() {
		end(err)
		s.tell(ctx, e, key, err)
	}()
	key, err = do(inside)
	return key, err
}

// tell records what came of a change. Those that a closed Keystore refuses are
// not recorded, but what Purge deleted before.
func (s *Keystore) tell(ctx context.Context, e *Event, key Key, err error) {
	if s.trail == nil || errors.Is(err, ErrClosed) && e.Count == 0 {
		return
	}
	if !validID(e.KeyID) { // what a caller passed by mistake is not repeated
		e.KeyID = ""
	}
	if key.ID != "" {
		e.KeyID, e.Owner, e.Generation, e.Revision = key.ID, key.Owner, key.Generation, key.revision
	}
	e.Outcome = outcomeOf(err)
	if e.Action != ActionPurge {
		e.Count = 1
	}
	if err != nil && e.Detail != refusedByProgram {
		e.Detail = err.Error()
	}
	s.trail.record(ctx, *e)
}

// refusedByProgram stands for the error of a function that the program passed,
// whose words may hold anything.
const refusedByProgram = "refused by the program"

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return OutcomeDone
	case errors.Is(err, ErrUnknownOutcome), errors.Is(err, ErrPanicked): // which may have come after the write
		return OutcomeUnknown
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrCorrupt), errors.Is(err, ErrClosed):
		return OutcomeFailed
	}
	return OutcomeRefused
}

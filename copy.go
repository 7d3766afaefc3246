package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/keystore/backend"
)

const (
	copyPage    = 500              // records of a store in memory at a time, of at most 64 KiB each
	copyWriters = 32               // writes at a time
	copyTimeout = 10 * time.Second // of each call: a page of a distant store takes longer than one record
	maxProblems = 100              // that a result names; all are counted
)

// CopyOptions configure [Copy]. A nil *CopyOptions and zero fields mean the
// defaults. A negative number or duration other than Never is ErrInvalid.
type CopyOptions struct {
	// After skips the records up to this id, for example the Last of a copy
	// that was interrupted.
	After string
	// Writers is how many records are written at a time. Default 32.
	Writers int
	// OpTimeout bounds each call of a backend. Default 10 s; Never: the
	// context's deadline alone.
	OpTimeout time.Duration
	// Retention is how long a key that Copy revokes at the target stays there
	// before a Purge. Default 30 days; Never: for ever. All other keys keep the
	// time that their own program gave them.
	Retention time.Duration
	// Progress, if not nil, is called every few hundred records, on the
	// goroutine of Copy.
	Progress func(CopyResult)

	page int // records; for tests
}

// CopyResult says what a copy did. Each record that was read is counted once
// more, in one of the numbers below Read.
type CopyResult struct {
	Read      int64 // records of the source
	Created   int64 // the target had none with this id
	Updated   int64 // the target had an older state of the key
	Unchanged int64 // the target had the same state
	Kept      int64 // the target had a newer state, or its program deleted the key just now
	Revoked   int64 // changed in both stores: the target's state was kept and revoked, as the source's is
	Diverged  int64 // changed in both stores, or another owner's key at the target: left as it is there
	Damaged   int64 // not copied, because the record of the source or of the target cannot be read

	// Last is the id up to which the copy is complete: pass it as After to go
	// on with a copy that was interrupted.
	Last string
	// Problems are the first 100 of those that diverged or are damaged, in the
	// order of their ids.
	Problems []CopyProblem
}

// CopyProblem is a record that was not copied. Err is ErrConflict if it diverged,
// and ErrCorrupt if it is damaged.
type CopyProblem struct {
	ID  string
	Err error
}

// Copy copies every key of one store to another, whatever their drivers. Tokens
// go on working: the target gets the very bytes of the source, so ids, secrets,
// revocations and the rest stay as they are, whichever hash made the digests.
// Last-used times are raised, never lowered. Only revisions begin anew, at 1.
//
// The target may hold keys, and be in use. Copy compares first, writes only
// over the state that it compared, and deletes nothing. Of two states of one
// key, the newer one is the one that holds the write of the other among its
// last 32; it stays or is copied. Where neither does, both stores have changed
// the key, or one of them more than 32 times, and the target's state stays, with one
// exception: a key that is revoked in the source is revoked in the target too.
// A revocation in the target is never undone.
//
// So Copy can be run again, after an interruption or to fetch what has changed
// since, and does only what is left to do. Two things it cannot know: a key that
// was deleted or purged in the target comes back as long as the source has it,
// and one that was deleted in the source stays in the target. Where that matters,
// revoke, and purge when the move is over.
//
// Copy takes both stores in pages, and holds at most 2000 records at a time.
//
// Errors: ErrInvalid for the options. ErrUnavailable, ErrUnknownOutcome too, if
// a store failed or ctx ended: the result says how far it came. Otherwise all
// that can be copied was, and the error is ErrConflict if records diverged,
// ErrCorrupt if some are damaged, and both if both.
func Copy(ctx context.Context, from, to backend.Backend, o *CopyOptions) (CopyResult, error) {
	c, err := newCopier(from, to, o)
	if err != nil {
		return CopyResult{}, err
	}
	defer c.source.Close()
	defer c.target.Close()
	var page []twins
	for t, err := range merged(ctx, c.source, c.target) {
		if err != nil {
			return c.result, err
		}
		if t.from != nil {
			page = append(page, t)
		}
		if len(page) == c.source.limit {
			if err := c.page(ctx, page); err != nil {
				return c.result, err
			}
			page = page[:0]
		}
		if c.source.end {
			break // what else the target holds is of no interest
		}
	}
	if err := c.page(ctx, page); err != nil {
		return c.result, err
	}
	return c.result, c.result.problem()
}

// problem is the error of a copy that reached its end.
func (r *CopyResult) problem() error {
	var problems []error
	if r.Damaged > 0 {
		problems = append(problems, fmt.Errorf("%w: %d were not copied", ErrCorrupt, r.Damaged))
	}
	if r.Diverged > 0 {
		problems = append(problems, fmt.Errorf("%w: %d were left as they are in the target", ErrConflict, r.Diverged))
	}
	return errors.Join(problems...)
}

// copier is one run of Copy.
type copier struct {
	source, target *side
	writers        int
	progress       func(CopyResult)
	result         CopyResult
}

func newCopier(from, to backend.Backend, o *CopyOptions) (*copier, error) {
	if o == nil {
		o = &CopyOptions{}
	}
	if !validCursor(o.After) {
		return nil, invalid("After", "it cannot be the id of a record")
	}
	c := &copier{writers: o.Writers, progress: o.Progress, result: CopyResult{Last: o.After}}
	switch {
	case c.writers < 0:
		return nil, invalid("Writers", "it is negative")
	case c.writers == 0:
		c.writers = copyWriters
	}
	opts := Options{OpTimeout: o.OpTimeout, Retention: o.Retention}
	var err error
	if c.source, err = newSide("source", from, opts, o.After, o.page); err != nil {
		return nil, err
	}
	if c.target, err = newSide("target", to, opts, o.After, o.page); err != nil {
		return nil, errors.Join(err, c.source.Close())
	}
	return c, nil
}

// page copies some records, several at a time, and then their last-used times.
func (c *copier) page(ctx context.Context, page []twins) error {
	if len(page) == 0 {
		return nil
	}
	outcomes := make([]outcome, len(page))
	err := inParallel(c.writers, len(page), func(i int) (err error) {
		outcomes[i], err = c.record(ctx, page[i])
		return err
	})
	used := make(map[string]time.Time)
	for i, t := range page {
		c.result.count(t.from.ID, outcomes[i])
		if outcomes[i].problem == nil && t.usedLater() {
			used[t.from.ID] = t.from.LastUsed
		}
	}
	if err == nil && len(used) > 0 {
		err = c.target.send(ctx, "last-used times", func(op context.Context) error { return c.target.backend.Touch(op, used) })
	}
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	c.result.Last = page[len(page)-1].from.ID
	if c.progress != nil {
		c.progress(c.result)
	}
	return nil
}

// inParallel calls do for the numbers below n, some at a time. After an error it
// begins no more, and returns the first.
func inParallel(callers, n int, do func(i int) error) error {
	var (
		mu    sync.Mutex
		next  int
		first error
		wg    sync.WaitGroup
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= n && first == nil
	}
	for range min(callers, n) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := do(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}

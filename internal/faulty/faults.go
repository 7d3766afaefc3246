package faulty

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"example.com/keystore/backend"
)

// Refuse answers err and does not make the call.
func Refuse(err error) Fault {
	return func(context.Context, Do) error { return err }
}

// LoseReply makes the call and answers err, whatever the call said.
func LoseReply(err error) Fault {
	return func(ctx context.Context, do Do) error {
		do(ctx)
		return err
	}
}

// Repeat makes the call twice, with between, if not nil, in the middle, and
// gives the second answer.
func Repeat(between func()) Fault {
	return func(ctx context.Context, do Do) error {
		first := do(ctx)
		if between != nil {
			between()
		}
		err := do(ctx)
		for _, answer := range []error{backend.ErrConflict, backend.ErrNotFound} {
			if errors.Is(err, answer) {
				return answer // whoever repeats cannot say that nothing was applied
			}
		}
		if errors.Is(err, backend.ErrNotApplied) && !errors.Is(first, backend.ErrNotApplied) {
			return errors.New(err.Error()) // the first may have been
		}
		return err
	}
}

// Block waits until ctx ends, and does not make the call.
func Block(ctx context.Context, _ Do) error {
	<-ctx.Done()
	return ctx.Err()
}

// BlockAfter makes the call, and then waits until ctx ends.
func BlockAfter(ctx context.Context, do Do) error {
	do(ctx)
	<-ctx.Done()
	return ctx.Err()
}

// Around runs before and after, where they are not nil, around a call that is
// made as usual: hooks to hold a call where a test wants it.
func Around(before, after func()) Fault {
	return func(ctx context.Context, do Do) error {
		if before != nil {
			before()
		}
		err := do(ctx)
		if after != nil {
			after()
		}
		return err
	}
}

// Late holds calls that are on their way, as a network does. They arrive when
// the test says so, on its goroutine. The zero value is ready. It is safe for
// concurrent use.
type Late struct {
	mu      sync.Mutex
	pending []func()
}

// Delay answers err at once; the call is made by Deliver, whether its context
// has ended or not.
func (l *Late) Delay(err error) Fault {
	return func(ctx context.Context, do Do) error {
		l.push(ctx, do)
		return err
	}
}

// Again makes the call, gives its answer, and makes it once more by Deliver.
func (l *Late) Again(ctx context.Context, do Do) error {
	err := do(ctx)
	if !errors.Is(err, backend.ErrNotApplied) { // of which nobody makes a repeat that counts
		l.push(ctx, do)
	}
	return err
}

func (l *Late) push(ctx context.Context, do Do) {
	ctx = context.WithoutCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, func() { do(ctx) })
}

// Deliver makes the calls that wait, and returns how many.
func (l *Late) Deliver() int {
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, call := range pending {
		call()
	}
	return len(pending)
}

// Only is a plan that gives the fault to every call of the methods.
func Only(fault Fault, methods ...Method) Plan {
	return func(c Call) Fault {
		if slices.Contains(methods, c.Method) {
			return fault
		}
		return nil
	}
}

// Nth is a plan that gives the fault to the nth call of one method.
func Nth(n int, method Method, fault Fault) Plan {
	return func(c Call) Fault {
		if c.Method == method && c.N == n {
			return fault
		}
		return nil
	}
}

// Random is a plan that gives about rate of all calls one of the faults. What
// the nth call of a method gets depends on the seed alone.
func Random(seed uint64, rate float64, faults ...Fault) Plan {
	return func(c Call) Fault {
		random := rand.New(rand.NewPCG(seed, mix(c)))
		if random.Float64() >= rate {
			return nil
		}
		return faults[random.IntN(len(faults))]
	}
}

// mix makes a number of the method and its count, the same in every process.
func mix(c Call) uint64 {
	sum := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(c.Method) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return sum ^ uint64(c.N)<<32
}

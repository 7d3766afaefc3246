package history

import (
	"context"
	"errors"

	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
)

// How often something goes wrong.
const (
	singleRate = 0.25 // of the calls of a handle that write
	outageRate = 0.25 // of the stretches of outageLen such calls, all of which fail
	readRate   = 0.06 // of the calls that read
	outageLen  = 4    // more than the keystore's tries of one write
)

var errLost = errors.New("injected: no reply")

// network is what calls that are under way share with each other.
type network struct {
	late   faulty.Late // writes that arrive any time later, perhaps long after the caller was answered
	births faulty.Late // the same for Create, see settle
	prompt bool        // no write arrives after its caller was answered
}

// settle lets all creations arrive that are under way. It is called before a
// key that was generated may be deleted: by the contract a late repeat of Create
// brings a deleted record back, as TestALateCreate… shows.
func (n *network) settle() { n.births.Deliver() }

func (n *network) deliver() {
	n.births.Deliver()
	n.late.Deliver()
}

// plan draws the faults of one handle from the seed.
func (n *network) plan(seed uint64) faulty.Plan {
	arrive := faulty.Around(n.deliver, nil)
	reads := faulty.Random(seed, readRate, faulty.Refuse(errLost), faulty.Refuse(context.DeadlineExceeded), cancelFirst, cancelDuring, arrive)
	writes := func(late *faulty.Late, more ...faulty.Fault) faulty.Plan {
		delay := late.Delay(errLost)
		if n.prompt {
			delay, more = faulty.LoseReply(errLost), nil
		}
		single := faulty.Random(seed, singleRate, append(more,
			faulty.Refuse(errLost), faulty.Refuse(backend.ErrNotApplied), faulty.LoseReply(errLost), faulty.LoseReply(context.DeadlineExceeded),
			faulty.Repeat(nil), delay, cancelFirst, cancelDuring, cancelAfter, arrive, arrive, arrive)...)
		outage := faulty.Random(seed+1, outageRate, faulty.Refuse(errLost), faulty.LoseReply(errLost), delay)
		return func(c faulty.Call) faulty.Fault {
			stretch := c
			stretch.N /= outageLen
			if fault := outage(stretch); fault != nil {
				return fault
			}
			return single(c)
		}
	}
	births, changes := writes(&n.births, n.births.Again), writes(&n.late, n.late.Again)
	// A Purge that was answered is not repeated later: with the time of then, it
	// could delete what came to be purgeable by a late write with a time of then.
	purges := writes(&n.late)
	return func(c faulty.Call) faulty.Fault {
		switch c.Method {
		case faulty.Create:
			return births(c)
		case faulty.Update, faulty.Delete, faulty.Touch:
			return changes(c)
		case faulty.Purge:
			return purges(c)
		case faulty.Get, faulty.List:
			return reads(c)
		}
		return nil
	}
}

// cancelKey finds, in the context of a backend call, what cancels the call of
// the keystore that it belongs to.
type cancelKey struct{}

// cancellable returns a context that the faults below can cancel.
func cancellable(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	return context.WithValue(ctx, cancelKey{}, cancel), cancel
}

// cancelOf does nothing in the background work of a keystore.
func cancelOf(ctx context.Context) {
	if cancel, ok := ctx.Value(cancelKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// cancelFirst lets the caller give up before the call.
func cancelFirst(ctx context.Context, do faulty.Do) error {
	cancelOf(ctx)
	return do(ctx)
}

// cancelDuring lets the caller give up while the call is made.
func cancelDuring(ctx context.Context, do faulty.Do) error {
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		cancelOf(ctx)
	}()
	err := do(ctx)
	<-cancelled
	return err
}

// cancelAfter lets the caller give up when the call was made and not answered.
func cancelAfter(ctx context.Context, do faulty.Do) error {
	do(ctx)
	cancelOf(ctx)
	return errors.Join(errLost, ctx.Err())
}

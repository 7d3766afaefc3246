package mongowire

import (
	"slices"
	"sync"
	"time"
)

// Fault answers one command in place of a handler. apply lets the handler do what
// was asked, and returns its answer.
type Fault func(cmd Command, apply func() Reply) Reply

// Faults stands before a handler and breaks what passes. It is safe for concurrent
// use.
type Faults struct {
	next  Handler
	mu    sync.Mutex
	plans []*plan
}

type plan struct {
	match func(Command) bool
	in    int // how many matching commands until this one's turn, 0: each
	fault Fault
}

// NewFaults breaks nothing yet.
func NewFaults(next Handler) *Faults { return &Faults{next: next} }

// Nth plans a fault for the nth command from now on, 1 being the next, that match
// takes. It happens once.
func (f *Faults) Nth(n int, match func(Command) bool, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plans = append(f.plans, &plan{match, max(n, 1), fault})
}

// Each plans a fault for every command that match takes, until [Faults.Clear].
func (f *Faults) Each(match func(Command) bool, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plans = append(f.plans, &plan{match, 0, fault})
}

// Clear forgets all plans.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plans = nil
}

// Pending is the number of faults planned by Nth that have not happened.
func (f *Faults) Pending() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, p := range f.plans {
		if p.in > 0 {
			n++
		}
	}
	return n
}

// Named takes the commands of these names.
func Named(names ...string) func(Command) bool {
	return func(cmd Command) bool { return slices.Contains(names, cmd.Name) }
}

// Handle is the [Handler].
func (f *Faults) Handle(cmd Command) Reply {
	apply := func() Reply { return f.next(cmd) }
	if fault := f.take(cmd); fault != nil {
		return fault(cmd, apply)
	}
	return apply()
}

// take returns the fault whose turn it is. Where several are due, it is the
// first that was planned; the others wait for the next command.
func (f *Faults) take(cmd Command) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var due *plan
	for _, p := range f.plans {
		if !p.match(cmd) {
			continue
		}
		if p.in > 1 {
			p.in--
		} else if due == nil {
			due = p
		}
	}
	if due == nil {
		return nil
	}
	if due.in > 0 {
		f.plans = slices.DeleteFunc(f.plans, func(p *plan) bool { return p == due })
	}
	return due.fault
}

// Answer refuses the command: it is not applied.
func Answer(reply Reply) Fault {
	return func(Command, func() Reply) Reply { return reply }
}

// ApplyThenAnswer applies the command and gives another answer than is true.
func ApplyThenAnswer(reply Reply) Fault {
	return func(_ Command, apply func() Reply) Reply { apply(); return reply }
}

// CloseBefore closes the connection; the command is not applied.
func CloseBefore(Command, func() Reply) Reply { return HangUp() }

// ApplyThenClose applies the command, and closes the connection without a reply.
func ApplyThenClose(_ Command, apply func() Reply) Reply { apply(); return HangUp() }

// HangBefore applies and answers the command when released is closed, even if the
// client has gone by then.
func HangBefore(released <-chan struct{}) Fault {
	return func(cmd Command, apply func() Reply) Reply {
		select {
		case <-released:
			return apply()
		case <-cmd.Done:
			return HangUp()
		}
	}
}

// ApplyThenHang applies the command, and answers when released is closed.
func ApplyThenHang(released <-chan struct{}) Fault {
	return func(_ Command, apply func() Reply) Reply { return apply().When(released) }
}

// Delay applies the command, and answers it after a while.
func Delay(d time.Duration) Fault {
	return func(_ Command, apply func() Reply) Reply { return apply().After(d) }
}

// ApplyThenWriteConcernError applies the command and adds to its answer that the
// change is not where it should be.
func ApplyThenWriteConcernError(code int32, message string, labels ...string) Fault {
	return func(_ Command, apply func() Reply) Reply {
		return apply().WithWriteConcernError(code, message, labels...)
	}
}

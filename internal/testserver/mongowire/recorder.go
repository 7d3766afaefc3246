package mongowire

import (
	"slices"
	"sync"
)

// Recorder stands before a handler and remembers the commands. It is safe for
// concurrent use.
type Recorder struct {
	next     Handler
	mu       sync.Mutex
	commands []Command
}

// Record remembers what it passes to next.
func Record(next Handler) *Recorder { return &Recorder{next: next} }

// Handle is the [Handler].
func (r *Recorder) Handle(cmd Command) Reply {
	r.mu.Lock()
	r.commands = append(r.commands, cmd)
	r.mu.Unlock()
	return r.next(cmd)
}

// Commands returns those of the given names, or all, in the order in which they
// came.
func (r *Recorder) Commands(names ...string) []Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Command
	for _, cmd := range r.commands {
		if len(names) == 0 || slices.Contains(names, cmd.Name) {
			all = append(all, cmd)
		}
	}
	return all
}

// Reset forgets them.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = nil
}

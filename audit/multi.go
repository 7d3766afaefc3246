package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"example.com/keystore"
)

// Multi returns an Auditor that gives all events to each of the others, one after
// the other, and to each one whatever the others said. Where one fails, the errors
// are joined, and when the same events come again only those get them that did not
// take them. So each gets all events once; but one that fails holds up the next
// events of all, until it takes them or the Keystore drops them, and one that
// uses up the time of the context leaves none to those behind it. A panic of one
// is its error.
//
// Several Keystores may share it, if they may share the others. After a failure
// the events of one may then come twice.
func Multi(auditors ...keystore.Auditor) keystore.Auditor {
	return &multi{auditors: slices.Clone(auditors), took: make([]bool, len(auditors))}
}

type multi struct {
	auditors []keystore.Auditor

	mu    sync.Mutex
	batch []keystore.Event // that not all have taken
	took  []bool           // by each auditor
}

func (m *multi) Audit(ctx context.Context, events []keystore.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.batch, events) {
		m.batch = slices.Clone(events)
		clear(m.took)
	}
	var failed []error
	for i, a := range m.auditors {
		if m.took[i] {
			continue
		}
		err := give(ctx, a, events)
		m.took[i] = err == nil
		if err != nil {
			failed = append(failed, err)
		}
	}
	if failed == nil {
		m.batch = nil
	}
	return errors.Join(failed...)
}

func give(ctx context.Context, to keystore.Auditor, events []keystore.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("audit: an Auditor panicked: %v", p)
		}
	}()
	return to.Audit(ctx, events)
}

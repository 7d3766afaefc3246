package badger

import "context"

// Watch implements [backend.Watcher] for the changes made through all handles
// on the store. Changes made to the database in other ways are not noticed.
// A Restore sends "".
func (b *Backend) Watch(ctx context.Context) (<-chan string, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.calls.RUnlock()
	return b.shared.changes.Watch(ctx, b.closing), nil
}

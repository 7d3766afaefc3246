package memory

import (
	"context"
	"fmt"

	"example.com/keystore/backend"
)

func init() { backend.Register("memory", openURL) }

// openURL opens "memory://", a new and empty store.
func openURL(ctx context.Context, rawURL string, _ *backend.OpenOptions) (backend.Backend, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(rawURL) != len("memory://") {
		return nil, fmt.Errorf("%w: memory: nothing may follow memory://", backend.ErrInvalidURL)
	}
	return New(), nil
}

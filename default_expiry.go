package keystore

import "time"

// DefaultExpiry returns when a key would expire that Generate made now, with
// neither ExpiresAt nor TTL; zero: never. For programs that bound the expiry of
// keys which others ask for.
func (s *Keystore) DefaultExpiry() time.Time {
	if s.opts.DefaultTTL <= 0 {
		return time.Time{}
	}
	return s.now().Add(s.opts.DefaultTTL)
}

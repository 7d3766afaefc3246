package socket

import "example.com/keystore/backend"

// What Open returns, by what the store can do: a handle must not have methods that
// it cannot keep. A store that counts limits alone, or usage alone, is rare enough
// to count neither here.
type (
	counting struct {
		*client
		spending
		metering
	}
	watchable struct {
		*client
		watching
	}
	watchableCounting struct {
		*client
		watching
		spending
		metering
	}
	withBackup struct {
		*client
		backingUp
	}
	withBackupCounting struct {
		*client
		backingUp
		spending
		metering
	}
	watchableWithBackup struct {
		*client
		watching
		backingUp
	}
	watchableWithBackupCounting struct {
		*client
		watching
		backingUp
		spending
		metering
	}
)

// handle returns the client as what can do what its server says of the store.
func (c *client) handle(h hello) backend.Backend {
	watch, backup, spend, meter := watching{c}, backingUp{c}, spending{c}, metering{c}
	switch [3]bool{h.Watch, h.Backup, h.Counter && h.Meter} {
	case [3]bool{false, false, true}:
		return counting{c, spend, meter}
	case [3]bool{true, false, false}:
		return watchable{c, watch}
	case [3]bool{true, false, true}:
		return watchableCounting{c, watch, spend, meter}
	case [3]bool{false, true, false}:
		return withBackup{c, backup}
	case [3]bool{false, true, true}:
		return withBackupCounting{c, backup, spend, meter}
	case [3]bool{true, true, false}:
		return watchableWithBackup{c, watch, backup}
	case [3]bool{true, true, true}:
		return watchableWithBackupCounting{c, watch, backup, spend, meter}
	}
	return c
}

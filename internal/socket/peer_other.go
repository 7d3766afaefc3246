//go:build !linux

package socket

import "net"

// checkPeer trusts the modes of folders.
func checkPeer(net.Conn, string) error { return nil }

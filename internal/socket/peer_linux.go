package socket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkPeer refuses a server of another user. Where others may make files, as in
// /tmp, one of them could take the name while no server is there, and answer that
// a key is revoked. The server is trusted if it runs as root, as the user of this
// process, or, which is for root, as the owner of the socket's folder.
func checkPeer(conn net.Conn, path string) error {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred // of the process that listens: unix(7), SO_PEERCRED
	controlErr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(controlErr, err); err != nil {
		return err
	}
	if peer.Uid == 0 || int(peer.Uid) == os.Geteuid() {
		return nil
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if owner, ok := folder.Sys().(*syscall.Stat_t); ok && owner.Uid == peer.Uid {
		return nil
	}
	return errors.New("another user serves there, who does not own the socket's folder")
}

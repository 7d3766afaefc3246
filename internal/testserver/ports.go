package testserver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports of servers are below those that systems give to outgoing connections
// (32768 on Linux): one of those could take the place of a server that is down for
// a while, or even connect to itself. Nor may another test process take it: its
// replicas and sentinels would find a server there that is none of theirs. So each
// process has a block of ports, and gives each of them to one server only.
const (
	firstPort = 11_000
	blocks    = 100
	blockSize = 100

	// busOffset is how far above its port a node of a Redis Cluster listens to the
	// other nodes.
	busOffset = blocks * blockSize
)

// ports are the blocks of this process. Who listens on the first port of a block
// has it.
var ports struct {
	sync.Mutex
	blocks    []net.Listener
	next, end int // what is left of the last of them
}

// freePort returns a port on which nobody listens, nor on the one busOffset above,
// and that this process has not used before.
func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	for {
		if ports.next == ports.end {
			if err := takeBlock(); err != nil {
				return 0, err
			}
		}
		port := ports.next
		ports.next++
		if free(port) && free(port+busOffset) {
			return port, nil
		}
	}
}

// takeBlock gives the process another block, and keeps those that it has had.
func takeBlock() error {
	for _, block := range rand.Perm(blocks) {
		start := firstPort + block*blockSize
		if lock, err := net.Listen("tcp", address(start)); err == nil {
			ports.blocks = append(ports.blocks, lock)
			ports.next, ports.end = start+1, start+blockSize
			return nil
		}
	}
	return errors.New("no free ports")
}

func free(port int) bool {
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

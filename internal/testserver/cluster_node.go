package testserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// self is what a node of a cluster says about itself.
type self struct {
	id     string
	master string // the id of its master; "-": it is one
	epoch  int
	ranges [][2]int // of slots that it serves
}

// self reads the node's own line of CLUSTER NODES, which is
//
//	<id> <address> <flags> <master> <ping> <pong> <epoch> <link> <slots>...
func (r *Redis) self() (self, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := r.client.ClusterNodes(ctx).Result()
	if err != nil {
		return self{}, err
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) >= 8 && strings.Contains(fields[2], "myself") {
			return parseSelf(fields)
		}
	}
	return self{}, errors.New("CLUSTER NODES does not name the node itself")
}

func parseSelf(fields []string) (self, error) {
	s := self{id: fields[0], master: fields[3]}
	var err error
	if s.epoch, err = strconv.Atoi(fields[6]); err != nil {
		return self{}, err
	}
	for _, text := range fields[8:] {
		if strings.HasPrefix(text, "[") {
			continue // on its way
		}
		var r [2]int
		if n, _ := fmt.Sscanf(text, "%d-%d", &r[0], &r[1]); n < 2 {
			r[1] = r[0]
		}
		s.ranges = append(s.ranges, r)
	}
	return s, nil
}

func (s self) serves(slot int) bool {
	for _, r := range s.ranges {
		if r[0] <= slot && slot <= r[1] {
			return true
		}
	}
	return false
}

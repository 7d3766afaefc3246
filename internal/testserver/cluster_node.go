package testserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// member is what a node of a cluster says about itself or another.
type member struct {
	id     string
	master string // the id of its master; "-": it is one
	epoch  int
	ranges [][2]int // of slots that it serves
}

// self is what the node says about itself.
func (r *Redis) self() (member, error) {
	return r.member(func(fields []string) bool { return strings.Contains(fields[2], "myself") })
}

// believes tells why the node does not believe that a slot is served by another.
func (r *Redis) believes(id string, slot int) error {
	other, err := r.member(func(fields []string) bool { return fields[0] == id })
	if err == nil && !other.serves(slot) {
		err = fmt.Errorf("%s believes that it serves %v", r.Addr(), other.ranges)
	}
	return err
}

// member reads the line of CLUSTER NODES that matches. Its fields are
//
//	<id> <address> <flags> <master> <ping> <pong> <epoch> <link> <slots>...
func (r *Redis) member(match func(fields []string) bool) (member, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := r.client.ClusterNodes(ctx).Result()
	if err != nil {
		return member{}, err
	}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 8 && match(fields) {
			return parseMember(fields)
		}
	}
	return member{}, errors.New("CLUSTER NODES does not name the node")
}

func parseMember(fields []string) (member, error) {
	m := member{id: fields[0], master: fields[3]}
	var err error
	if m.epoch, err = strconv.Atoi(fields[6]); err != nil {
		return member{}, err
	}
	for _, text := range fields[8:] {
		if strings.HasPrefix(text, "[") {
			continue // on its way
		}
		var r [2]int
		if n, _ := fmt.Sscanf(text, "%d-%d", &r[0], &r[1]); n < 2 {
			r[1] = r[0]
		}
		m.ranges = append(m.ranges, r)
	}
	return m, nil
}

func (m member) serves(slot int) bool {
	for _, r := range m.ranges {
		if r[0] <= slot && slot <= r[1] {
			return true
		}
	}
	return false
}

package redis

import (
	"hash/crc32"
	"strconv"
	"strings"
)

// A store is 64 shards, so that it spreads over the masters of a cluster while
// each record lies in one hash slot with its index entries and its counts. A record
// is in shard CRC-32 (IEEE) of its id, modulo 64.
//
// The names of a shard begin with a hash tag, {namespace:i}: i is the smallest
// decimal number for which the slot of shard n lies in [256n, 256n+255]. A cluster
// that gives each master a range of slots, as clusters do, then spreads the shards
// as evenly as the slots.
const (
	shardCount    = 64
	slotsPerShard = slotCount / shardCount
	slotCount     = 16384
)

// shard holds the names of a shard's keys.
type shard struct {
	record string // and the id: STRING, an envelope
	ids    string // ZSET of all ids, score 0
	owners string // ZSET of owner, NUL, id; score 0
	purge  string // ZSET of ids, by Unix milliseconds; keys that are never purged are not in it

	counts  string // and the id: STRING, what is spent of the limits of a key
	ends    string // ZSET of ids that have counts, by Unix seconds
	tallies string // and tallyMember: STRING, what a subject used on a day
	tallyAt string // ZSET of tallyMember, by Unix milliseconds; tallies that are never purged are not in it
}

// layout holds the names of a store.
type layout struct {
	shards  [shardCount]shard
	channel string // that changes are published on
}

func newLayout(namespace string) *layout {
	l := &layout{channel: namespace + ":changes"}
	for i, found := 0, 0; found < shardCount; i++ {
		tag := namespace + ":" + strconv.Itoa(i)
		s := &l.shards[slotOf(tag)/slotsPerShard]
		if s.record != "" {
			continue
		}
		tag = "{" + tag + "}"
		*s = shard{
			record: tag + ":k:", ids: tag + ":a", owners: tag + ":o", purge: tag + ":p",
			counts: tag + ":c:", ends: tag + ":ce", tallies: tag + ":u:", tallyAt: tag + ":up",
		}
		found++
	}
	return l
}

func shardOf(id string) int { return int(crc32.ChecksumIEEE([]byte(id)) % shardCount) }

func (l *layout) shard(id string) *shard { return &l.shards[shardOf(id)] }

// key is the name of a record.
func (l *layout) key(id string) string { return l.shard(id).record + id }

// tallyMember names a tally of a subject in its shard, which is that of the subject.
// The day is counted from 1970.
func tallyMember(subject string, day int64) string {
	return strconv.FormatInt(day, 10) + ":" + subject
}

// ownerMember is what stands for a record in the owners of its shard.
func ownerMember(owner, id string) string { return owner + "\x00" + id }

// slotOf is the cluster's hash slot of a tag: its CRC-16 (XMODEM), modulo 16384.
func slotOf(tag string) int {
	crc := uint16(0)
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			overflow := crc >> 15
			crc = crc<<1 ^ overflow*0x1021
		}
	}
	return int(crc % slotCount)
}

const namespaceAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-"

// validNamespace accepts names that are no part of a pattern or of a hash tag.
func validNamespace(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, namespaceAlphabet) == "" // what Trim leaves begins with another character
}

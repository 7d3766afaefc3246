package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
)

// AddUsage implements [backend.Meter]. It works in chunks of at most 128 tallies of
// one shard, and refuses what is beyond the limits of the contract before it adds
// anything. Tallies that are damaged are left as they are.
func (b *Backend) AddUsage(ctx context.Context, additions []backend.Addition) error {
	var chunks []invocation
	var last [shardCount]int // of the chunks of a shard, the one that is not full, plus one
	for _, a := range additions {
		if err := checkAddition(a); err != nil {
			return refused(err)
		}
		n := shardOf(a.Subject)
		s := &b.names.shards[n]
		if last[n] == 0 || len(chunks[last[n]-1].keys) > chunkLen {
			chunks = append(chunks, invocation{script: addScript, keys: []string{s.tallyAt}})
			last[n] = len(chunks)
		}
		member := tallyMember(a.Subject, a.Day.Unix()/secondsPerDay)
		c := &chunks[last[n]-1]
		c.keys = append(c.keys, s.tallies+member)
		c.args = append(c.args, member, bytesOf(a.AddID), milliseconds(a.PurgeAt), countsText(a.Counts))
	}
	if err := b.enter(ctx); err != nil {
		return refused(err)
	}
	_, err := await(ctx, b, endedDuring, func() (struct{}, error) {
		var damaged []string
		err := b.runChunks(ctx, chunks, func(reply any) error {
			list, ok := reply.([]any)
			for _, member := range list {
				ok = ok && slices.ContainsFunc(chunks, func(c invocation) bool { return slices.Contains(c.args, member) })
				damaged = append(damaged, fmt.Sprint(member))
			}
			if !ok {
				return errReply
			}
			return nil
		})
		if err == nil && len(damaged) > 0 {
			err = fmt.Errorf("%w: %d, %q first", backend.ErrDamagedTally, len(damaged), damaged[0])
		}
		return struct{}{}, err
	})
	return err
}

// Usage implements [backend.Meter]. It refuses to read more than 366 days.
func (b *Backend) Usage(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	first, end := daysUntil(from), daysUntil(to)
	if end-first > 366 {
		return nil, errors.New("redis: usage of more than 366 days at once")
	}
	s := b.names.shard(subject)
	return read(ctx, b, func() ([]backend.Tally, error) {
		var cmds []*goredis.StringCmd
		pipe := b.client.Pipeline()
		for d := first; d < end; d++ {
			cmds = append(cmds, pipe.Get(ctx, s.tallies+tallyMember(subject, d)))
		}
		_ = execute(ctx, pipe) // each command has its error
		var tallies []backend.Tally
		for i, cmd := range cmds {
			value, err := cmd.Result()
			switch {
			case errors.Is(err, goredis.Nil):
				continue
			case err != nil:
				return nil, failed(err)
			}
			counts, err := unpack(value)
			if err != nil {
				return nil, fmt.Errorf("redis: a tally is %w", err)
			}
			tallies = append(tallies, backend.Tally{Day: time.Unix((first+int64(i))*secondsPerDay, 0).UTC(), Counts: counts})
		}
		return tallies, nil
	})
}

// PurgeUsage implements [backend.Meter]. It works in chunks of at most 128 tallies of
// one shard, and passes over those that are damaged.
func (b *Backend) PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error) {
	until := "-1" // nothing is due before 1970
	if now.Unix() >= 0 {
		until = strconv.FormatInt(min(now.Unix(), maxExact/1000)*1000+int64(now.Nanosecond()/1e6), 10)
	}
	return b.purge(ctx, limit, &purge{
		times: func(s *shard) string { return s.tallyAt },
		until: until,
		chunk: func(s *shard, members []string) invocation { return forget(s.tallyAt, s.tallies, until, members) },
	})
}

const secondsPerDay = 24 * 60 * 60

// daysUntil is how many days from 1970 on begin before t.
func daysUntil(t time.Time) int64 {
	seconds := t.Unix()
	if seconds < 0 {
		return 0
	}
	days := seconds / secondsPerDay
	if seconds%secondsPerDay > 0 || t.Nanosecond() > 0 {
		days++
	}
	return days
}

// milliseconds of t since 1970, as the times of tallies have it; "" of the zero time.
func milliseconds(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// isMilliseconds reports whether t is zero, or one that scripts calculate with.
func isMilliseconds(t time.Time) bool {
	return t.IsZero() || t.Unix() >= 0 && t.Unix() < maxExact/1000
}

// countsText is counts as a tally holds them: "07a=12;07x=3;".
func countsText(counts map[string]int64) string {
	var text []byte
	for name, n := range counts {
		text = append(append(text, name...), '=')
		text = append(strconv.AppendInt(text, n, 10), ';')
	}
	return string(text)
}

func checkAddition(a backend.Addition) error {
	switch {
	case a.Subject == "" || len(a.Subject) > backend.MaxSubjectLen:
		return errors.New("redis: a subject must be 1 to 264 bytes")
	case a.Day.Unix() < 0 || a.Day.Unix()%secondsPerDay != 0 || a.Day.Nanosecond() != 0:
		return errors.New("redis: a day must begin at midnight UTC, from 1970 on")
	case !isMilliseconds(a.PurgeAt):
		return errors.New("redis: a purge time must be from 1970 to the year 287396")
	case len(a.Counts) > backend.MaxTallyNames:
		return errors.New("redis: a tally must not have more than 120 counts")
	}
	for name, n := range a.Counts {
		if !isTallyName(name) {
			return errors.New("redis: the name of a count must be 1 to 8 of [a-z0-9]")
		}
		if n < 1 || n > backend.MaxCount {
			return errors.New("redis: a count must be 1 to 1<<50")
		}
	}
	return nil
}

func isTallyName(name string) bool {
	const allowed = "0123456789abcdefghijklmnopqrstuvwxyz"
	return name != "" && len(name) <= backend.MaxTallyName && strings.Trim(name, allowed) == ""
}

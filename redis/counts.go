package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
)

// Spend implements [backend.Counter]. It refuses what is beyond the limits of the
// contract, and windows that begin after the year 142 million. Counts that are
// damaged are an error until ResetCounts.
//
// It is sent up to four times until there is a reply, within 50 ms if connections are
// refused: as long as a read, for a lookup waits for it. A key that others spend from
// more than 64 times meanwhile may be counted twice for it.
func (b *Backend) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	if err := checkSpend(s); err != nil {
		return backend.Spent{}, refused(err)
	}
	front := frontOf(s.Windows)
	args := append(make([]any, 0, 4+len(s.Windows)), bytesOf(s.SpendID), s.Cost, front.pattern, front.format)
	for _, w := range s.Windows {
		args = append(args, w.Max)
	}
	names := b.names.shard(s.ID)
	var spent backend.Spent
	err := b.apply(ctx, true, invocation{
		script: spendScript,
		keys:   []string{names.counts + s.ID, names.ends},
		args:   args,
	}, func(reply any, doubt error) (err error) {
		spent, err = front.spent(reply, len(s.Windows), doubt)
		return err
	})
	if err != nil {
		return backend.Spent{}, err // and not spent, which an attempt may yet write to
	}
	return spent, nil
}

// front is what counts begin with whose last spend was in some windows, as a pattern
// and as a format of Lua's string library: the end of the last of all windows, then
// ";day/86400,1700006400=12" of each of these. As long as spends are in the same
// windows, which is the rule, the script finds and replaces all that it needs at once.
type front struct{ pattern, format string }

func frontOf(windows []backend.Window) front {
	pattern := append(make([]byte, 0, 16+64*len(windows)), "^\x01(%d+)"...)
	format := append(make([]byte, 0, 16+64*len(windows)), "\x01%s"...)
	for _, w := range windows {
		begin := len(format)
		format = append(appendWindow(append(format, ';'), w), '=')
		for _, c := range format[begin:] {
			if c == '-' {
				pattern = append(pattern, '%')
			}
			pattern = append(pattern, c)
		}
		format, pattern = append(format, "%.0f"...), append(pattern, "(%d+)"...)
	}
	return front{string(append(pattern, ';')), string(format)}
}

// spent makes the answer of a reply of the format, with 1 or 0 before it, whatever
// became of earlier attempts: the script knows them by their id.
func (f front) spent(reply any, windows int, doubt error) (backend.Spent, error) {
	text, _ := reply.(string)
	switch {
	case text == "damaged" && doubt != nil:
		return backend.Spent{}, unknownOutcome(doubt)
	case text == "damaged":
		return backend.Spent{}, refused(fmt.Errorf("redis: nothing spent: the counts of the key are %w", errPacked))
	case !strings.HasPrefix(text, "0\x01") && !strings.HasPrefix(text, "1\x01"):
		return backend.Spent{}, errReply
	}
	counts := make([]int64, windows)
	_, format, _ := strings.Cut(f.format, ";")
	_, rest, _ := strings.Cut(text, ";")
	for i := range counts {
		var window, entry string
		window, format, _ = strings.Cut(format, "%.0f")
		window = strings.TrimPrefix(window, ";")
		entry, rest, _ = strings.Cut(rest, ";")
		digits, asked := strings.CutPrefix(entry, window)
		count, ok := decimal(digits)
		if !asked || !ok {
			return backend.Spent{}, errReply
		}
		counts[i] = count
	}
	if rest != "" {
		return backend.Spent{}, errReply
	}
	return backend.Spent{OK: text[0] == '1', Counts: counts}, nil
}

// appendWindow appends what tells one window of a key from another.
func appendWindow(text []byte, w backend.Window) []byte {
	text = append(append(text, w.Name...), '/')
	text = append(strconv.AppendInt(text, int64(w.Length/time.Second), 10), ',')
	return strconv.AppendInt(text, w.Start.Unix(), 10)
}

func isWindow(name string) bool {
	kind, start, _ := strings.Cut(name, ",")
	limit, length, _ := strings.Cut(kind, "/")
	_, timed := decimal(start)
	_, long := decimal(length)
	return limit != "" && long && timed
}

// Counts implements [backend.Counter].
func (b *Backend) Counts(ctx context.Context, id string, windows []backend.Window) ([]int64, error) {
	key := b.names.shard(id).counts + id
	return read(ctx, b, func() ([]int64, error) {
		value, err := b.client.Get(ctx, key).Result()
		switch {
		case errors.Is(err, goredis.Nil):
			return make([]int64, len(windows)), nil
		case err != nil:
			return nil, failed(err)
		}
		all, err := unpack(value)
		if err != nil {
			return nil, fmt.Errorf("redis: the counts of the key are %w", err)
		}
		for name := range all {
			if !isWindow(name) {
				return nil, fmt.Errorf("redis: the counts of the key are %w", errPacked)
			}
		}
		counts := make([]int64, len(windows))
		for i, w := range windows {
			counts[i] = all[string(appendWindow(nil, w))]
		}
		return counts, nil
	})
}

// ResetCounts implements [backend.Counter]. It is not repeated when it gets no reply,
// and its outcome is unknown then: spends of others could have come between.
func (b *Backend) ResetCounts(ctx context.Context, id string) error {
	s := b.names.shard(id)
	return b.apply(ctx, false, invocation{
		script: resetScript,
		keys:   []string{s.counts + id, s.ends},
		args:   []any{id},
	}, func(reply any, _ error) error {
		if reply != "ok" {
			return errReply
		}
		return nil
	})
}

// PurgeCounts implements [backend.Counter]. It works in chunks of at most 128 keys of
// one shard, and passes over counts that are damaged.
func (b *Backend) PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error) {
	until := strconv.FormatInt(min(now.Unix(), maxExact), 10) // windows end at whole seconds
	return b.purge(ctx, limit, &purge{
		times: func(s *shard) string { return s.ends },
		until: until,
		chunk: func(s *shard, ids []string) invocation { return forget(s.ends, s.counts, until, ids) },
	})
}

func forget(times, prefix, until string, members []string) invocation {
	return invocation{
		script: forgetScript,
		keys:   append([]string{times}, prefixed(prefix, members)...),
		args:   append([]any{until}, anys(members)...),
	}
}

func checkSpend(s backend.Spend) error {
	switch {
	case !validID(s.ID):
		return errors.New("redis: an id must be 1 to 64 of [0-9A-Za-z_-]")
	case s.Cost < 1 || s.Cost > backend.MaxCount:
		return errors.New("redis: a cost must be 1 to 1<<50")
	case len(s.Windows) < 1 || len(s.Windows) > backend.MaxWindows:
		return errors.New("redis: a spend must have 1 to 8 windows")
	}
	for i, w := range s.Windows {
		if err := checkWindow(w); err != nil {
			return err
		}
		for _, other := range s.Windows[:i] {
			if other.Name == w.Name && other.Length == w.Length {
				return errors.New("redis: two windows of a spend have the same name and length")
			}
		}
	}
	return nil
}

func checkWindow(w backend.Window) error {
	const allowed = "0123456789abcdefghijklmnopqrstuvwxyz_-"
	switch {
	case w.Name == "" || len(w.Name) > backend.MaxWindowName || strings.Trim(w.Name, allowed) != "":
		return errors.New("redis: the name of a window must be 1 to 32 of [a-z0-9_-]")
	case w.Length < time.Second || w.Length%time.Second != 0:
		return errors.New("redis: the length of a window must be whole seconds, at least one")
	case w.Start.Nanosecond() != 0 || w.Start.Unix() < 0 || w.Start.Unix() > maxExact/2:
		return errors.New("redis: a window must start at a whole second, from 1970 to the year 142 million")
	case w.Max < 1 || w.Max > backend.MaxCount:
		return errors.New("redis: what a window may hold must be 1 to 1<<50")
	}
	return nil
}

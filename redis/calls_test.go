package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// commands of Redis 6.2, with where their keys are, that the driver and its scripts
// use. A command that is not here fails the tests: look up since when there is such
// a one, https://redis.io/docs/latest/commands/.
var commands = map[string]func(args []any) []any{
	"get":           func(args []any) []any { return args[1:2] },
	"zrangebylex":   func(args []any) []any { return args[1:2] },
	"zrangebyscore": func(args []any) []any { return args[1:2] },
	"eval":          scriptKeys,
	"evalsha":       scriptKeys,
	"publish":       noKeys,
	"info":          noKeys,
	"ping":          noKeys,
}

func noKeys([]any) []any { return nil }

func scriptKeys(args []any) []any { return args[3 : 3+args[2].(int)] }

var scriptCommands = []string{"get", "set", "exists", "del", "getrange", "setrange", "zadd", "zrem", "publish"}

// calls records what goes through a client.
type calls struct {
	mu  sync.Mutex
	all [][]any
}

func recordCalls(client goredis.UniversalClient) *calls {
	c := &calls{}
	client.AddHook(c)
	return c
}

func (c *calls) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *calls) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		c.add(cmd)
		return next(ctx, cmd)
	}
}

func (c *calls) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		c.add(cmds...)
		return next(ctx, cmds)
	}
}

func (c *calls) add(cmds ...goredis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		c.all = append(c.all, cmd.Args())
	}
}

// named returns the recorded commands of a name.
func (c *calls) named(name string) [][]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found [][]any
	for _, args := range c.all {
		if args[0] == name {
			found = append(found, args)
		}
	}
	return found
}

func (c *calls) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = nil
}

// check judges everything recorded so far: commands that Redis 6.2 has, and all
// keys of one in one hash slot.
func (c *calls) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := make(map[string]int)
	for _, args := range c.all {
		name := args[0].(string)
		if name == "hello" || name == "client" || name == "select" {
			continue // go-redis's own, as the client's settings have it
		}
		keysOf, known := commands[name]
		require.True(t, known, "%s is no command that the driver should use", name)
		keys := keysOf(args)
		for _, key := range keys {
			require.Equal(t, slot(keys[0].(string)), slot(key.(string)), "%v", args)
		}
		seen[name] += len(keys)
	}
	for _, name := range []string{"get", "evalsha", "zrangebylex", "zrangebyscore"} {
		require.Positive(t, seen[name], "nothing was recorded of %s", name)
	}
}

// slot is the hash slot of a key, by the words of the cluster specification
// (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/), and
// not by the code under test.
func slot(key string) int {
	if _, tag, found := strings.Cut(key, "{"); found {
		if tag, _, found := strings.Cut(tag, "}"); found && tag != "" {
			key = tag
		}
	}
	const polynomial = 1<<16 | 1<<12 | 1<<5 | 1
	remainder := 0
	for _, c := range []byte(key + "\x00\x00") { // long division, bit by bit
		for bit := 7; bit >= 0; bit-- {
			remainder = remainder<<1 | int(c>>bit)&1
			if remainder&(1<<16) != 0 {
				remainder ^= polynomial
			}
		}
	}
	return remainder % 16384
}

// The examples of the specification: CRC-16 of "123456789" is 0x31C3.
func TestSlotOfTheTests(t *testing.T) {
	require.Equal(t, 0x31C3%16384, slot("123456789"))
	require.Equal(t, slot("user1000"), slot("{user1000}.following"))
	require.Equal(t, slot("bar"), slot("foo{bar}{zap}"))
	require.NotEqual(t, slot(""), slot("foo{}{bar}"))
}

// Scripts use commands of Redis 6.2 only, name no key that is not in KEYS, and take
// no argument for one.
func TestScriptsKeepToTheirKeys(t *testing.T) {
	files, err := filepath.Glob("scripts/*.lua")
	require.NoError(t, err)
	require.Len(t, files, 9)
	call := regexp.MustCompile(`redis\.p?call\('(\w+)'(?:, ([^,)]+))?`)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		text := regexp.MustCompile(`--.*`).ReplaceAllString(string(source), "")
		found := call.FindAllStringSubmatch(text, -1)
		require.Len(t, found, strings.Count(text, "redis."), "%s: each use of redis is understood", file)
		for _, f := range found {
			name, key := strings.ToLower(f[1]), f[2]
			assert.True(t, slices.Contains(scriptCommands, name), "%s: %s", file, name)
			switch {
			case name == "publish":
				assert.Equal(t, "ARGV[1]", key)
			case key == "key":
				assert.Regexp(t, `local key(, \w+)? = KEYS\[|for i, key in ipairs\(KEYS\)`, text, file)
			default:
				assert.Regexp(t, `^KEYS\[\d\]$`, key, "%s: %s", file, name)
			}
		}
		for _, forbidden := range []string{"TIME", "RANDOM", "os.", "redis.sha1hex", "setresp"} {
			assert.NotContains(t, text, forbidden, fmt.Sprint(file))
		}
	}
}

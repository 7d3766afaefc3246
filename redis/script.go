package redis

import (
	"context"
	"embed"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// scriptFiles holds the scripts, and their digests in the form of sha1sum, which
// makes the file: cd scripts && sha1sum *.lua >SHA1SUMS. Servers know a script by
// its SHA-1; to compute that here would fail where Go is told to keep to FIPS 140.
// A digest that is wrong costs a round trip for each call, and nothing else.
//
//go:embed scripts
var scriptFiles embed.FS

// script is one operation, done by the server in one piece. Every key that it uses
// is in KEYS, and all are in one slot.
type script struct {
	source string
	sha1   string
	tells  bool // watchers of the change of a record
}

var (
	createScript = telling(mustScript("create"))
	updateScript = telling(mustScript("update"))
	deleteScript = telling(mustScript("delete"))
	touchScript  = mustScript("touch")
	purgeScript  = mustScript("purge")
	spendScript  = mustScript("spend")
	resetScript  = mustScript("reset")
	addScript    = mustScript("add")
	forgetScript = mustScript("forget")
)

func telling(s *script) *script {
	s.tells = true
	return s
}

func mustScript(name string) *script {
	source, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	sums, err := scriptFiles.ReadFile("scripts/SHA1SUMS")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(sums)) {
		if sha1, found := strings.CutSuffix(strings.TrimSpace(line), "  "+name+".lua"); found {
			return &script{source: string(source), sha1: sha1}
		}
	}
	panic("redis: no digest of script " + name)
}

// messageArg is where the scripts that tell of one record have what follows the id
// in the message.
const messageArg = 1

// invocation is a script with what it is given.
type invocation struct {
	script *script
	keys   []string
	args   []any
}

// once is a command that go-redis must not send again when it gets no reply: it may
// have been executed, and only the driver knows what that means.
type once struct{ *goredis.Cmd }

func (once) NoRetry() bool { return true }

// command names the script by its digest, or sends its source, which makes the
// server remember it.
func (i *invocation) command(ctx context.Context, bySource bool) once {
	name, body := "evalsha", i.script.sha1
	if bySource {
		name, body = "eval", i.script.source
	}
	args := make([]any, 0, 3+len(i.keys)+len(i.args))
	args = append(args, name, body, len(i.keys))
	for _, key := range i.keys {
		args = append(args, key)
	}
	return once{goredis.NewCmd(ctx, append(args, i.args...)...)}
}

// run sends i once; a second time only where the server does not know the script.
func (i *invocation) run(ctx context.Context, client goredis.UniversalClient) (any, error) {
	cmd := i.command(ctx, false)
	if err := client.Process(ctx, cmd); hasCode(err, "NOSCRIPT") {
		cmd = i.command(ctx, true)
		_ = client.Process(ctx, cmd) // the same error as Result
	}
	return cmd.Result()
}

// runAll sends all of them in one go, like run, and returns the reply or error of
// each.
func runAll(ctx context.Context, client goredis.UniversalClient, all []invocation) []once {
	cmds := make([]once, len(all))
	pipe := client.Pipeline()
	for n := range all {
		cmds[n] = all[n].command(ctx, false)
		_ = pipe.Process(ctx, cmds[n]) // only queues it
	}
	_ = execute(ctx, pipe) // each command has its error
	again := client.Pipeline()
	for n := range all {
		if hasCode(cmds[n].Err(), "NOSCRIPT") {
			cmds[n] = all[n].command(ctx, true)
			_ = again.Process(ctx, cmds[n])
		}
	}
	if again.Len() > 0 {
		_ = execute(ctx, again)
	}
	return cmds
}

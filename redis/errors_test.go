package redis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"

	"example.com/keystore/redis"
)

// reply is an error that a server replied.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// What an error says of a script that writes one record: whether it certainly had
// no effect, and whether it is worth another attempt.
func TestWhatErrorsMean(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		err            error
		code           string
		certain, again bool
	}{
		{reply("LOADING Redis is loading the dataset in memory"), "LOADING", true, true},
		{reply("READONLY You can't write against a read only replica."), "READONLY", true, true},
		{reply("READONLY You can't write against a read only replica. script: 11f1, on @user_script:13."), "READONLY", true, true},
		{reply("ERR Error running script (call to f_11f1): @user_script:13: @user_script: 13: -READONLY You can't write against a read only replica."), "READONLY", true, true},
		{reply("NOREPLICAS Not enough good replicas to write. script: 11f1, on @user_script:13."), "NOREPLICAS", true, true},
		{reply("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), "MASTERDOWN", true, true},
		{reply("CLUSTERDOWN Hash slot not served"), "CLUSTERDOWN", true, true},
		{reply("TRYAGAIN Multiple keys request during rehashing of slot"), "TRYAGAIN", true, true},
		{reply("MOVED 1 127.0.0.1:7001"), "MOVED", true, true},
		{reply("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."), "BUSY", true, true},
		{reply("ERR max number of clients reached"), "MAXCLIENTS", true, true},
		{reply("ERR Protocol error: unauthenticated multibulk length"), "NOAUTH", true, false},
		{reply("ERR Protocol error: invalid multibulk length"), "ERR", false, false},
		{reply("OOM command not allowed when used memory > 'maxmemory'. script: 11f1, on @user_script:13."), "OOM", true, false},
		{reply("ERR Error running script (call to f_11f1): @user_script:13: @user_script: 13: -OOM command not allowed when used memory > 'maxmemory'."), "OOM", true, false},
		{reply("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."), "MISCONF", true, false},
		{reply("NOAUTH Authentication required."), "NOAUTH", true, false},
		{reply("WRONGPASS invalid username-password pair or user is disabled."), "WRONGPASS", true, false},
		{reply("NOPERM this user has no permissions to run the 'evalsha' command"), "NOPERM", true, false},
		{reply("ERR The user executing the script can't run this command or subcommand"), "NOPERM", true, false},
		{reply("ERR The user executing the script can't run this command or subcommand script: 11f1, on @user_script:3."), "NOPERM", true, false},
		{reply("NOPERM ACL failure in script: User app has no permissions to run the 'zadd' command script: 11f1, on @user_script:13."), "NOPERM", true, false},
		{reply("WRONGTYPE Operation against a key holding the wrong kind of value script: 11f1, on @user_script:3."), "WRONGTYPE", true, false},
		{reply("CROSSSLOT Keys in request don't hash to the same slot"), "CROSSSLOT", true, false},
		{reply("ERR something new script: 11f1, on @user_script:3."), "ERR", true, false},
		{fmt.Errorf("wrapped: %w", reply("LOADING Redis is loading")), "LOADING", true, true},

		// Nothing that Redis says before it runs a script; a proxy may say it after.
		{reply("ERR upstream failure"), "ERR", false, false},
		{reply("upstream disconnected"), "upstream", false, false},
		{reply(""), "", false, false},
		{errors.New("LOADING"), "", false, false},

		{dial, "", true, true},
		{fmt.Errorf("wrapped: %w", dial), "", true, true},
		{goredis.ErrPoolTimeout, "", true, true},
		{goredis.ErrClosed, "", true, false},
		{io.EOF, "", false, false},
		{io.ErrUnexpectedEOF, "", false, false},
		{os.ErrDeadlineExceeded, "", false, false},
		{context.DeadlineExceeded, "", false, false},
		{context.Canceled, "", false, false},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "", false, false},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, "", false, false},
		{goredis.Nil, "", false, false},
	} {
		assert.Equal(t, c.code, redis.Code(c.err), "%v", c.err)
		assert.Equal(t, c.certain, redis.Certain(c.err), "%v", c.err)
		assert.Equal(t, c.again, redis.WorthRetrying(c.err), "%v", c.err)
	}
}

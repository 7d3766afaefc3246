package redis

import (
	"context"
	"slices"

	goredis "github.com/redis/go-redis/v9"
)

// execute sends what a pipeline has queued. Each command has its reply or an error
// then, and the first of these errors is returned.
//
// If the server refuses the connection itself, by WRONGPASS or MAXCLIENTS, go-redis
// only returns that, and none of the commands shows it: a list would be empty, and a
// write done.
func execute(ctx context.Context, pipe goredis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	if err != nil && !slices.ContainsFunc(cmds, func(cmd goredis.Cmder) bool { return cmd.Err() != nil }) {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
	}
	return err
}

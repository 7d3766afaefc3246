package fleet

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/backend"
	"example.com/keystore/mongo"
	"example.com/keystore/redis"
)

// openBroken opens the store for a reader, with clients that are set as those which
// the drivers make from a URL are, but whose connections the channel makes.
func openBroken(j job) (b backend.Backend, ch *channel, shut func() error, err error) {
	switch j.Driver {
	case "redis", "cluster":
		ch = newChannel(subscribes, true)
		client, err := redisClient(j, ch)
		if err != nil {
			return nil, nil, nil, err
		}
		b, err := redis.New(client, nil)
		return b, ch, client.Close, err
	case "mongo":
		ch = newChannel(polls, false)
		client, err := mongodb.Connect(mongooptions.Client().SetAppName("keystore").SetTimeout(2 * time.Second).
			SetServerSelectionTimeout(3 * time.Second).SetConnectTimeout(5 * time.Second).
			ApplyURI(j.URL).SetRetryWrites(false).SetDialer(ch))
		if err != nil {
			return nil, nil, nil, err
		}
		b, err := mongo.New(client.Database("keystore").Collection("keys"), nil)
		return b, ch, func() error {
			gone, cancel := context.WithCancel(context.Background())
			cancel() // connections that hang are not waited for
			_ = client.Disconnect(gone)
			return nil
		}, err
	}
	return nil, nil, nil, fmt.Errorf("no driver is called %q", j.Driver)
}

func redisClient(j job, ch *channel) (goredis.UniversalClient, error) {
	off := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	active := 20 * runtime.GOMAXPROCS(0)
	if j.Driver == "cluster" {
		return goredis.NewClusterClient(&goredis.ClusterOptions{
			Addrs: j.Addrs, Dialer: ch.dial, ContextTimeoutEnabled: true, DisableIdentity: true,
			MaintNotificationsConfig: off, DialerRetries: 1, DisableRoutingPolicies: true,
			DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, PoolTimeout: 500 * time.Millisecond,
			MaxRetries: 2, MinRetryBackoff: 8 * time.Millisecond, MaxRetryBackoff: 64 * time.Millisecond, MaxActiveConns: active,
		}), nil
	}
	o, err := goredis.ParseURL(j.URL)
	if err != nil {
		return nil, err
	}
	o.Dialer, o.ContextTimeoutEnabled, o.DisableIdentity, o.MaintNotificationsConfig, o.DialerRetries = ch.dial, true, true, off, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Second, time.Second, time.Second, 500*time.Millisecond
	o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff, o.MaxActiveConns = 2, 8*time.Millisecond, 64*time.Millisecond, active
	return goredis.NewClient(o), nil
}

// subscribes finds the command that turns a connection into a subscription.
func subscribes(request []byte) bool { return bytes.Contains(request, []byte("\r\nsubscribe\r\n")) }

// polls finds the query for what changed lately. Reads of a key are by _id alone.
func polls(request []byte) bool {
	return bytes.Contains(request, []byte("changed\x00")) && bytes.Contains(request, []byte("$gte\x00"))
}

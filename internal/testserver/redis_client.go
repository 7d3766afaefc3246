package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// errTaken means that somebody else listens on the port.
var errTaken = errors.New("the port is taken")

// newClient makes a client that asks the server once and no other.
func (r *Redis) newClient() *redis.Client {
	o := plainClient(r.Addr())
	if r.tls != nil {
		o.TLSConfig = r.tls.Config
	}
	for _, line := range r.config {
		if password, found := strings.CutPrefix(line, "requirepass "); found {
			o.Password = password
		}
	}
	return redis.NewClient(o)
}

func plainClient(addr string) *redis.Options {
	return &redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, PoolSize: 2,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// answers waits until the process p answers the client, and nobody else does.
func answers(c *redis.Client, p *process, log *os.File) error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if p.exited() {
			err = errors.New("it ended at once")
			if strings.Contains(tail(log), "Address already in use") {
				err = errTaken
			}
			return err
		}
		if err = dial(c.Options().Addr); err != nil {
			continue // not yet; the client would log it
		}
		var pid string
		if pid, err = infoField(c, "server", "process_id"); err != nil {
			continue
		}
		if pid != fmt.Sprint(p.pid()) {
			return errTaken // p is about to notice that too
		}
		if err = c.Ping(context.Background()).Err(); err == nil {
			return nil // it has loaded its data
		}
	}
	return fmt.Errorf("no answer: %w", err)
}

func dial(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// infoField asks for one field of INFO.
func infoField(c *redis.Client, section, field string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := c.Info(ctx, section).Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("INFO %s has no %s", section, field)
}

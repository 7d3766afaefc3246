package redis

import (
	"errors"
	"log/slog"
	"time"
)

// Options are the settings of [New]. nil and zero values mean defaults. They hold
// no secrets.
type Options struct {
	// Namespace begins the names of the store's keys and of its channel, so that
	// a server can hold other things and other stores: 1 to 64 of
	// [0-9A-Za-z._-]. Default "keystore".
	Namespace string

	// ProbeInterval is how often a watcher makes sure that it would hear of a
	// change: a connection that went silent, a failover or messages that got lost
	// show after at most two of these. Default 3 s; shorter than 10 ms is
	// refused.
	ProbeInterval time.Duration

	// Logger gets warnings. Default: discard.
	Logger *slog.Logger
}

const (
	defaultNamespace     = "keystore"
	defaultProbeInterval = 3 * time.Second
	minProbeInterval     = 10 * time.Millisecond
)

// withDefaults returns a copy of o that is complete and valid.
func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Namespace == "" {
		opts.Namespace = defaultNamespace
	}
	if opts.ProbeInterval == 0 {
		opts.ProbeInterval = defaultProbeInterval
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case !validNamespace(opts.Namespace):
		return Options{}, errors.New("redis: Options.Namespace must be 1 to 64 of [0-9A-Za-z._-]")
	case opts.ProbeInterval < minProbeInterval:
		return Options{}, errors.New("redis: Options.ProbeInterval must be at least 10 ms")
	}
	return opts, nil
}

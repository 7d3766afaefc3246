package main

import "log/slog"

// logger writes warnings to standard error: as JSON lines with --json, else as
// text. They are about this moment, so they carry no time.
func (a *app) logger() *slog.Logger {
	o := &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		},
	}
	if a.global.json {
		return slog.New(slog.NewJSONHandler(a.err, o))
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

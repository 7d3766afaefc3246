package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strconv"

	"example.com/keystore"
	"example.com/keystore/audit"
)

// trail is where --audit-log has events written. Close it after the Keystore.
type trail struct {
	keystore.Auditor // nil: nowhere
	io.Closer
}

// openTrail opens what --audit-log names. "-" is the standard output, of a command
// that prints nothing else there; else nil.
func (a *app) openTrail(stdout io.Writer) (trail, error) {
	s, err := a.setting("audit-log", a.global.auditLog, "KEYSTORE_AUDIT_LOG")
	switch {
	case err != nil:
		return trail{}, err
	case s.text == "":
		return trail{nil, io.NopCloser(nil)}, nil
	case s.text == "-" && stdout == nil:
		return trail{}, usagef("%s: - is for serve alone: standard output has what the command prints", s.from)
	case s.text == "-":
		return trail{audit.Slog(slog.New(slog.NewJSONHandler(stdout, nil)), nil), io.NopCloser(nil)}, nil
	}
	file, err := audit.OpenFile(s.text, nil)
	if err != nil {
		return trail{}, fileError(s.from, err)
	}
	return trail{file, file}, nil
}

// asOperator says in the audit who runs the tool.
func asOperator(ctx context.Context) context.Context {
	who := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	return keystore.WithActor(ctx, "cli:"+who)
}

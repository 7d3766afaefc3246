package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/socket"
)

// What a driver must offer for the two commands.
type (
	backupper interface{ Backup(w io.Writer) error }
	restorer  interface{ Restore(r io.Reader) error }
)

// errNoBackup is the answer for stores that have no backup of their own.
func errNoBackup() error {
	return usagef("this store has no backup of its own; use the tools of its server")
}

func (a *app) backup() *cobra.Command {
	cmd := a.command("backup FILE", "Write the store to a new file",
		`Writes the store, as it is at one moment, to a new file of mode 0600, complete or
not at all; with - to standard output. The backup is not encrypted.`,
		`  keystore backup keys.backup
  keystore backup - | age -r age1… >keys.backup.age`,
		oneArgument("a file, or - for standard output"), func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" {
				return a.backupToOutput(cmd)
			}
			return a.backupToFile(cmd, args[0])
		})
	cmd.ValidArgsFunction = nil // files
	return cmd
}

func (a *app) backupToOutput(cmd *cobra.Command) error {
	if isTerminal(a.out) {
		return usagef("a backup is not for a terminal: name a file, or redirect the output")
	}
	return a.writeBackup(cmd, &countingWriter{ctx: cmd.Context(), w: a.out, what: "standard output"})
}

func (a *app) backupToFile(cmd *cobra.Command, path string) error {
	f, err := newFile(path)
	if err != nil {
		return err
	}
	defer f.discard()
	out := &countingWriter{ctx: cmd.Context(), w: f, what: "backup file"}
	if err := a.writeBackup(cmd, out); err != nil {
		return err
	}
	if err := f.finish(); err != nil {
		return err
	}
	return a.printCount("bytes", out.n)
}

// writeBackup writes a backup of the store. A failure of the store is told from
// one of what it is written to.
func (a *app) writeBackup(cmd *cobra.Command, out *countingWriter) error {
	return a.withBackend(cmd, mustExist, func(ctx context.Context, b backend.Backend) error {
		from, ok := b.(backupper)
		if !ok {
			return errNoBackup()
		}
		stop := context.AfterFunc(ctx, func() { a.closeBackend(b) }) // ends a backup of which nothing comes
		defer stop()
		err := from.Backup(out)
		switch {
		case out.err != nil:
			return out.err
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return unavailableStore(err)
		}
		return nil
	})
}

// unavailableStore marks a failure of a backend like keystore does.
func unavailableStore(err error) error {
	return fmt.Errorf("%w: %w", keystore.ErrUnavailable, err)
}

// countingWriter counts, keeps its first error and stops when ctx ends.
type countingWriter struct {
	ctx  context.Context
	w    io.Writer
	what string
	n    int64
	err  error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if c.err == nil {
		c.err = c.ctx.Err()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil {
		c.err = fileError(c.what, err)
	}
	return n, c.err
}

func (a *app) restore() *cobra.Command {
	cmd := a.command("restore FILE", "Fill an empty store from a backup",
		`Fills an empty store from a backup; with - from standard input. A store that does
not exist is made. If it fails midway, the store stays closed to everything until
a restore has succeeded.`,
		`  keystore --store badger:///var/lib/keys restore keys.backup`,
		oneArgument("a file, or - for standard input"), func(cmd *cobra.Command, args []string) error {
			in, what := a.in, "standard input"
			if args[0] != "-" {
				f, err := os.Open(filepath.Clean(args[0]))
				if err != nil {
					return fileError("backup file", err)
				}
				defer f.Close()
				in, what = f, "backup file"
			} else if isTerminal(a.in) {
				return usagef("a backup is not typed: name a file, or redirect the input")
			}
			whole := &endingReader{ctx: cmd.Context(), r: in, what: what}
			if err := checkBackup(whole); err != nil {
				return err
			}
			return a.readBackup(cmd, whole)
		})
	cmd.ValidArgsFunction = nil // files
	return cmd
}

// checkBackup reads a backup before a store is made for it, and goes back to its
// start. What cannot go back is not read: Restore will find out.
func checkBackup(in *endingReader) error {
	again, ok := in.r.(io.Seeker)
	if !ok {
		return nil
	}
	start, err := again.Seek(0, io.SeekCurrent)
	if err != nil { // a pipe
		return nil
	}
	if err := badger.CheckBackup(in); err != nil {
		return &failure{status: statusFailed, text: errorText(err), cause: err}
	}
	if _, err := again.Seek(start, io.SeekStart); err != nil {
		return fileError(in.what, err)
	}
	return nil
}

func (a *app) readBackup(cmd *cobra.Command, in *endingReader) error {
	return a.withBackend(cmd, mayCreate, func(_ context.Context, b backend.Backend) error {
		into, ok := b.(restorer)
		switch {
		case socket.Served(b):
			return errServed()
		case !ok:
			return errNoBackup()
		}
		err := into.Restore(in)
		switch {
		case err == nil:
			return a.print(map[string]bool{"restored": true}, []field{{"restored", "true"}})
		case errors.Is(err, badger.ErrUnfinishedRestore), !errors.Is(err, badger.ErrNoSpace):
			return &failure{status: statusFailed, text: errorText(err), cause: err}
		}
		return unavailableStore(err)
	})
}

// endingReader stops when ctx ends, also while nothing comes.
type endingReader struct {
	ctx  context.Context
	r    io.Reader
	what string
}

func (e *endingReader) Read(p []byte) (int, error) {
	type result struct {
		read []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		own := make([]byte, len(p)) // p is the caller's again when ctx ends
		n, err := e.r.Read(own)
		done <- result{own[:n], err}
	}()
	select {
	case <-e.ctx.Done():
		return 0, e.ctx.Err()
	case r := <-done:
		if err := e.ctx.Err(); err != nil { // both at once
			return 0, err
		}
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			r.err = fileError(e.what, r.err)
		}
		return copy(p, r.read), r.err
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"example.com/keystore"
)

// maxLine is far more than an event takes, in bytes.
const maxLine = 64 << 10

// ErrLine is in the errors of Read for a line that is no event: one that a crash
// has cut off, or something else's.
var ErrLine = errors.New("not an event")

// Read yields the events of a file of JSON lines, from the first line to the last.
// A line that is none, or longer than 64 KiB, is an error that is ErrLine and names
// its number; Read goes on behind it. An error of r is the last that it yields.
// Fields that are not known are passed over.
func Read(r io.Reader) iter.Seq2[keystore.Event, error] {
	return func(yield func(keystore.Event, error) bool) {
		from := bufio.NewReaderSize(r, maxLine)
		for number := 1; ; number++ {
			line, long, err := readLine(from)
			if err != nil && err != io.EOF {
				yield(keystore.Event{}, fmt.Errorf("audit: line %d: %w", number, err))
				return
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				e, bad := parseLine(line, long)
				if bad != nil {
					bad = fmt.Errorf("audit: line %d is %w", number, bad)
				}
				if !yield(e, bad) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// readLine returns the next line, as much of it as the buffer holds. It is good
// until the next call.
func readLine(from *bufio.Reader) (line []byte, long bool, err error) {
	line, err = from.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, false, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = from.ReadSlice('\n')
	}
	return []byte("…"), true, err
}

func parseLine(line []byte, long bool) (e keystore.Event, err error) {
	if long {
		return e, fmt.Errorf("%w: longer than %d bytes", ErrLine, maxLine)
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return keystore.Event{}, fmt.Errorf("%w: %w", ErrLine, err)
	}
	if e.Action == "" {
		return keystore.Event{}, fmt.Errorf("%w: it has no action", ErrLine)
	}
	return e, nil
}

package badger

import (
	"fmt"

	badgerdb "github.com/dgraph-io/badger/v4"
)

// defaultReserve covers what Badger may write into memory-mapped files between
// one check and the next, each with its bound from the options in upstream: the
// log of the changes under way (256 locks of 66 KiB and a memtable: 26 MiB),
// the tables of three memtables being flushed (24 MiB), and two compactions
// before they delete what they replace (level zero with the next, 42 MiB; a
// table with ten below it, 22 MiB). In all 114 MiB; 99 were used at worst when
// 256 writers of 64 KiB filled 1 GiB. In larger stores tables grow with the
// level, and compactions with them.
const defaultReserve = 128 << 20

// share is how much of the reserve must be free for a write.
type share int64

const (
	// fullReserve is for what grows the store, and for spends, of which there is no
	// end: they would use up what deletions need.
	fullReserve share = 1
	// halfReserve is for deletions. They write to the log as well, so they are
	// not free of the danger; but they are how a store gets smaller, and writes
	// that the driver admits leave them the second half.
	halfReserve share = 2
)

// space guards the free space of the file systems that hold a database.
type space struct {
	dirs    []string // none: nothing to guard
	reserve int64    // bytes; negative: no guard
}

func spaceOf(db *badgerdb.DB, reserve int64) space {
	o := db.Opts()
	switch {
	case o.InMemory:
		return space{}
	case o.ValueDir != o.Dir:
		return space{[]string{o.Dir, o.ValueDir}, reserve}
	}
	return space{[]string{o.Dir}, reserve}
}

// check returns ErrNoSpace if less than the share of the reserve is free.
func (s space) check(part share) error {
	if s.reserve < 0 {
		return nil
	}
	want := s.reserve / int64(part)
	for _, dir := range s.dirs {
		free, err := freeSpace(dir)
		if err != nil {
			return fmt.Errorf("badger: cannot tell how much disk space is free: %w", err)
		}
		if free < want {
			return fmt.Errorf("%w: %d KiB are free, %d KiB are kept back", ErrNoSpace, free>>10, want>>10)
		}
	}
	return nil
}

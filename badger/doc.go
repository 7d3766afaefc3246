// Package badger keeps keys in a folder on the local disk, inside the process,
// with the Badger database (github.com/dgraph-io/badger/v4).
//
// [Open] opens a folder of its own; [New] shares a database that the program
// has open already. Importing the package registers the URL scheme "badger":
//
//	badger:///var/lib/keys                         the folder /var/lib/keys
//	badger:///var/lib/keys?sync=0                  see Options.NoSync
//	badger:///var/lib/keys?create=0                see Options.NoCreate
//	badger:///var/lib/keys?accept_damage=1         see Options.AcceptDamage
//	badger:///var/lib/keys?encryption_key_file=/run/secrets/key
//	badger://?memory=1                             see Options.InMemory
//
// # Durability
//
// A change is acknowledged after its log is synced (msync). It then survives
// the end of the process, kill -9 included, which the tests of this package
// exercise. It should survive a power failure on Linux where the disk is honest
// about flushing; that cannot be tested here. On macOS it may not: Badger does
// not issue F_FULLFSYNC (https://github.com/orgs/dgraph-io/discussions/9768).
//
// # One process
//
// One process at a time holds the folder; a second gets a [LockedError] at
// once. The lock goes with the process, however that ends. It is a flock, so
// do not put the folder on NFS or another network file system. Within a
// process, open the folder once and share the handle.
//
// # Room
//
// Badger writes through memory-mapped files, so a disk that fills up does not
// fail a write but ends the process with SIGBUS. The driver therefore keeps a
// reserve of free space and refuses to write below it, with [ErrNoSpace]; see
// Options.Reserve. Writes work again as soon as there is room. Spends are refused
// with what grows the store: they come by the thousand a second, and would use up
// what Delete and Purge need. So a full disk stops lookups of keys with limits,
// unless LimitFailure of keystore.Options says that they pass.
//
// What it cannot hold back is Badger's own work in the background: if other
// programs use up the reserve while Badger compacts or closes, the process ends. Give the
// folder a file system of its own, or watch the disk. The reserve is kept on
// Linux, macOS and FreeBSD only, and does not know of quotas.
//
// # Damage
//
// Before Badger opens a folder, the driver reads its logs and its list of tables,
// because Badger drops what it cannot read there without a word: behind one
// flipped bit in a log that may be thousands of synced changes, revocations
// among them. It also reads every table, because Badger ends the process over
// one that is damaged; that takes about a second per GB where
// the files are in the page cache. Where more is
// lost than a crash can explain, Open returns [ErrDamaged] and changes nothing.
// In a store that is written with Options.NoSync, which has a file UNSYNCED in its
// folder, such a loss is a warning. (A database that a program shares by New and
// writes without SyncWrites has no such file: after a power failure, opening it
// with Open may take Options.AcceptDamage.)
//
// Where the very end of a file was cut off, a change that a crash interrupted
// looks like one that was damaged, and a warning goes to Options.Logger.
//
// All this is found when a store is opened, not later. If a table is damaged while the
// store is open, Badger (v4.9.6, level_handler.go, get) passes over the block in
// silence: what is in it is taken for absent, or is an older state if another table
// has one, and what was spent of limits can be spent again. Whole files that are
// gone, other than tables and the MANIFEST, are not missed; nor is a log that was
// cut at the end of a transaction and put back to its full length with zeros.
//
// # Deadlines
//
// A call returns when its context ends, even if the disk hangs. A write that
// was under way by then goes on in the background: its outcome is unknown, as
// its error says. What cannot be interrupted is a read that waits for the disk
// itself, and [Backend.Close], which waits for writes under way and for Badger:
// that retries for ever where the folder was deleted or its disk fails.
//
// # Limits and usage
//
// What is spent of the limits of a key, and how much was used, lie beside the
// records (see [backend.Counter] and [backend.Meter]) and are as durable: a spend
// is acknowledged after it is synced, unless Options.NoSync says otherwise, and
// kill -9 neither gives it back nor makes a part of it. Spends that wait together
// share one transaction and one sync, those of one key as those of many: it is the
// number of callers that makes a synced store fast.
//
// A spend rewrites the counts of its key, some 600 bytes for two limits, 512 of them
// being the ids of the last 64 spends. They stay out of the value log. Badger drops
// what was overwritten as it compacts, so that the folder does not grow with the
// number of spends: a million of one key, 600 MB in all, kept 38 MB on the disk at
// most. In a database of your own, given to [New], keep ValueThreshold above 2 KiB.
//
// Counts that are damaged, or of a newer version, are an error of every spend and of
// Counts, never a pass, until ResetCounts does away with them; PurgeCounts passes
// over them. A tally that is damaged is an error of Usage; the next addition begins
// it anew, and the logger is told. One of a newer version stays as it is, and an
// addition to it is [backend.ErrDamagedTally].
//
// A backup holds counts and tallies too. Restoring it brings back what was spent by
// then: what was spent since can be spent again.
//
// # Format
//
// Every key of the database begins with Options.Namespace and one letter; times are
// 8 bytes, big-endian, Unix milliseconds with the sign bit flipped, 0 being never:
//
//	r id                               record: the envelope of package internal/envelope
//	o length of owner (2), owner, id   index by owner
//	p time, id                         index of records by purge time
//	c id                               counts: what is spent of the limits of a key
//	e time, id                         index of counts, by a time that is not after the end of their last window
//	u subject, 0, day (4)              tally: how much a subject used on a day, counted from 1970-01-01 on
//	v time, subject, 0, day            index of tallies by purge time
//	x                                  there while a Restore is not finished
//
// Counts and tallies begin with their version and end with a CRC-32C; counts.go and
// tally.go have their forms. Version 1 of all of them decodes for ever.
//
// # Encryption
//
// With an encryption key Badger encrypts its files with AES in counter mode.
// That keeps them confidential; it does not authenticate them, so it detects no
// tampering. Backups are not encrypted.
package badger

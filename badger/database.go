package badger

import badgerdb "github.com/dgraph-io/badger/v4"

// DatabaseOptions returns the options with which [Open] opens the database in
// dir, for programs that open it themselves to share it by [New].
func DatabaseOptions(dir string, o *Options) (badgerdb.Options, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return badgerdb.Options{}, err
	}
	return opts.upstream(dir), nil
}

package mongo

// MaxChanges is how many changes at once a watcher can follow.
const MaxChanges = maxChanges

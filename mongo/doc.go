// Package mongo keeps keys in a collection of MongoDB, where many machines share
// them, through its driver go.mongodb.org/mongo-driver/v2.
//
// [New] uses a collection of a client that the program has. Importing the package
// registers URL schemes:
//
//	mongodb://user:password@host1,host2,host3/database?replicaSet=rs0
//	mongodb+srv://user:password@cluster.example.com/database
//
// Parameters, beside those of a connection string:
//
//	collection=keys    the collection, default "keys"
//	linearizable=1     see Options.Linearizable
//
// The database is "keystore" if none is named. docs/mongo.md has the whole table,
// the rights that a user needs, and the format of the documents.
//
// # Atomicity
//
// A record is one document. Each change is one update of it by _id and revision,
// so that nothing is needed that only some servers have: no transactions, no TTL
// indexes, no change streams, no collations, no repeatable writes, no pipelines.
//
// # Durability and consistency
//
// Whatever the collection is set to, changes are acknowledged when a majority of
// the replica set has them in its journals, and survive as long as a majority
// does. Reads go to the primary and show what a majority has: never what may be
// undone, but, from a primary that does not know yet that it is none any more,
// what was true some seconds ago. Options.Linearizable excludes that for Get.
//
// # Failures
//
// A call returns when its context ends, even if the server is silent. A write is
// sent once, or again if it certainly had no effect. A failure that certainly had
// none is [backend.ErrNotApplied]; an outcome that is not known is none of the
// errors of package backend.
//
// # Limits and usage
//
// What is spent of a key's limits is one document in a collection beside the keys
// ("keys.counts"), how much a subject used on a day one in another ("keys.usage").
// A spend is one conditional findAndModify, so that a window never admits more than
// it says, also amid a failover. The timestamps in it are those of the servers'
// logical clock; no clock of a client or server decides what is counted.
//
// # Deleted keys
//
// Delete and Purge leave tombstones for ten minutes, without owner and data, by
// which [Backend.Watch] knows of them. Later calls of either remove them.
package mongo

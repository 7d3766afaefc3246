// Package redis keeps keys in Redis, where many machines share them, through the
// client go-redis (github.com/redis/go-redis/v9).
//
// [New] uses a client that the program has. Importing the package registers URL
// schemes:
//
//	redis://user:password@host:6379/0                     one server, database 0
//	redis+cluster://user:password@host1:6379,host2:6379   a Redis Cluster: some of its nodes
//	redis+sentinel://user:password@host1:26379,host2:26379/mymaster/0
//	                                                      Sentinel: sentinels, the master's name, the database
//
// With rediss in place of redis, connections are encrypted with TLS. Parameters,
// beside those of go-redis:
//
//	namespace=keystore                     see Options.Namespace
//	tls_ca_file=/path                      authorities that signed the servers' certificates, PEM
//	tls_cert_file=/path&tls_key_file=/path certificate and key of this client, PEM
//	tls_server_name=name                   what the servers' certificates must be for, if not the host
//	sentinel_username=u&sentinel_password=p  of the sentinels; the user of the URL is that of the Redis servers
//
// docs/redis.md has the whole table, the permissions that a user needs, and the
// format of what is stored.
//
// # Durability
//
// An acknowledged change is as durable as the server makes it: without an
// append-only file, or in a failover, it may be undone, and a key that was revoked
// is then valid again. Opening by URL logs what should be set on the server;
// [Backend.Warnings] returns it.
//
// # Atomicity
//
// A store is spread over 64 hash slots. Each change of a record is one script that
// changes the record and its index entries together, or nothing. The commands are
// those of Redis 6.2.
//
// # Deadlines and lost replies
//
// A call returns when its context ends, even if the server is silent; of a context
// that is cancelled, and not one whose deadline passes, a lookup or the first
// attempt of a write notice it up to half a second later. The client
// should have ContextTimeoutEnabled set, or lookups take twice as long.
//
// When many lookups are under way they are sent together, in pipelines. Each is
// still a command of its own that ends with its caller's context.
//
// A write that got no reply is sent again if that is harmless, for about a second.
// If its outcome stays unknown the error is none of those of package backend, and
// if it certainly had no effect the error is [backend.ErrNotApplied].
package redis

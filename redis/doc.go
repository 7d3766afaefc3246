// Package redis keeps keys in Redis, where many machines share them, with the
// client go-redis (github.com/redis/go-redis/v9).
//
// [New] uses a client that the program has; importing the package registers URL
// schemes:
//
//	redis://user:password@host:6379/0                        one server
//	redis+cluster://user:password@host1:6379,host2:6379      a Redis Cluster; some of its nodes
//	redis+sentinel://user:password@host1:26379,host2:26379/mymaster/0
//
// With rediss instead of redis the connections are encrypted with TLS. Parameters
// of this package:
//
//	namespace=keystore             see Options.Namespace
//	tls_ca_file=/path              authorities that certificates of servers are signed by, PEM
//	tls_cert_file=/path            certificate of this client, PEM
//	tls_key_file=/path             its key, PEM
//	tls_server_name=name           what certificates of servers must be for, if not the host
package redis

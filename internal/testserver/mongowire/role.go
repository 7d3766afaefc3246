package mongowire

import "go.mongodb.org/mongo-driver/v2/bson"

// Role is what the server says of itself in its answer to hello.
type Role int32

// Drivers repeat writes that got no reply, with the same txnNumber, to a Primary and
// to a Mongos only.
const (
	Standalone Role = iota
	Primary         // the only member of the replica set rs0
	Mongos          // a router of a sharded cluster
	// SteppedDown is a member of rs0 that was its primary: hello says secondary, writes are
	// refused with NotWritablePrimary, and reads unless their read preference lets a
	// secondary answer. The handler does not see what is refused.
	SteppedDown
)

const setName = "rs0"

// SetRole changes the role, which drivers learn from their next hello. Connections
// stay open, as they do when a real primary steps down.
func (s *Server) SetRole(r Role) {
	if r == Primary {
		s.election.Add(1)
	}
	s.role.Store(int32(r))
}

func isHello(name string) bool {
	return name == "hello" || name == "isMaster" || name == "ismaster"
}

// hello answers hello and its older names, which have the same fields. There is
// no topologyVersion: drivers then poll and do not ask the server to stream.
func (s *Server) hello() Reply {
	role := Role(s.role.Load())
	primary := role != SteppedDown
	doc := bson.D{
		{Key: "helloOk", Value: true},
		{Key: "isWritablePrimary", Value: primary},
		{Key: "ismaster", Value: primary},
		{Key: "maxBsonObjectSize", Value: int32(maxDocumentLen)},
		{Key: "maxMessageSizeBytes", Value: int32(maxMessageLen)},
		{Key: "maxWriteBatchSize", Value: int32(100_000)},
		{Key: "localTime", Value: s.now()},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)},
		{Key: "minWireVersion", Value: int32(0)},
		{Key: "maxWireVersion", Value: int32(25)}, // MongoDB 8.0
		{Key: "readOnly", Value: false},
	}
	switch role {
	case Primary, SteppedDown:
		doc = append(doc,
			bson.E{Key: "setName", Value: setName},
			bson.E{Key: "setVersion", Value: int32(1)},
			bson.E{Key: "secondary", Value: !primary},
			bson.E{Key: "hosts", Value: bson.A{s.Addr()}},
			bson.E{Key: "me", Value: s.Addr()},
		)
		if primary {
			var election bson.ObjectID
			election[11] = byte(s.election.Load())
			doc = append(doc, bson.E{Key: "primary", Value: s.Addr()}, bson.E{Key: "electionId", Value: election})
		}
	case Mongos:
		doc = append(doc, bson.E{Key: "msg", Value: "isdbgrid"})
	}
	return OK(doc...)
}

// refuse answers commands that the role forbids.
func (s *Server) refuse(cmd Command) (Reply, bool) {
	switch Role(s.role.Load()) {
	case Standalone:
		if _, has := cmd.TxnNumber(); has {
			return Error(20, "Transaction numbers are only allowed on a replica set member or mongos"), true
		}
	case SteppedDown:
		if cmd.Writes() {
			return NotPrimary(cmd), true
		}
		mode, _ := cmd.Body.Lookup("$readPreference", "mode").StringValueOK()
		if cmd.Reads() && (mode == "" || mode == "primary") {
			return Error(13435, "not primary and secondaryOk=false"), true
		}
	}
	return Reply{}, false
}

package inspect

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"

	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"
)

// manifest returns what the MANIFEST says last of every table that it names. For
// one that cannot be read it is nil: Badger reports it.
//
// The file is 8 bytes and then records: a length and a CRC-32C, 4 bytes each, and
// that many bytes of protobuf.
func (r *Report) manifest(path string) (listed map[uint64]*pb.ManifestChange, err error) {
	const magic, head = 8, 8
	listed = make(map[uint64]*pb.ManifestChange)
	file, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) { // as before the first opening was through
		return listed, nil
	}
	if err != nil || len(file) < magic {
		return nil, err
	}
	rest := file[magic:]
	for len(rest) >= head {
		length := binary.BigEndian.Uint32(rest)
		if uint64(length) > uint64(len(rest)-head) {
			break
		}
		body := rest[head : head+length]
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(rest[4:]) {
			return nil, nil
		}
		var set pb.ManifestChangeSet
		if err := proto.Unmarshal(body, &set); err != nil {
			return nil, nil
		}
		for _, change := range set.Changes {
			listed[change.Id] = change
		}
		rest = rest[head+length:]
	}
	if len(rest) > 0 {
		r.warn("the end of the MANIFEST is cut off: a record that a crash interrupted, or damage")
	}
	return listed, nil
}

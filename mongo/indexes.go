package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// The indexes that the queries of this package need. Without them every query
// but one by _id reads the whole collection.
var (
	indexes = []bson.D{
		doc(fieldOwner, int32(1), fieldID, int32(1)),
		doc(fieldPurgeAt, int32(1)),
		doc(fieldChanged, int32(1)),
	}
	indexesBeside = []bson.D{ // of the collections beside the keys
		doc(fieldPurgeAt, int32(1)),
	}
)

// EnsureIndexes makes the collections and their indexes where they are missing. An
// index that is there already is taken, whatever its name. A collection or an
// index that the store cannot work with is an error that says what to do.
// Opening by URL calls it; after New it is for the program to call, once, since
// making indexes of a large collection takes long. Without the right to make
// indexes it succeeds if they are in place.
func (b *Backend) EnsureIndexes(ctx context.Context) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	err = b.ensureCollection(ctx, b.keys, indexes)
	if err == nil {
		err = beside(countsSuffix, b.ensureCollection(ctx, b.counts, indexesBeside))
	}
	if err == nil {
		err = beside(usageSuffix, b.ensureCollection(ctx, b.usage, indexesBeside))
	}
	return b.readAnswer(err)
}

// beside says of which collection err is, without its name.
func beside(suffix string, err error) error {
	var found finding
	if errors.As(err, &found) {
		return finding("in the collection that ends in " + suffix + ": " + string(found))
	}
	return err
}

func (b *Backend) ensureCollection(ctx context.Context, coll *mongo.Collection, wanted []bson.D) error {
	if err := b.checkCollection(ctx, coll); err != nil {
		return err
	}
	there, err := listIndexes(ctx, coll)
	readable := !hasCode(err, codeUnauthorized)
	if err != nil && readable {
		return err
	}
	missing, err := missingIndexes(there, wanted)
	if err != nil || len(missing) == 0 {
		return err
	}
	err = b.createIndexes(ctx, coll, missing)
	if err == nil {
		return nil
	}
	if !readable && hasCode(err, codeUnauthorized) {
		b.log.Warn("the user may neither list nor make indexes: whether those of docs/mongo.md are there is not known")
		return nil
	}
	// Another process may have made them at the same time, perhaps by other names.
	there, listErr := listIndexes(ctx, coll)
	if listErr != nil {
		return err
	}
	if missing, foundErr := missingIndexes(there, wanted); foundErr != nil || len(missing) == 0 {
		return foundErr
	}
	if hasCode(err, codeUnauthorized) {
		return finding("the user may not make indexes, and " + describeKeys(missing) + " are missing; make them, or allow createIndexes")
	}
	return err
}

// index is what listIndexes tells of one.
type index struct {
	Name     string        `bson:"name"`
	Key      bson.D        `bson:"key"`
	Unique   bool          `bson:"unique"`
	Hidden   bool          `bson:"hidden"`
	Expire   bson.RawValue `bson:"expireAfterSeconds"`
	Partial  bson.Raw      `bson:"partialFilterExpression"`
	Collated bson.Raw      `bson:"collation"`
}

func listIndexes(ctx context.Context, coll *mongo.Collection) ([]index, error) {
	cursor, err := coll.Indexes().List(ctx)
	if hasCode(err, codeNamespaceNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mongo: listing indexes: %w", err)
	}
	var all []index
	if err := cursor.All(ctx, &all); err != nil {
		return nil, fmt.Errorf("mongo: listing indexes: %w", err)
	}
	return all, nil
}

// missingIndexes returns the keys of those that are not there. It is an error if
// there are others that delete or refuse documents, or stand where ours belong.
func missingIndexes(there []index, wanted []bson.D) ([]bson.D, error) {
	missing := slices.Clone(wanted)
	for _, i := range there {
		keyed := func(field string) bool {
			return slices.ContainsFunc(i.Key, func(e bson.E) bool { return e.Key == field })
		}
		at := slices.IndexFunc(missing, func(key bson.D) bool { return sameKeys(key, i.Key) })
		switch {
		case i.Expire.Type != 0:
			return nil, finding(fmt.Sprintf("index %q would delete documents by the server's clock (expireAfterSeconds); drop it", i.Name))
		case i.Unique && !keyed(fieldID):
			return nil, finding(fmt.Sprintf("index %q is unique and would refuse documents; drop it", i.Name))
		case at < 0:
		case i.Partial != nil || i.Hidden || !simple(i.Collated):
			return nil, finding(fmt.Sprintf("index %q has the keys of one that is needed, but is partial, hidden or has a collation; drop it, so that it can be made anew", i.Name))
		default:
			missing = slices.Delete(missing, at, at+1)
		}
	}
	return missing, nil
}

// sameKeys compares by name and order. Servers tell 1 as numbers of any kind.
func sameKeys(a, b bson.D) bool {
	return slices.EqualFunc(a, b, func(x, y bson.E) bool {
		return x.Key == y.Key && fmt.Sprint(x.Value) == fmt.Sprint(y.Value)
	})
}

func simple(collation bson.Raw) bool {
	if collation == nil {
		return true
	}
	locale, ok := collation.Lookup("locale").StringValueOK()
	return ok && locale == "simple"
}

func indexName(key bson.D) string {
	var parts []string
	for _, e := range key {
		parts = append(parts, fmt.Sprint(e.Key, "_", e.Value))
	}
	return strings.Join(parts, "_")
}

func describeKeys(keys []bson.D) string {
	var all []string
	for _, key := range keys {
		var fields []string
		for _, e := range key {
			fields = append(fields, fmt.Sprintf("%s: %v", e.Key, e.Value))
		}
		all = append(all, "{"+strings.Join(fields, ", ")+"}")
	}
	return strings.Join(all, " and ")
}

func (b *Backend) createIndexes(ctx context.Context, coll *mongo.Collection, keys []bson.D) error {
	wanted := make([]bson.D, len(keys))
	for i, key := range keys {
		wanted[i] = doc("key", key, "name", indexName(key))
	}
	err := b.keys.Database().RunCommand(ctx, doc("createIndexes", coll.Name(), "indexes", wanted)).Err()
	if err != nil {
		return fmt.Errorf("mongo: making indexes: %w", err)
	}
	return nil
}

// checkCollection refuses a collection that compares strings by a collation, as
// ids that differ in case would then be one, and others that a store cannot live
// in. What the user may not see is taken to be in order.
func (b *Backend) checkCollection(ctx context.Context, coll *mongo.Collection) error {
	var reply struct {
		Cursor struct {
			FirstBatch []struct {
				Type    string `bson:"type"`
				Options struct {
					Capped     bool     `bson:"capped"`
					Collation  bson.Raw `bson:"collation"`
					TimeSeries bson.Raw `bson:"timeseries"`
				} `bson:"options"`
			} `bson:"firstBatch"`
		} `bson:"cursor"`
	}
	err := b.keys.Database().RunCommand(ctx, doc("listCollections", 1, "filter", doc("name", coll.Name()))).Decode(&reply)
	if hasCode(err, codeUnauthorized) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mongo: looking at the collection: %w", err)
	}
	for _, c := range reply.Cursor.FirstBatch {
		switch {
		case c.Type != "" && c.Type != "collection":
			return finding("what has the name of the collection is a " + c.Type + "; name another one")
		case c.Options.Capped:
			return finding("the collection is capped and would forget documents; name another one")
		case c.Options.TimeSeries != nil:
			return finding("the collection is one of time series; name another one")
		case !simple(c.Options.Collation):
			return finding("the collection has a collation, by which different ids may be equal; name one without")
		}
	}
	return nil
}

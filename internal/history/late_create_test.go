package history

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// TestALateCreateBringsADeletedKeyBack: a first attempt at Create that is still
// under way when the second one has succeeded, and arrives after a Delete, makes
// the key anew, and its token works. By the contract of backends nothing
// remembers a deleted id; a revoked key is not brought back. The judge sees it,
// which is why the histories keep it from happening: see network.settle.
func TestALateCreateBringsADeletedKeyBack(t *testing.T) {
	var net network
	store := faulty.New(memory.New(), faulty.Nth(1, faulty.Create, net.births.Delay(errLost)))
	clock, h := newManualClock(), newRecord()
	cl := &client{ks: newKeystore(t, store, clock, false), clock: clock, owner: "owner", record: h}
	defer cl.ks.Close()

	c := cl.on(opGenerate, "")
	c.owner, c.number = cl.owner, h.number()
	began := h.begin()
	token, key, err := cl.ks.Generate(t.Context(), keystore.KeyParams{Owner: cl.owner})
	require.NoError(t, err)
	c.id = key.ID
	h.add(0, began, c, answer{verdict: done, view: viewOf(key)})

	began = h.begin()
	require.NoError(t, cl.ks.Delete(t.Context(), key.ID))
	h.remove(0, began, cl.on(opDelete, key.ID), answer{verdict: done})
	known := issued{id: key.ID, text: token.Reveal(), number: c.number}
	cl.present(t.Context(), known)
	require.Equal(t, porcupine.Ok, historyRules.check(h.history()))

	require.Equal(t, 1, net.births.Deliver())
	cl.present(t.Context(), known)
	require.Equal(t, porcupine.Illegal, historyRules.check(h.history()))
}

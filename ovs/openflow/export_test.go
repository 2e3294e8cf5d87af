package openflow

import "github.com/sluice-cni/sluice/flows"

// AddMessage is the flow mod that puts a flow in.
func AddMessage(xid uint32, f flows.Flow) ([]byte, error) {
	var e encoder
	e.addFlow(xid, f)
	return e.b, e.err
}

// GroupMessage is the group mod that puts a group in.
func GroupMessage(g flows.Group) ([]byte, error) {
	var e encoder
	e.groupMod(1, groupPut, allBuckets, g)
	return e.b, e.err
}

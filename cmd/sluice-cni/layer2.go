package main

import (
	"encoding/json"
	"fmt"

	"github.com/sluice-cni/sluice/cni/wire"
)

// layer2 tells whether the configuration is of a second network.
func (id identity) layer2() bool { return id.Bridge != "" || id.Device != "" }

// addLayer2 is ADD on a second network whose addresses an IPAM plugin gives. The plugin runs
// when the interface is there, as dhcp asks a server by it.
func addLayer2(req *wire.Request, id identity, v verb) (json.RawMessage, *wire.Error) {
	req.Prepare = true
	if _, err := askAgent(req, id, v); err != nil {
		return nil, err
	}
	req.Prepare = false
	config := []byte(req.Config)
	given, err := delegate(id.IPAM.Type, config)
	if err != nil {
		return nil, undone(err, unplug(req, id))
	}
	req.IPAM = given
	result, err := askAgent(req, id, v)
	if err != nil {
		_, back := delegate(id.IPAM.Type, config, "CNI_COMMAND=DEL")
		return nil, undone(undone(err, back), unplug(req, id))
	}
	return result, nil
}

// delLayer2 gives the address back while there is an interface by which dhcp can say so.
func delLayer2(req *wire.Request, id identity, v verb) (json.RawMessage, *wire.Error) {
	_, given := delegate(id.IPAM.Type, []byte(req.Config))
	if _, err := askAgent(req, id, v); err != nil {
		return nil, err
	}
	return nil, given
}

// unplug is the DEL of an ADD that has failed.
func unplug(req *wire.Request, id identity) *wire.Error {
	v := verbs[wire.Del]
	del := *req
	del.Command, del.IPAM, del.TimeoutMS = wire.Del, nil, v.patience.Milliseconds()
	_, err := askAgent(&del, id, v)
	return err
}

// undone adds to an error what could not be taken back.
func undone(err, undo *wire.Error) *wire.Error {
	if undo != nil {
		err.Details += fmt.Sprintf(" (and not all is taken back before DEL: %s)", undo.Msg)
	}
	return err
}

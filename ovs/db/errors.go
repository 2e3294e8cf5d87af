package db

import "errors"

// Errors that callers may ask for with errors.Is.
var (
	// ErrNoBridge means that the bridge is not in the database.
	ErrNoBridge = errors.New("the bridge does not exist: create it first (EnsureBridge, or `ovs-vsctl add-br`)")
	// ErrNoPort means that the port is not in the database, or no longer.
	ErrNoPort = errors.New("the port does not exist")
	// ErrExists means that the name is taken by a port of this or another
	// bridge: names are unique in one Open vSwitch.
	ErrExists = errors.New("a port of that name exists already")
	// ErrPortFailed means that ovs-vswitchd could not open the port's device;
	// the text of the error has its reason.
	ErrPortFailed = errors.New("ovs-vswitchd cannot use the port")
	// ErrNotConnected means that ovsdb-server could not be reached and that
	// nothing was written.
	ErrNotConnected = errors.New("not connected to ovsdb-server: is it running? (`systemctl status openvswitch-switch`)")
	// ErrUnknownOutcome means that the connection or the time ended while a
	// transaction was under way: it may have been committed or not.
	ErrUnknownOutcome = errors.New("no answer from ovsdb-server: whether the change was made is not known")
)

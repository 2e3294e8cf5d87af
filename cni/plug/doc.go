// Package plug is the cable: a veth whose one end is a port of the bridge and whose
// other end is a container's interface.
//
// [Create] makes it, [Cable.Label] says whose it is, [Cable.Configure] sets addresses, routes and neighbours in the
// container, [Cable.Rollback] and [Remove] take it away, [Inspect] tells what is
// there, [HostEnds] finds what was left behind. Nothing runs a process or waits for
// Open vSwitch.
//
// "The host" is the network namespace of the calling thread: no function moves it to
// another. What has to be done in the container goes through netlink sockets opened
// there; only sysctls and ioctls need a thread inside, which is a goroutine of its
// own, locked to it, that ends before the function returns.
package plug

// Package host makes the node's own network stack hold what render.HostSide says:
// the gateway device, its addresses, neighbours and routes, sysctls, and the
// nftables table "sluice". It looks at what is there and changes what differs;
// devices, routes and rules of others are left alone.
package host

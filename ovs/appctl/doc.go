// Package appctl sends commands to a running ovs-vswitchd or ovsdb-server, as
// ovs-appctl(8) does, without a process for each: JSON-RPC 1.0 on the daemon's
// unixctl socket. What the commands are, and the text that they answer, is the
// daemon's affair: see ovs-vswitchd(8), "RUNTIME MANAGEMENT COMMANDS".
package appctl

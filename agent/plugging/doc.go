// Package plugging is the agent's half of the CNI contract: it makes cables and takes
// them away. It changes what there is (the veth, the row of OVSDB, which is the lease
// of its addresses) and asks the rest of the agent for a pass, which installs the flows.
//
// What is attached is in OVSDB; attachments.go is what is known of it, and what is
// under way. Start at Plugger.Serve (plugger.go), then add.go and del.go; collect.go is
// what happens without being asked.
package plugging

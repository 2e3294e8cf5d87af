// Package discovery answers for the virtual router where flows cannot: IPv6 neighbour
// solicitations (RFC 4861). Of the switch's datapaths only the one in userspace can
// rewrite a solicitation into an advertisement, so a flow sends what asks for the router to
// the agent, and the answer goes back by the port that it came from.
//
// Pods and hosts have a permanent neighbour entry and rarely ask; no traffic waits for an
// agent. How many packets the switch sends is limited by its meter for controllers.
//
// Start reading at [Responder.Run]; [Answer] is the protocol, and pure.
package discovery

package wire

import (
	"encoding/json"
	"time"
)

// DefaultSocket is where the agent listens unless the network configuration's
// "socket" says otherwise.
const DefaultSocket = "/run/sluice/cni.sock"

// The verbs of the CNI specification, section 2 (CNI_COMMAND). VERSION is
// answered by the executable and never sent.
const (
	Add    = "ADD"
	Del    = "DEL"
	Check  = "CHECK"
	Status = "STATUS"
	GC     = "GC"
)

// Request is one run of the executable: the CNI_ variables and standard input
// (CNI specification, section 2).
type Request struct {
	// Command is CNI_COMMAND, one of the verbs above.
	Command string `json:"command"`
	// ContainerID, NetNS, IfName, Args and Path are CNI_CONTAINERID, CNI_NETNS,
	// CNI_IFNAME, CNI_ARGS and CNI_PATH as the runtime gave them: unchecked, and
	// empty where the verb has none.
	ContainerID string `json:"containerID,omitempty"`
	NetNS       string `json:"netns,omitempty"`
	IfName      string `json:"ifName,omitempty"`
	Args        string `json:"args,omitempty"`
	Path        string `json:"path,omitempty"`
	// Config is standard input: valid JSON, otherwise unchecked.
	Config json.RawMessage `json:"config,omitempty"`
	// IPAM is the result of the IPAM plugin that the configuration names, which the
	// executable has run; only ADD has it, and only where there is such a plugin.
	IPAM json.RawMessage `json:"ipam,omitempty"`
	// Prepare makes an ADD of a second network plug the cable in and no more: the
	// executable then runs the IPAM plugin, which may need the cable (dhcp does), and asks
	// for the rest by an ADD with its result.
	Prepare bool `json:"prepare,omitempty"`
	// TimeoutMS is how many milliseconds the client will wait for the response,
	// counted from when it was sent; 0 if it does not say.
	TimeoutMS int64 `json:"timeoutMS,omitempty"`
	// Client is the executable's version, for logs: during an upgrade it is not
	// the agent's.
	Client string `json:"client,omitempty"`
	// Receipt asks for a response that says Received if the answer is not there within
	// [ReceiptAfter].
	Receipt bool `json:"receipt,omitempty"`
}

const (
	// ReceiptAfter is when an agent says that it is at work on a request.
	ReceiptAfter = 500 * time.Millisecond
	// ReceiptWithin is how long a client waits for a first word, the answer or the
	// receipt: an agent that gives none hangs, and is not waited for. It is less than the
	// 2 s after which some callers give up, so that they are told why.
	ReceiptWithin = 1500 * time.Millisecond
)

// Timeout is TimeoutMS as a duration, 0 if the client does not say.
func (r *Request) Timeout() time.Duration {
	return time.Duration(max(r.TimeoutMS, 0)) * time.Millisecond
}

// Collected is the result of GC, for the executable: the attachments that have ended
// without another IPAM plugin's having been told. Each is owed until a DEL of it.
type Collected struct {
	Attachments []Attachment `json:"attachments,omitempty"`
}

// Attachment names one within a network.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
}

// Response is the agent's answer. Error is nil if the verb succeeded; Result is
// what the executable prints then, and empty for verbs that print nothing.
type Response struct {
	// Received is all that a receipt says: the answer is still to come.
	Received bool            `json:"received,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// Error is a CNI error (CNI specification, section 5). It is a type of its own
// because the one in containernetworking/cni brings package net with it.
type Error struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error is the message and, if there are any, the details.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + "; " + e.Details
}

// The error codes that both ends use (CNI specification, section 5).
const (
	CodeIncompatibleVersion  uint = 1
	CodeInvalidEnvironment   uint = 4
	CodeIOFailure            uint = 5
	CodeDecodingFailure      uint = 6
	CodeInvalidNetworkConfig uint = 7
	CodeTryAgainLater        uint = 11
	CodeNotAvailable         uint = 50
	// CodeInternal is what the reference library uses for what has no code.
	CodeInternal uint = 999
)

// Versions are the versions of the CNI specification that Sluice speaks, oldest
// first.
func Versions() []string { return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

// LatestVersion is the last of [Versions]: the protocol of an answer to a request
// whose version is unknown.
const LatestVersion = "1.1.0"

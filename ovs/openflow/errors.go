package openflow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-cni/sluice/flows"
)

// Errors that a Conn's methods wrap.
var (
	// ErrLost is in every error of a call that the connection's end cut short or
	// came before. A change that was being committed may have been made or not.
	ErrLost = errors.New("the connection to the switch is lost")
	// ErrClosed is ErrLost's reason after Close.
	ErrClosed = errors.New("closed by this side")
	// ErrTooLarge refuses a message of more than 60,000 bytes, which is not sent:
	// the switch would take a flow of that size and leave it out of its dumps.
	ErrTooLarge = errors.New("the message would be longer than 60000 bytes")
	// ErrNoAnswer says that the switch, alive or not, did not answer in time.
	ErrNoAnswer = errors.New("the switch did not answer in time")
)

// Error is what a switch says that it will not do (the specification, "Error Message").
type Error struct {
	// Type and Code are enum ofp_error_type and the enum that belongs to it.
	Type, Code uint16
	// Vendor is set with Type 0xffff: whose error it is. Code is its exp_type.
	Vendor uint32
	// Text is what a failed hello explains itself with.
	Text string
}

// Name is the error's as in the specification, such as OFPBAC_BAD_OUT_PORT.
func (e *Error) Name() string {
	if e.Type == errExperimenter {
		return fmt.Sprintf("OFPET_EXPERIMENTER %#08x:%d", e.Vendor, e.Code)
	}
	if int(e.Type) < len(errorNames) {
		t := errorNames[e.Type]
		if codes := strings.Fields(t.codes); int(e.Code) < len(codes) {
			return t.prefix + codes[e.Code]
		}
		return fmt.Sprintf("%s code %d", t.name, e.Code)
	}
	return fmt.Sprintf("error type %d code %d", e.Type, e.Code)
}

func (e *Error) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("the switch refuses: %s: %q", e.Name(), shorten(e.Text))
	}
	return "the switch refuses: " + e.Name()
}

// FlowError is about one flow of a change. Err is an *Error from the switch, or
// says why the flow was not sent.
type FlowError struct {
	Flow flows.Flow
	// Strange is that of the Entry, if one was to be removed.
	Strange string
	Err     error
}

func (e *FlowError) Error() string {
	text := e.Flow.String()
	if e.Strange != "" {
		text = fmt.Sprintf("table=%d, priority=%d %s", uint8(e.Flow.Table), e.Flow.Priority, e.Strange)
	}
	return "flow " + shorten(text) + ": " + e.Err.Error()
}

func (e *FlowError) Unwrap() error { return e.Err }

// GroupError is about one group of a change.
type GroupError struct {
	Group flows.Group
	Err   error
}

func (e *GroupError) Error() string {
	return "group " + shorten(e.Group.String()) + ": " + e.Err.Error()
}

func (e *GroupError) Unwrap() error { return e.Err }

// MeterError is about one meter of a change.
type MeterError struct {
	Meter flows.Meter
	Err   error
}

func (e *MeterError) Error() string {
	return "meter " + shorten(e.Meter.String()) + ": " + e.Err.Error()
}

func (e *MeterError) Unwrap() error { return e.Err }

// shorten keeps a line of a log readable.
func shorten(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + fmt.Sprintf("… (%d bytes)", len(s))
	}
	return s
}

// ChangeError says why a change was not made: nothing of it was. Errs are
// *FlowError and *GroupError, one for each message that was refused, as far as the
// switch said so.
type ChangeError struct{ Errs []error }

func (e *ChangeError) Error() string {
	const most = 5
	var lines []string
	for i, err := range e.Errs {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(e.Errs)-most))
			break
		}
		lines = append(lines, err.Error())
	}
	return "nothing has been changed: " + strings.Join(lines, "; ")
}

// Unwrap gives all of Errs to errors.Is and errors.As.
func (e *ChangeError) Unwrap() []error { return e.Errs }

// decodeError reads the body of an error message.
func decodeError(body []byte) *Error {
	d := decoder{b: body}
	e := &Error{Type: d.u16(), Code: d.u16()}
	switch e.Type {
	case errHelloFailed:
		e.Text = string(d.b)
	case errExperimenter:
		e.Vendor = d.u32()
	}
	return e
}

const (
	errHelloFailed  uint16 = 0
	errExperimenter uint16 = 0xffff
)

// errorNames are the types of errors, in order, and their codes, in order.
var errorNames = []struct{ name, prefix, codes string }{
	{"OFPET_HELLO_FAILED", "OFPHFC_", "INCOMPATIBLE EPERM"},
	{"OFPET_BAD_REQUEST", "OFPBRC_", "BAD_VERSION BAD_TYPE BAD_MULTIPART BAD_EXPERIMENTER BAD_EXP_TYPE EPERM BAD_LEN BUFFER_EMPTY BUFFER_UNKNOWN BAD_TABLE_ID IS_SLAVE BAD_PORT BAD_PACKET MULTIPART_BUFFER_OVERFLOW MULTIPART_REQUEST_TIMEOUT MULTIPART_REPLY_TIMEOUT MULTIPART_BAD_SCHED PIPELINE_FIELDS_ONLY UNKNOWN"},
	{"OFPET_BAD_ACTION", "OFPBAC_", "BAD_TYPE BAD_LEN BAD_EXPERIMENTER BAD_EXP_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY BAD_QUEUE BAD_OUT_GROUP MATCH_INCONSISTENT UNSUPPORTED_ORDER BAD_TAG BAD_SET_TYPE BAD_SET_LEN BAD_SET_ARGUMENT BAD_SET_MASK BAD_METER"},
	{"OFPET_BAD_INSTRUCTION", "OFPBIC_", "UNKNOWN_INST UNSUP_INST BAD_TABLE_ID UNSUP_METADATA UNSUP_METADATA_MASK BAD_EXPERIMENTER BAD_EXP_TYPE BAD_LEN EPERM DUP_INST"},
	{"OFPET_BAD_MATCH", "OFPBMC_", "BAD_TYPE BAD_LEN BAD_TAG BAD_DL_ADDR_MASK BAD_NW_ADDR_MASK BAD_WILDCARDS BAD_FIELD BAD_VALUE BAD_MASK BAD_PREREQ DUP_FIELD EPERM"},
	{"OFPET_FLOW_MOD_FAILED", "OFPFMFC_", "UNKNOWN TABLE_FULL BAD_TABLE_ID OVERLAP EPERM BAD_TIMEOUT BAD_COMMAND BAD_FLAGS CANT_SYNC BAD_PRIORITY IS_SYNC"},
	{"OFPET_GROUP_MOD_FAILED", "OFPGMFC_", "GROUP_EXISTS INVALID_GROUP WEIGHT_UNSUPPORTED OUT_OF_GROUPS OUT_OF_BUCKETS CHAINING_UNSUPPORTED WATCH_UNSUPPORTED LOOP UNKNOWN_GROUP CHAINED_GROUP BAD_TYPE BAD_COMMAND BAD_BUCKET BAD_WATCH EPERM UNKNOWN_BUCKET BUCKET_EXISTS"},
	{"OFPET_PORT_MOD_FAILED", "OFPPMFC_", "BAD_PORT BAD_HW_ADDR BAD_CONFIG BAD_ADVERTISE EPERM"},
	{"OFPET_TABLE_MOD_FAILED", "OFPTMFC_", "BAD_TABLE BAD_CONFIG EPERM"},
	{"OFPET_QUEUE_OP_FAILED", "OFPQOFC_", "BAD_PORT BAD_QUEUE EPERM"},
	{"OFPET_SWITCH_CONFIG_FAILED", "OFPSCFC_", "BAD_FLAGS BAD_LEN EPERM"},
	{"OFPET_ROLE_REQUEST_FAILED", "OFPRRFC_", "STALE UNSUP BAD_ROLE ID_UNSUP ID_IN_USE"},
	{"OFPET_METER_MOD_FAILED", "OFPMMFC_", "UNKNOWN METER_EXISTS INVALID_METER UNKNOWN_METER BAD_COMMAND BAD_FLAGS BAD_RATE BAD_BURST BAD_BAND BAD_BAND_VALUE OUT_OF_METERS OUT_OF_BANDS"},
	{"OFPET_TABLE_FEATURES_FAILED", "OFPTFFC_", "BAD_TABLE BAD_METADATA RESERVED EPERM BAD_CAPA BAD_MAX_ENT BAD_FEATURES BAD_COMMAND TOO_MANY"},
	{"OFPET_BAD_PROPERTY", "OFPBPC_", "BAD_TYPE BAD_LEN BAD_VALUE TOO_MANY DUP_TYPE BAD_EXPERIMENTER BAD_EXP_TYPE BAD_EXP_VALUE EPERM"},
	{"OFPET_ASYNC_CONFIG_FAILED", "OFPACFC_", "INVALID UNSUPPORTED EPERM"},
	{"OFPET_FLOW_MONITOR_FAILED", "OFPMOFC_", "UNKNOWN MONITOR_EXISTS INVALID_MONITOR UNKNOWN_MONITOR BAD_COMMAND BAD_FLAGS BAD_TABLE_ID BAD_OUT"},
	{"OFPET_BUNDLE_FAILED", "OFPBFC_", "UNKNOWN EPERM BAD_ID BUNDLE_EXIST BUNDLE_CLOSED OUT_OF_BUNDLES BAD_TYPE BAD_FLAGS MSG_BAD_LEN MSG_BAD_XID MSG_UNSUP MSG_CONFLICT MSG_TOO_MANY MSG_FAILED TIMEOUT BUNDLE_IN_PROGRESS SCHED_NOT_SUPPORTED SCHED_FUTURE SCHED_PAST"},
}

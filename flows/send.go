package flows

import (
	"fmt"
	"strconv"
	"strings"
)

// OutputTo sends the packet out by an OpenFlow port; PortInPort is the one it came by.
// What goes to PortController is a Controller.
type OutputTo struct{ Port uint32 }

// OutputTruncated sends the first MaxLen bytes of the packet out by a port.
type OutputTruncated struct {
	Port   uint32
	MaxLen uint32
}

// OutputField sends the packet out by the port whose number a field holds.
type OutputField struct{ From Subfield }

// ToGroup hands the packet to a group.
type ToGroup struct{ Group uint32 }

// Controller sends the packet to the controllers.
type Controller struct {
	// MaxLen is how many bytes of it are sent; WholePacket for all.
	MaxLen uint16
	// ID is which controllers get it; 0 those that did not say.
	ID     uint16
	Reason Reason
	// UserData goes with it as it is.
	UserData string
	// Pause lets the pipeline wait until the controller resumes the packet.
	Pause bool
	// Meter limits how many are sent; 0 for none but the controller's own.
	Meter uint32
}

// WholePacket is Controller's MaxLen for all of a packet.
const WholePacket uint16 = 0xffff

// Reason is why a packet is sent to the controllers.
type Reason uint8

// The reasons (OpenFlow 1.5, enum ofp_packet_in_reason).
const (
	ReasonAction Reason = iota
	ReasonNoMatch
	ReasonInvalidTTL
	ReasonActionSet
	ReasonGroup
	ReasonPacketOut
	numReasons
)

var reasonWords = [numReasons]string{"action", "no_match", "invalid_ttl", "action_set", "group", "packet_out"}

func (OutputTo) action()        {}
func (OutputTruncated) action() {}
func (OutputField) action()     {}
func (ToGroup) action()         {}
func (Controller) action()      {}

func (a OutputTo) String() string {
	if name, ok := reservedPorts[a.Port]; ok {
		return name
	}
	return "output:" + strconv.FormatUint(uint64(a.Port), 10)
}

func (a OutputTruncated) String() string {
	return fmt.Sprintf("output(port=%s,max_len=%d)", portText(a.Port), a.MaxLen)
}

func (a OutputField) String() string { return "output:" + a.From.String() }
func (a ToGroup) String() string     { return fmt.Sprintf("group:%d", a.Group) }

// Plain tells whether nothing of it is unusual but the length.
func (a Controller) Plain() bool { return a == Controller{MaxLen: a.MaxLen} }

func (a Controller) String() string {
	if a.Plain() {
		return fmt.Sprintf("CONTROLLER:%d", a.MaxLen)
	}
	var out []string
	if a.Reason != ReasonAction {
		out = append(out, "reason="+a.Reason.String())
	}
	if a.MaxLen != WholePacket {
		out = append(out, "max_len="+strconv.Itoa(int(a.MaxLen)))
	}
	if a.ID != 0 {
		out = append(out, "id="+strconv.Itoa(int(a.ID)))
	}
	if a.UserData != "" {
		out = append(out, "userdata="+dotted(a.UserData))
	}
	if a.Pause {
		out = append(out, "pause")
	}
	if a.Meter != 0 {
		out = append(out, "meter_id="+strconv.FormatUint(uint64(a.Meter), 10))
	}
	return "controller(" + strings.Join(out, ",") + ")"
}

func (r Reason) String() string {
	if r < numReasons {
		return reasonWords[r]
	}
	return strconv.Itoa(int(r))
}

func parseOutput(s string) (Action, error) {
	if !strings.HasPrefix(s, "(") {
		if strings.Contains(s, "[") {
			from, err := parseSubfield(s)
			return OutputField{from}, err
		}
		p, err := parsePort(s)
		if p == PortController {
			return Controller{MaxLen: WholePacket}, err
		}
		return OutputTo{p}, err
	}
	var a OutputTruncated
	err := eachArgument(s, func(name, value string) (err error) {
		switch name {
		case "port":
			a.Port, err = parsePort(value)
		case "max_len":
			err = parseUint(value, 32, &a.MaxLen)
		default:
			err = unknown(name)
		}
		return err
	})
	return a, err
}

func parseController(s string) (Action, error) {
	a := Controller{MaxLen: WholePacket}
	if !strings.HasPrefix(s, "(") {
		if s == "" {
			return a, nil
		}
		err := parseUint(s, 16, &a.MaxLen)
		return a, err
	}
	err := eachArgument(s, func(name, value string) (err error) {
		switch name {
		case "max_len":
			err = parseUint(value, 16, &a.MaxLen)
		case "id":
			err = parseUint(value, 16, &a.ID)
		case "meter_id":
			err = parseUint(value, 32, &a.Meter)
		case "reason":
			a.Reason, err = parseReason(value)
		case "userdata":
			a.UserData, err = parseDotted(value)
		case "pause":
			a.Pause = true
		default:
			err = unknown(name)
		}
		return err
	})
	return a, err
}

func parseReason(s string) (Reason, error) {
	for r, word := range reasonWords {
		if s == word {
			return Reason(r), nil
		}
	}
	return 0, fmt.Errorf("unknown reason %q", s)
}

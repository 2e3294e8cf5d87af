package flows

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Meter is a limit that the packets of all flows that name it share (OpenFlow 1.5,
// "Meter Table").
type Meter struct {
	// ID is 1 to MeterMax, or MeterController or MeterSlowpath.
	ID   uint32
	Unit MeterUnit
	// Stats asks for counters, which Open vSwitch keeps anyway.
	Stats bool
	// Bands are the limits. Of those that a packet exceeds the one with the highest
	// rate has its effect.
	Bands []Band
}

// Numbers of meters (OpenFlow 1.5, enum ofp_meter).
const (
	MeterMax uint32 = 0xffff0000
	// MeterSlowpath limits all packets that ovs-vswitchd handles itself.
	MeterSlowpath uint32 = 0xfffffffd
	// MeterController limits all packets that are sent to controllers.
	MeterController uint32 = 0xfffffffe
)

// MeterUnit is what a meter's rates are counted in.
type MeterUnit uint8

// The units.
const (
	KilobitsPerSecond MeterUnit = iota
	PacketsPerSecond
)

// Band is one of a meter's limits.
type Band struct {
	Type BandType
	// Rate is in the meter's unit, at least 1.
	Rate uint32
	// Burst is how much may come at once, in kilobits or packets; 0 leaves it to the
	// switch. Either all of a meter's bands have one or none has.
	Burst uint32
	// PrecLevel is how many steps of drop precedence BandDSCPRemark adds.
	PrecLevel uint8
}

// BandType is what becomes of a packet that exceeds a band. Open vSwitch 3.1's
// datapaths drop only.
type BandType uint8

// The types, with OpenFlow's numbers (enum ofp_meter_band_type).
const (
	BandDrop       BandType = 1
	BandDSCPRemark BandType = 2
)

var bandWords = map[BandType]string{BandDrop: "drop", BandDSCPRemark: "dscp_remark"}

// Equal tells whether two meters are the same in everything.
func (m Meter) Equal(o Meter) bool {
	return m.ID == o.ID && m.Unit == o.Unit && m.Stats == o.Stats && slices.Equal(m.Bands, o.Bands)
}

// HasBurst tells whether the bands say how much may come at once.
func (m Meter) HasBurst() bool {
	return slices.ContainsFunc(m.Bands, func(b Band) bool { return b.Burst != 0 })
}

// Check tells what of a meter would not come back from a switch as it went.
func (m Meter) Check() error {
	if m.ID == 0 || (m.ID > MeterMax && m.ID != MeterController && m.ID != MeterSlowpath) {
		return fmt.Errorf("%d is no meter's number", m.ID)
	}
	for _, b := range m.Bands {
		if bandWords[b.Type] == "" {
			return fmt.Errorf("unknown type of band %d", b.Type)
		}
		if m.HasBurst() && b.Burst == 0 {
			return errors.New("either all bands have a burst size or none has")
		}
	}
	return nil
}

// String is the meter as a line that `ovs-ofctl add-meter` takes: what dump-meters
// prints, with commas for its spaces and line ends.
func (m Meter) String() string {
	words := []string{"meter=" + meterName(m.ID), "kbps"}
	if m.Unit == PacketsPerSecond {
		words[1] = "pktps"
	}
	if m.HasBurst() {
		words = append(words, "burst")
	}
	if m.Stats {
		words = append(words, "stats")
	}
	bands := make([]string, len(m.Bands))
	for i, b := range m.Bands {
		bands[i] = b.text(m.HasBurst())
	}
	return strings.Join(append(words, "bands="+strings.Join(bands, ",")), ",")
}

func (b Band) text(burst bool) string {
	text := "type=" + bandWords[b.Type] + ",rate=" + strconv.FormatUint(uint64(b.Rate), 10)
	if burst {
		text += ",burst_size=" + strconv.FormatUint(uint64(b.Burst), 10)
	}
	if b.Type == BandDSCPRemark {
		text += ",prec_level=" + strconv.Itoa(int(b.PrecLevel))
	}
	return text
}

var meterNames = map[uint32]string{MeterController: "controller", MeterSlowpath: "slowpath"}

func meterName(id uint32) string {
	if name, ok := meterNames[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

// ParseMeter reads one meter as `ovs-ofctl dump-meters` prints it or as String
// writes it.
func ParseMeter(text string) (Meter, error) {
	var m Meter
	words := strings.FieldsFunc(strings.ReplaceAll(text, "bands=", ""), func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
	for _, word := range words {
		if err := m.parseWord(word); err != nil {
			return Meter{}, fmt.Errorf("meter %q: %w", text, err)
		}
	}
	if err := m.Check(); err != nil {
		return Meter{}, fmt.Errorf("meter %q: %w", text, err)
	}
	return m, nil
}

func (m *Meter) parseWord(word string) error {
	name, value, _ := strings.Cut(word, "=")
	var last *Band
	if n := len(m.Bands); n > 0 {
		last = &m.Bands[n-1]
	}
	switch {
	case word == "kbps", word == "burst": // a band's burst_size says it too
	case word == "pktps":
		m.Unit = PacketsPerSecond
	case word == "stats":
		m.Stats = true
	case name == "meter":
		return parseMeterID(value, &m.ID)
	case name == "type":
		for t, w := range bandWords {
			if w == value {
				m.Bands = append(m.Bands, Band{Type: t})
				return nil
			}
		}
		return fmt.Errorf("unknown type of band %q", value)
	case last != nil && name == "rate":
		return parseUint(value, 32, &last.Rate)
	case last != nil && name == "burst_size":
		return parseUint(value, 32, &last.Burst)
	case last != nil && name == "prec_level":
		return parseUint(value, 8, &last.PrecLevel)
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func parseMeterID(value string, id *uint32) error {
	for n, name := range meterNames {
		if value == name {
			*id = n
			return nil
		}
	}
	return parseUint(value, 32, id)
}

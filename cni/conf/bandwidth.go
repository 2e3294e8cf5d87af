package conf

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Rate is how fast one may be, in bits a second. The zero value is without a limit.
type Rate struct {
	Bits uint64
	// Burst is what may pass at once after a pause, in bits.
	Burst uint64
}

// Rates are those of a container: ingress is what it receives, egress what it sends.
type Rates struct{ Ingress, Egress Rate }

// The least and the most that can be held: tc counts in whole bytes a second, in 32 bits.
const (
	MinRate = 1000
	MaxRate = 8 * math.MaxUint32
)

const (
	// noBurst and more is what runtimes write where nobody has asked for a burst: 2^31-1
	// (dockershim), 2^32-1 (containerd), eight times that (CRI-O). It would be no limit.
	noBurst = math.MaxInt32
)

// NewRate is a rate with a burst of its own: what 50 ms bring, at least 16 KiB.
func NewRate(bits uint64) Rate {
	if bits == 0 {
		return Rate{}
	}
	return Rate{Bits: bits, Burst: max(bits/20, 16<<10*8)}
}

// Check tells whether the rate can be held; the error says what was expected and found.
func (r Rate) Check() error {
	if r.Bits != 0 && (r.Bits < MinRate || r.Bits > MaxRate) {
		return fmt.Errorf("expected bits a second, %d to %d, found %d", MinRate, uint64(MaxRate), r.Bits)
	}
	return nil
}

// FirstRates takes each direction from the first that limits it.
func FirstRates(all ...Rates) (out Rates) {
	for _, r := range all {
		if out.Ingress.Bits == 0 {
			out.Ingress = r.Ingress
		}
		if out.Egress.Bits == 0 {
			out.Egress = r.Egress
		}
	}
	return out
}

// String is "ingress 10000000/500000", with the burst, and egress alike.
func (r Rates) String() string {
	if r == (Rates{}) {
		return "none"
	}
	return fmt.Sprintf("ingress %s, egress %s", r.Ingress, r.Egress)
}

func (r Rate) String() string {
	if r.Bits == 0 {
		return "unlimited"
	}
	return fmt.Sprintf("%d bit/s (burst %d bit)", r.Bits, r.Burst)
}

// bandwidth is the conf's own; false says that another plugin sees to it.
func (f field) bandwidth(c *Conf) (err error) {
	if string(f.value) == "false" {
		c.NoBandwidth = true
		return nil
	}
	c.ownRates, err = f.rates()
	return err
}

func (f field) runtimeBandwidth(c *Conf) (err error) {
	c.runtimeRates, err = f.rates()
	return err
}

// rates reads them in the words of the reference plugin and of CNI's conventions.
func (f field) rates() (r Rates, err error) {
	into := map[string]*uint64{
		"ingressRate": &r.Ingress.Bits, "ingressBurst": &r.Ingress.Burst,
		"egressRate": &r.Egress.Bits, "egressBurst": &r.Egress.Burst,
	}
	err = f.each(`an object of "ingressRate", "ingressBurst", "egressRate" and "egressBurst", or false`, func(m field, name string) error {
		switch {
		case into[name] == nil:
			return m.bad("one of ingressRate, ingressBurst, egressRate and egressBurst")
		case m.null():
			return nil
		case json.Unmarshal(m.value, into[name]) != nil:
			return m.bad("a whole number of bits")
		}
		return nil
	})
	if err != nil {
		return Rates{}, err
	}
	for name, rate := range map[string]*Rate{"ingress": &r.Ingress, "egress": &r.Egress} {
		if err := rate.Check(); err != nil {
			return Rates{}, field{name: f.name + "." + name + "Rate"}.wrong(err)
		}
		switch {
		case rate.Bits == 0 && rate.Burst != 0 && rate.Burst < noBurst:
			return Rates{}, invalid(f.name+"."+name+"Rate", fmt.Sprintf("expected a rate beside %sBurst", name), "found none")
		case rate.Bits == 0 || rate.Burst == 0 || rate.Burst >= noBurst:
			*rate = NewRate(rate.Bits)
		case rate.Burst < minBurst:
			return Rates{}, invalid(f.name+"."+name+"Burst", fmt.Sprintf("expected at least %d bits, a packet", minBurst), "found "+strconv.FormatUint(rate.Burst, 10))
		}
	}
	return r, nil
}

// minBurst lets a packet of 1500 bytes pass.
const minBurst = 1514 * 8

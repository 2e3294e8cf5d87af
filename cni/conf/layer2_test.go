package conf_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/cni/conf"
)

func TestASecondNetworkIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want conf.Layer2
	}{
		"untagged":         {`"bridge": "br-lan"`, conf.Layer2{Bridge: "br-lan"}},
		"access":           {`"bridge": "br-lan", "vlan": 7`, conf.Layer2{Bridge: "br-lan", VLAN: 7}},
		"trunk":            {`"bridge": "br-lan", "trunk": [9, {"minID": 3, "maxID": 5}, {"id": 4}]`, conf.Layer2{Bridge: "br-lan", Trunk: []int{3, 4, 5, 9}}},
		"trunk and native": {`"bridge": "br-lan", "vlan": 7, "trunk": [9]`, conf.Layer2{Bridge: "br-lan", VLAN: 7, Trunk: []int{9}}},
		"a device":         {`"device": "eth1", "promiscMode": true`, conf.Layer2{Device: "eth1", Promiscuous: true}},
		"a guard": {
			`"bridge": "br-lan", "macspoofchk": true, "allowed": ["00:00:5e:00:01:07"]`,
			conf.Layer2{Bridge: "br-lan", SpoofGuard: true, Allowed: []net.HardwareAddr{{0, 0, 0x5e, 0, 1, 7}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := conf.Parse([]byte(with(c.text)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Layer2); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRatesAreRead(t *testing.T) {
	ten, five := conf.Rate{Bits: 10_000_000, Burst: 100_000}, conf.NewRate(5_000_000)
	for name, c := range map[string]struct {
		text string
		want conf.Rates
	}{
		"both":                              {`"bandwidth": {"ingressRate": 10000000, "ingressBurst": 100000, "egressRate": 5000000}`, conf.Rates{Ingress: ten, Egress: five}},
		"by the runtime":                    {`"runtimeConfig": {"bandwidth": {"egressRate": 5000000, "egressBurst": 4294967295}}`, conf.Rates{Egress: five}},
		"the conf's before the runtime's":   {`"bandwidth": {"ingressRate": 10000000, "ingressBurst": 100000}, "runtimeConfig": {"bandwidth": {"ingressRate": 1000, "egressRate": 5000000}}`, conf.Rates{Ingress: ten, Egress: five}},
		"another plugin's":                  {`"bandwidth": false, "runtimeConfig": {"bandwidth": {"egressRate": 5000000}}`, conf.Rates{}},
		"a runtime's burst without a limit": {`"runtimeConfig": {"bandwidth": {"egressRate": 0, "egressBurst": 4294967295}}`, conf.Rates{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := conf.Parse([]byte(with(c.text)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Rates); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestABadSecondNetworkAndABadRateAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`"bridge": "br-sluice"`:                                               `bridge: expected the name of an Open vSwitch bridge of yours, of 1 to 15 bytes (br-sluice is Sluice's own: leave "bridge" out to plug in there), found "br-sluice"`,
		`"bridge": "a bridge"`:                                                `bridge: expected the name of an Open vSwitch bridge of yours, of 1 to 15 bytes, found "a bridge"`,
		`"bridge": "b", "device": "eth1"`:                                     `device: expected none, as there is a "bridge", found eth1`,
		`"device": "lo"`:                                                      `device: expected the name of a device of the host's, of 1 to 15 bytes, found "lo"`,
		`"bridge": "b", "vlan": 0`:                                            `vlan: expected a VLAN, 1 to 4094, found 0`,
		`"bridge": "b", "vlan": "7"`:                                          `vlan: expected a VLAN, 1 to 4094, found "7"`,
		`"bridge": "b", "trunk": []`:                                          `trunk: expected a list of VLANs, such as [100, {"minID": 200, "maxID": 210}], found []`,
		`"bridge": "b", "trunk": [5, {"minID": 9, "maxID": 8}]`:               `trunk[1]: expected VLANs from 1 to 4094, found {"minID":9,"maxID":8}`,
		`"bridge": "b", "trunk": [{"id": 5, "maxID": 8}]`:                     `trunk[0]: expected either "id", or "minID" and "maxID", found {"id":5,"maxID":8}`,
		`"bridge": "b", "trunk": [{"ids": 5}]`:                                `trunk[0]: expected a VLAN, {"id"}, or {"minID", "maxID"}, found {"ids":5}`,
		`"bridge": "b", "trunk": [5000]`:                                      `trunk[0]: expected VLANs from 1 to 4094, found 5000`,
		`"bridge": "b", "trunk": [5], "vlan": 5`:                              `trunk: expected other VLANs than vlan's, whose frames have no tag, found 5`,
		`"trunk": [5]`:                                                        `trunk: expected none, as it is of a network with "bridge", found [5]`,
		`"device": "eth1", "macspoofchk": true`:                               `macspoofchk: expected none, as it is of a network with "bridge", found true`,
		`"promiscMode": true`:                                                 `promiscMode: expected none, as it is of a network with "bridge" or "device", found true`,
		`"bridge": "b", "allowed": ["00:00:5e:00:01:07"]`:                     `macspoofchk: expected true beside "allowed", found false: every MAC is allowed`,
		`"bridge": "b", "macspoofchk": true, "allowed": ["01:00:5e:00:00:1"]`: `allowed[0]: expected a unicast MAC of six bytes such as 02:00:00:00:00:01, found "01:00:5e:00:00:1"`,
		`"bridge": "b", "ranges": ["10.0.0.0/24"]`:                            `ranges: expected none, as addresses of a network with "bridge" or "device" come from an IPAM plugin (ipam.type), or are none, found 10.0.0.0/24`,
		`"bridge": "b", "args": {"cni": {"ips": ["10.0.0.7"]}}`:               `args.cni.ips: expected none, as a network with "bridge" or "device" and without ipam.type has no addresses, found 10.0.0.7`,
		`"device": "eth1", "mtu": 1400`:                                       `mtu: expected none, as the device has its own, found 1400`,
		`"bandwidth": {"ingressRate": 999}`:                                   `bandwidth.ingressRate: expected bits a second, 1000 to 34359738360, found 999`,
		`"bandwidth": {"egressRate": 34359738361}`:                            `bandwidth.egressRate: expected bits a second, 1000 to 34359738360, found 34359738361`,
		`"bandwidth": {"egressRate": -5}`:                                     `bandwidth.egressRate: expected a whole number of bits, found -5`,
		`"bandwidth": {"egressBurst": 50000}`:                                 `bandwidth.egressRate: expected a rate beside egressBurst, found none`,
		`"bandwidth": {"egressRate": 50000, "egressBurst": 50}`:               `bandwidth.egressBurst: expected at least 12112 bits, a packet, found 50`,
		`"bandwidth": {"rate": 5}`:                                            `bandwidth.rate: expected one of ingressRate, ingressBurst, egressRate and egressBurst, found 5`,
		`"runtimeConfig": {"bandwidth": {"ingressRate": 1}}`:                  `runtimeConfig.bandwidth.ingressRate: expected bits a second, 1000 to 34359738360, found 1`,
		`"device": "eth1", "bandwidth": {"ingressRate": 1000000}`:             `bandwidth: expected none, as a device is on no bridge, found ingress 1000000 bit/s (burst 131072 bit), egress unlimited`,
	} {
		_, err := conf.Parse([]byte(with(text)))
		if e := cniError(t, err); e.Code != 7 || e.Msg != want {
			t.Errorf("%s: error %d:\n%s\nwant 7:\n%s", text, e.Code, e.Msg, want)
		}
	}
}

package conf_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/ipam"
	"github.com/sluice-cni/sluice/cni/wire"
)

// with is a minimal configuration with more fields.
func with(fields string) string {
	if fields != "" {
		fields = ", " + fields
	}
	return `{"cniVersion": "1.1.0", "name": "pods", "type": "sluice"` + fields + `}`
}

// ports are the port mappings of a runtime.
func ports(mappings string) string {
	return `"runtimeConfig": {"portMappings": [` + mappings + `]}`
}

func cniError(t *testing.T, err error) *types.Error {
	t.Helper()
	var e *types.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %#v, no *types.Error", err)
	}
	return e
}

func TestAGoodConfigurationIsRead(t *testing.T) {
	usual := func(change func(*conf.Conf)) conf.Conf {
		c := conf.Conf{CNIVersion: "1.1.0", Name: "pods", Socket: wire.DefaultSocket}
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		text string
		want conf.Conf
	}{
		"the least there can be": {with(``), usual(func(*conf.Conf) {})},
		"all that an administrator can say": {
			with(`"socket": "/run/other.sock", "mtu": 1450, "ranges": ["10.244.3.0/24", "fd00:3::/64"],
				"dns": {"nameservers": ["10.96.0.10"], "search": ["cluster.local"]}`),
			usual(func(c *conf.Conf) {
				c.Socket, c.MTU = "/run/other.sock", 1450
				c.Ranges = ipam.Whole(netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("fd00:3::/64"))
				c.DNS = types.DNS{Nameservers: []string{"10.96.0.10"}, Search: []string{"cluster.local"}}
			}),
		},
		"ranges with what is kept from them": {
			with(`"ranges": ["10.2.0.0/24", {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20", "gateway": "10.1.0.254",
				"exclude": ["10.1.0.12", "10.1.0.16/30"]}]`),
			usual(func(c *conf.Conf) {
				c.Ranges = append(ipam.Whole(netip.MustParsePrefix("10.2.0.0/24")), ipam.Range{
					Prefix: netip.MustParsePrefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.254"),
					First: netip.MustParseAddr("10.1.0.10"), Last: netip.MustParseAddr("10.1.0.20"),
					Exclude: []netip.Prefix{netip.MustParsePrefix("10.1.0.12/32"), netip.MustParsePrefix("10.1.0.16/30")},
				})
			}),
		},
		"what a runtime asks for": {
			with(`"capabilities": {"ips": true, "mac": true, "ipRanges": true, "portMappings": true},
				"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
					{"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "10.9.0.1"}, {"hostPort": 8080, "containerPort": 80},
					{"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "::ffff:10.9.0.2"}],
				"ips": ["10.1.0.9/24", "fd00::9"], "mac": "02:00:00:00:00:01", "ipRanges": [[{"subnet": "10.1.0.0/24", "gateway": ""}], [{"subnet": "fd00::/64"}]]}`),
			usual(func(c *conf.Conf) {
				c.Ask = conf.Ask{
					Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("fd00::9")}, AddressesBy: "runtimeConfig.ips",
					MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MACBy: "runtimeConfig.mac",
				}
				c.Ranges = ipam.Whole(netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00::/64"))
				c.PortMappings = []conf.PortMapping{
					{Protocol: "tcp", HostPort: 8080, ContainerPort: 80},
					{HostIP: netip.MustParseAddr("10.9.0.1"), Protocol: "udp", HostPort: 53, ContainerPort: 5353},
					{HostIP: netip.MustParseAddr("10.9.0.2"), Protocol: "udp", HostPort: 53, ContainerPort: 5353},
				}
			}),
		},
		"what args ask for, as far as the runtime does not": {
			with(`"args": {"cni": {"ips": ["10.1.0.9/24"], "mac": "02:00:00:00:00:01"}}, "runtimeConfig": {"mac": "02:00:00:00:00:02"}`),
			usual(func(c *conf.Conf) {
				c.Ask = conf.Ask{
					Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.9")}, AddressesBy: "args.cni.ips",
					MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, MACBy: "runtimeConfig.mac",
				}
			}),
		},
		"another plugin for the addresses": {with(`"ipam": {"type": "host-local", "ranges": []}`), usual(func(c *conf.Conf) { c.IPAM = "host-local" })},
		"a GC that is off":                 {with(`"disableGC": true`), usual(func(c *conf.Conf) { c.DisableGC = true })},
		"what runtimes add": {
			with(`"prevResult": {"ips": []}, "runtimeConfig": {}, "capabilities": {"portMappings": false}, "args": {"cni": {"labels": []}},
				"disableCheck": true, "disableGC": false, "cniVersions": ["1.1.0"], "loadOnlyInlinedPlugins": true, "cni.dev/new": 1`),
			usual(func(c *conf.Conf) { c.PrevResult = json.RawMessage(`{"ips": []}`) }),
		},
		"nulls where a runtime has no value": {
			with(`"prevResult": null, "runtimeConfig": null, "capabilities": null, "args": null, "dns": null, "ipam": null, "cni.dev/valid-attachments": null`),
			usual(func(*conf.Conf) {}),
		},
		"an ipam that delegates nothing": {with(`"ipam": {}`), usual(func(*conf.Conf) {})},
		"attachments for GC": {
			with(`"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "eth0"}],
				"cni.dev/attachments": [{"containerID": "a", "ifname": "eth0"}, {"containerID": "c", "ifname": "eth1"}]`),
			usual(func(c *conf.Conf) {
				c.ValidAttachments, c.AttachmentsListed = []conf.Attachment{{"a", "eth0"}, {"b", "eth0"}, {"c", "eth1"}}, true
			}),
		},
		"an empty list of attachments": {
			with(`"cni.dev/valid-attachments": []`),
			usual(func(c *conf.Conf) { c.AttachmentsListed = true }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			for reader, parse := range map[string]func([]byte) (*conf.Conf, error){"Parse": conf.Parse, "ParseLoosely": conf.ParseLoosely} {
				got, err := parse([]byte(c.text))
				if err != nil {
					t.Fatalf("%s: %v", reader, err)
				}
				if diff := cmp.Diff(&c.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.IgnoreUnexported(conf.Conf{})); diff != "" {
					t.Errorf("%s: %s", reader, diff)
				}
			}
		})
	}
}

func TestEveryVersionIsRead(t *testing.T) {
	for _, v := range wire.Versions() {
		c, err := conf.Parse([]byte(strings.Replace(with(""), "1.1.0", v, 1)))
		if err != nil || c.CNIVersion != v {
			t.Errorf("%s: %v, error %v", v, c, err)
		}
	}
}

func TestABadConfigurationIsRefusedInWords(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		code uint
		msg  string
	}{
		"nothing at all":         {"  \n", 6, `network configuration: expected a JSON object on standard input, found nothing`},
		"no JSON":                {"{\n \"name\": pods}", 6, `network configuration: not valid JSON at line 2, column 10: invalid character 'p' looking for beginning of value`},
		"more than one object":   {with("") + "{}", 6, `network configuration: not valid JSON at line 1, column 58: invalid character '{' after top-level value`},
		"a list":                 {`["a"]`, 6, `network configuration: expected a JSON object, found ["a"]`},
		"a null":                 {`null`, 6, `network configuration: expected a JSON object, found null`},
		"no cniVersion":          {`{"name": "pods", "type": "sluice"}`, 1, `cniVersion: expected one of 0.3.1, 0.4.0, 1.0.0, 1.1.0, found nothing`},
		"an old cniVersion":      {`{"cniVersion": "0.2.0", "name": "pods"}`, 1, `cniVersion: expected one of 0.3.1, 0.4.0, 1.0.0, 1.1.0, found "0.2.0"`},
		"a cniVersion to come":   {`{"cniVersion": "2.0.0", "name": "pods"}`, 1, `cniVersion: expected one of 0.3.1, 0.4.0, 1.0.0, 1.1.0, found "2.0.0"`},
		"no name":                {`{"cniVersion": "1.1.0", "type": "sluice"}`, 7, `name: expected a letter or digit, then letters, digits, '_', '.' or '-', found nothing`},
		"a name of a path":       {`{"cniVersion": "1.1.0", "name": "../x", "type": "sluice"}`, 7, `name: expected a letter or digit, then letters, digits, '_', '.' or '-', found "../x"`},
		"a name with a newline":  {`{"cniVersion": "1.1.0", "name": "a\n", "type": "sluice"}`, 7, `name: expected a letter or digit, then letters, digits, '_', '.' or '-', found "a\n"`},
		"another plugin's type":  {`{"cniVersion": "1.1.0", "name": "pods", "type": "bridge"}`, 7, `type: expected "sluice", found "bridge"`},
		"an mtu in words":        {with(`"mtu": "fast"`), 7, `mtu: expected an integer between 68 and 65535, found "fast"`},
		"an mtu with a fraction": {with(`"mtu": 1500.5`), 7, `mtu: expected an integer between 68 and 65535, found 1500.5`},
		"an mtu of nothing":      {with(`"mtu": null`), 7, `mtu: expected an integer between 68 and 65535, found null`},
		"an mtu that is small":   {with(`"mtu": 67`), 7, `mtu: expected an integer between 68 and 65535, found 67`},
		"an mtu that is large":   {with(`"mtu": 65536`), 7, `mtu: expected an integer between 68 and 65535, found 65536`},
		"an mtu that IPv6 cannot have": {
			with(`"mtu": 1279, "ranges": ["fd00::/64"]`), 7,
			`mtu: expected at least 1280, as fd00::/64 is IPv6 (RFC 8200, section 5), found 1279`,
		},
		"a field given twice":         {with(`"mtu": 1400, "mtu": 1500`), 7, `mtu: expected once, found twice`},
		"a relative socket":           {with(`"socket": "cni.sock"`), 7, `socket: expected an absolute path of at most 107 bytes, found "cni.sock"`},
		"a socket of a long path":     {with(`"socket": "/` + strings.Repeat("a", 107) + `"`), 7, `socket: expected an absolute path of at most 107 bytes, found "/` + strings.Repeat("a", 78) + `…`},
		"a range alone":               {with(`"ranges": "10.1.0.0/24"`), 7, `ranges: expected a list of prefixes, such as ["10.244.3.0/24"], found "10.1.0.0/24"`},
		"too many ranges":             {with(`"ranges": [` + strings.Repeat(`"10.1.0.0/24",`, 64) + `"10.1.0.0/24"]`), 7, `ranges: expected at most 64 prefixes, found 65`},
		"no ranges":                   {with(`"ranges": []`), 7, `ranges: expected a list of prefixes, such as ["10.244.3.0/24"], found []`},
		"a range that is an address":  {with(`"ranges": ["10.1.0.0"]`), 7, `ranges[0]: expected a prefix, such as "10.244.3.0/24", found "10.1.0.0"`},
		"a range with host bits":      {with(`"ranges": ["10.1.0.7/24"]`), 7, `ranges[0]: expected a prefix without host bits ("10.1.0.0/24"), found "10.1.0.7/24"`},
		"a range without room":        {with(`"ranges": ["10.1.0.0/24", "10.2.0.0/31"]`), 7, `ranges[1]: expected a prefix with room for the network, the gateway and a pod (at most /30, in IPv6 /126), found "10.2.0.0/31"`},
		"a range of multicast":        {with(`"ranges": ["224.0.0.0/24"]`), 7, `ranges[0]: expected a prefix of unicast addresses that can be routed, found "224.0.0.0/24"`},
		"ranges that overlap":         {with(`"ranges": ["10.1.0.0/16", "fd00::/64", "10.1.2.0/24"]`), 7, `ranges[2]: expected ranges that do not overlap, found 10.1.2.0/24, which overlaps ranges[0], 10.1.0.0/16`},
		"dns as a list":               {with(`"dns": []`), 7, `dns: expected an object of "nameservers", "domain", "search" and "options", found []`},
		"dns of another type":         {with(`"dns": {"nameservers": "10.96.0.10"}`), 7, `dns: expected an object of "nameservers", "domain", "search" and "options", found {"nameservers":"10.96.0.10"}`},
		"a prevResult of text":        {with(`"prevResult": "x"`), 7, `prevResult: expected the result object of an ADD, found "x"`},
		"attachments without names":   {with(`"cni.dev/valid-attachments": [{"containerID": "a"}]`), 7, `cni.dev/valid-attachments: expected a list of {"containerID", "ifname"}, found [{"containerID":"a"}]`},
		"attachments as an object":    {with(`"cni.dev/attachments": {}`), 7, `cni.dev/attachments: expected a list of {"containerID", "ifname"}, found {}`},
		"a field nobody knows":        {with(`"isDefaultGateway": true`), 2, `"isDefaultGateway": unknown field (value true)`},
		"a field that is misspelt":    {with(`"mtuu": 1500`), 2, `"mtuu": unknown field (value 1500); did you mean "mtu"?`},
		"a field in other case":       {with(`"MTU": 1500`), 2, `"MTU": unknown field (value 1500); did you mean "mtu"?`},
		"a field in the singular":     {with(`"range": []`), 2, `"range": unknown field (value []); did you mean "ranges"?`},
		"a vlan":                      {with(`"vlan": 5`), 7, `vlan: expected none, as it is of a network with "bridge", found 5`},
		"a capability of no sense":    {with(`"capabilities": {"ips": "yes"}`), 7, `capabilities.ips: expected true or false, found "yes"`},
		"a capability of others":      {with(`"capabilities": {"dns": true}`), 2, `capabilities.dns: not supported yet (value true); leave it out, or declare it of the plugin that has it`},
		"a value for others":          {with(`"runtimeConfig": {"dns": {}}`), 2, `runtimeConfig.dns: not supported yet (value {}); leave the capability out of the network configuration`},
		"an address that is none":     {with(`"runtimeConfig": {"ips": ["10.1.0"]}`), 7, `runtimeConfig.ips: expected an address such as 10.244.3.7, found "10.1.0"`},
		"two addresses of a family":   {with(`"runtimeConfig": {"ips": ["10.1.0.1", "10.1.0.2/24"]}`), 7, `runtimeConfig.ips: expected at most one address of each family, found 10.1.0.1 and 10.1.0.2`},
		"a multicast MAC":             {with(`"runtimeConfig": {"mac": "01:00:00:00:00:01"}`), 7, `runtimeConfig.mac: expected a unicast MAC of six bytes such as 02:00:00:00:00:01, found "01:00:00:00:00:01"`},
		"port mappings alone":         {with(`"runtimeConfig": {"portMappings": {}}`), 7, `runtimeConfig.portMappings: expected a list of {"hostPort", "containerPort", "protocol", "hostIP"}, found {}`},
		"a host port of nothing":      {with(ports(`{"containerPort": 80}`)), 7, `runtimeConfig.portMappings[0].hostPort: expected a port, 1 to 65535, found nothing`},
		"a host port of 0":            {with(ports(`{"hostPort": 0, "containerPort": 80}`)), 7, `runtimeConfig.portMappings[0].hostPort: expected a port, 1 to 65535, found 0`},
		"a large container port":      {with(ports(`{"hostPort": 80, "containerPort": 65536}`)), 7, `runtimeConfig.portMappings[0].containerPort: expected a port, 1 to 65535, found 65536`},
		"a protocol without ports":    {with(ports(`{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}`)), 7, `runtimeConfig.portMappings[0].protocol: expected one of tcp, udp, sctp, found "icmp"`},
		"a hostIP that is none":       {with(ports(`{"hostPort": 80, "containerPort": 80, "hostIP": "eth0"}`)), 7, `runtimeConfig.portMappings[0].hostIP: expected an address of the node's, such as "192.0.2.7", found "eth0"`},
		"one host port for two":       {with(ports(`{"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 81, "hostIP": "10.9.0.1"}`)), 7, `runtimeConfig.portMappings[1]: expected another host port than runtimeConfig.portMappings[0]'s, found {"hostPort":80,"containerPort":81,"hostIP":"10.9.0.1"}`},
		"a member of no meaning":      {with(ports(`{"hostPort": 80, "containerPort": 80, "name": "http"}`)), 7, `runtimeConfig.portMappings[0].name: expected one of hostPort, containerPort, protocol and hostIP, found "http"`},
		"host ports elsewhere":        {with(`"bridge": "br-lan", ` + ports(`{"hostPort": 80, "containerPort": 80}`)), 7, `runtimeConfig.portMappings: expected none, as the node's ports lead to the pod network, found 80`},
		"an ipam outside CNI_PATH":    {with(`"ipam": {"type": "../sh"}`), 7, `ipam.type: expected the name of an IPAM plugin, such as "host-local", found "../sh"`},
		"two sources of addresses":    {with(`"ipam": {"type": "static"}, "ranges": ["10.1.0.0/24"]`), 7, `ranges: expected none, as "static" gives the addresses (ipam.type), found 10.1.0.0/24`},
		"a range with an odd member":  {with(`"ranges": [{"subnet": "10.1.0.0/24", "start": 1}]`), 7, `ranges[0]: expected a prefix such as "10.244.3.0/24", or an object of "subnet", "rangeStart", "rangeEnd", "gateway" and "exclude", found {"subnet":"10.1.0.0/24","start":1}`},
		"a bound of another range":    {with(`"ranges": [{"subnet": "10.1.0.0/24", "rangeEnd": "10.2.0.9"}]`), 7, `ranges[0].rangeEnd: expected an address in 10.1.0.0/24, found "10.2.0.9"`},
		"a range that gives nothing":  {with(`"ranges": [{"subnet": "10.1.0.0/24", "exclude": ["10.1.0.0/24"]}]`), 7, `ranges[0]: expected a range that leaves at least one address to give, found {"subnet":"10.1.0.0/24","exclude":["10.1.0.0/24"]}`},
		"args of no sense":            {with(`"args": {"cni": 1}`), 7, `args.cni: expected an object, found 1`},
		"the first of several faults": {with(`"vlan": 5000, "mtu": 1`), 7, `vlan: expected a VLAN, 1 to 4094, found 5000`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := conf.Parse([]byte(c.text))
			e := cniError(t, err)
			if e.Code != c.code || e.Msg != c.msg {
				t.Errorf("error %d:\n%s\nwant %d:\n%s", e.Code, e.Msg, c.code, c.msg)
			}
		})
	}
}

func TestDELReadsAConfigurationThatWasSpoiltSince(t *testing.T) {
	c, err := conf.ParseLoosely([]byte(with(`"mtu": "fast", "vlan": 5, "strange": 1, "socket": "/run/other.sock"`)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "pods" || c.Socket != "/run/other.sock" || c.MTU != 0 {
		t.Errorf("read %+v", c)
	}
	for name, text := range map[string]string{
		"without a name":        `{"cniVersion": "1.1.0", "type": "sluice"}`,
		"without sense":         `{`,
		"with bad attachments ": with(`"cni.dev/valid-attachments": 5`),
	} {
		if _, err := conf.ParseLoosely([]byte(text)); err == nil {
			t.Errorf("%s it is read", name)
		}
	}
}

func TestAVerbNeedsItsVersion(t *testing.T) {
	for _, c := range []struct {
		command, version string
		allowed          bool
	}{
		{"ADD", "0.3.1", true},
		{"DEL", "0.3.1", true},
		{"CHECK", "0.3.1", false},
		{"CHECK", "0.4.0", true},
		{"CHECK", "1.1.0", true},
		{"STATUS", "1.0.0", false},
		{"STATUS", "1.1.0", true},
		{"GC", "1.0.0", false},
		{"GC", "1.1.0", true},
	} {
		err := (&conf.Conf{CNIVersion: c.version}).Allows(c.command)
		if (err == nil) != c.allowed {
			t.Errorf("%s with %s: %v", c.command, c.version, err)
		}
		if err != nil && cniError(t, err).Code != types.ErrIncompatibleCNIVersion {
			t.Errorf("%s with %s: %v", c.command, c.version, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(with(``)))
	f.Add([]byte(with(`"mtu": 1450, "ranges": ["10.244.3.0/24", "fd00:3::/64"], "capabilities": {"a": true}, "args": {"cni": {"ips": []}}`)))
	f.Add([]byte(with(`"ranges": [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "exclude": ["10.1.0.0/28"]}], "runtimeConfig": {"ips": ["10.1.0.9/24"], "mac": "02:00:00:00:00:01", "ipRanges": [[{"subnet": "fd00::/64"}]]}`)))
	f.Add([]byte(with(`"ipam": {"type": "static", "addresses": []}, "disableGC": true`)))
	f.Add([]byte(with(`"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}], "prevResult": {}, "dns": {}`)))
	f.Add([]byte("{\n\"a\": [}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, parse := range []func([]byte) (*conf.Conf, error){conf.Parse, conf.ParseLoosely} {
			c, err := parse(text)
			if err == nil {
				if c.Name == "" || c.CNIVersion == "" || c.Socket == "" {
					t.Fatalf("read %+v", c)
				}
				continue
			}
			if e := cniError(t, err); e.Code == 0 || e.Msg == "" || c != nil {
				t.Fatalf("error %+v with %+v", e, c)
			}
		}
	})
}

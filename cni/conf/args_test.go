package conf_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-cni/sluice/cni/conf"
)

func TestArgsAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want conf.Args
	}{
		"nothing": {"", conf.Args{}},
		"as containerd writes them": {
			"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1",
			conf.Args{PodNamespace: "default", PodName: "web-0", PodUID: "u-1", InfraContainerID: "c1", IgnoreUnknown: true},
		},
		"unknown keys that may be there, wherever that is said": {"FOO=bar;IgnoreUnknown=true", conf.Args{IgnoreUnknown: true}},
		"addresses and a MAC": {"IP=10.1.0.9/24,fd00::9;MAC=02:00:00:00:00:01", conf.Args{Ask: conf.Ask{
			Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.9"), netip.MustParseAddr("fd00::9")}, AddressesBy: "IP",
			MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MACBy: "MAC",
		}}},
		"empty pairs":        {";IgnoreUnknown=0;;", conf.Args{}},
		"a value with '='":   {"K8S_POD_UID=a=b", conf.Args{PodUID: "a=b"}},
		"podman's own names": {"K8S_POD_NAMESPACE=My_ctr;K8S_POD_NAME=My_ctr", conf.Args{PodNamespace: "My_ctr", PodName: "My_ctr"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := conf.ParseArgs(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadArgsAreRefusedInWords(t *testing.T) {
	for name, c := range map[string]struct{ text, msg string }{
		"no pair":                      {"foo", `CNI_ARGS: expected KEY=VALUE pairs separated by ';', found "foo"`},
		"an unknown key":               {"FOO=bar;BAR=1", `CNI_ARGS: expected IgnoreUnknown=1 with keys that are not Sluice's, found ["FOO" "BAR"]`},
		"an IgnoreUnknown of no sense": {"IgnoreUnknown=maybe", `CNI_ARGS: IgnoreUnknown: expected "1", "true", "0" or "false", found "maybe"`},
		"an address that is none":      {"IgnoreUnknown=1;IP=10.1.0", `CNI_ARGS: IP: expected an address such as 10.244.3.7, found "10.1.0"`},
		"a MAC that is none":           {"MAC=02:00", `CNI_ARGS: MAC: expected a unicast MAC of six bytes such as 02:00:00:00:00:01, found "02:00"`},
		"a pod without a namespace":    {"K8S_POD_NAME=web", `CNI_ARGS: expected K8S_POD_NAMESPACE and K8S_POD_NAME, or neither, found "" and "web"`},
		"a namespace without a pod":    {"K8S_POD_NAMESPACE=default", `CNI_ARGS: expected K8S_POD_NAMESPACE and K8S_POD_NAME, or neither, found "default" and ""`},
		"a value with a newline":       {"K8S_POD_UID=a\nb", `CNI_ARGS: K8S_POD_UID: expected at most 253 printable characters without spaces, found "a\nb"`},
		"a value that is long":         {"K8S_POD_UID=" + strings.Repeat("a", 254), `CNI_ARGS: K8S_POD_UID: expected at most 253 printable characters without spaces, found "` + strings.Repeat("a", 254) + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := conf.ParseArgs(c.text)
			if e := cniError(t, err); e.Code != types.ErrInvalidEnvironmentVariables || e.Msg != c.msg {
				t.Errorf("error %d:\n%s\nwant\n%s", e.Code, e.Msg, c.msg)
			}
		})
	}
}

func TestVariablesAreChecked(t *testing.T) {
	for _, c := range []struct {
		variable string
		validate func(string) error
		good     []string
		bad      []string
	}{
		{"CNI_CONTAINERID", conf.ValidateContainerID, []string{"a", "0a_.-Z"}, []string{"", "-a", "a/b", "a b", "a\n", "é"}},
		{
			"CNI_IFNAME", conf.ValidateIfName,
			[]string{"eth0", "a", "123456789012345", "net.1"},
			[]string{"", ".", "..", "1234567890123456", "a/b", "a:b", "a b", "a\tb", "a\u00a0b", "a\x00b"},
		},
		{"CNI_NETNS", conf.ValidateNetNS, []string{"/run/netns/a", "/proc/1/ns/net"}, []string{"", "netns", "/a\x00b"}},
	} {
		for _, s := range c.good {
			if err := c.validate(s); err != nil {
				t.Errorf("%s %q: %v", c.variable, s, err)
			}
		}
		for _, s := range c.bad {
			err := c.validate(s)
			if err == nil {
				t.Errorf("%s %q is taken", c.variable, s)
				continue
			}
			if e := cniError(t, err); e.Code != types.ErrInvalidEnvironmentVariables || !strings.HasPrefix(e.Msg, c.variable+": ") {
				t.Errorf("%s %q: %v", c.variable, s, e)
			}
		}
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := conf.ParseArgs(text); err != nil {
			cniError(t, err)
		}
	})
}

package conf

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"
)

// Args is CNI_ARGS as Kubernetes' runtimes write it.
type Args struct {
	// PodNamespace, PodName and PodUID are K8S_POD_NAMESPACE, K8S_POD_NAME and
	// K8S_POD_UID; empty for a container that is no pod.
	PodNamespace string
	PodName      string
	PodUID       string
	// InfraContainerID is K8S_POD_INFRA_CONTAINER_ID: the sandbox, as CNI_CONTAINERID.
	InfraContainerID string
	// Ask is IP (addresses separated by commas) and MAC.
	Ask Ask
	// IgnoreUnknown ("1" or "true") says that keys which are not ours may be there.
	IgnoreUnknown bool
}

// longestArg is the most bytes that a value of CNI_ARGS may have: a Kubernetes
// object name's 253.
const longestArg = 253

// ParseArgs reads CNI_ARGS, "KEY=VALUE;KEY=VALUE". Its error is always a
// *types.Error of code 4 (types.ErrInvalidEnvironmentVariables): a pair without '=',
// a key that is not ours without IgnoreUnknown, a request for an address (IP, MAC,
// GATEWAY), which is not supported yet, a value that is too long or not printable, or
// a pod's name without its namespace.
func ParseArgs(s string) (Args, error) {
	var a Args
	var unknown []string
	var ip, mac string
	text := map[string]*string{
		"K8S_POD_NAMESPACE":          &a.PodNamespace,
		"K8S_POD_NAME":               &a.PodName,
		"K8S_POD_UID":                &a.PodUID,
		"K8S_POD_INFRA_CONTAINER_ID": &a.InfraContainerID,
		"IP":                         &ip,
		"MAC":                        &mac,
	}
	for pair := range strings.SplitSeq(s, ";") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return Args{}, badVariable("CNI_ARGS", "expected KEY=VALUE pairs separated by ';'", fmt.Sprintf("found %q", pair))
		}
		key = strings.TrimSpace(key)
		switch target := text[key]; {
		case target != nil:
			if len(value) > longestArg || strings.ContainsFunc(value, notPlain) {
				return Args{}, badVariable("CNI_ARGS", fmt.Sprintf("%s: expected at most %d printable characters without spaces", key, longestArg), fmt.Sprintf("found %.300q", value))
			}
			*target = value
		case key == "IgnoreUnknown":
			switch strings.ToLower(value) {
			case "1", "true":
				a.IgnoreUnknown = true
			case "0", "false":
			default:
				return Args{}, badVariable("CNI_ARGS", `IgnoreUnknown: expected "1", "true", "0" or "false"`, fmt.Sprintf("found %.100q", value))
			}
		default:
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 && !a.IgnoreUnknown {
		return Args{}, badVariable("CNI_ARGS", "expected IgnoreUnknown=1 with keys that are not Sluice's", fmt.Sprintf("found %.200q", unknown))
	}
	if (a.PodNamespace == "") != (a.PodName == "") {
		return Args{}, badVariable("CNI_ARGS", "expected K8S_POD_NAMESPACE and K8S_POD_NAME, or neither", fmt.Sprintf("found %q and %q", a.PodNamespace, a.PodName))
	}
	var err error
	if a.Ask, err = ParseAsk(ip, "IP", mac, "MAC"); err != nil {
		return Args{}, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_ARGS: %v", err), "")
	}
	return a, nil
}

// ValidateContainerID checks CNI_CONTAINERID (CNI specification, section 2): a letter
// or digit, then letters, digits, '_', '.' or '-'. The error is a *types.Error of
// code 4.
func ValidateContainerID(id string) error {
	if !namePattern.MatchString(id) {
		return badVariable("CNI_CONTAINERID", "expected a letter or digit, then letters, digits, '_', '.' or '-'", fmt.Sprintf("found %.100q", id))
	}
	return nil
}

// ValidateIfName checks CNI_IFNAME by the kernel's rule (dev_valid_name): 1 to 15
// bytes, without '/', ':' and white space, and neither "." nor "..". The error is a
// *types.Error of code 4.
func ValidateIfName(name string) error {
	if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsFunc(name, notInIfName) {
		return badVariable("CNI_IFNAME", "expected 1 to 15 bytes without '/', ':' and white space, not \".\" or \"..\"", fmt.Sprintf("found %.100q", name))
	}
	return nil
}

// ValidateNetNS checks the form of CNI_NETNS, an absolute path; whether a network
// namespace is there shows when it is opened. The error is a *types.Error of code 4.
func ValidateNetNS(path string) error {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return badVariable("CNI_NETNS", "expected the absolute path of a network namespace", fmt.Sprintf("found %.200q", path))
	}
	return nil
}

// badVariable names the variable, as the specification demands of code 4.
func badVariable(name, expected, found string) error {
	return types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("%s: %s, %s", name, expected, found), "")
}

func notPlain(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }

func notInIfName(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || r == 0 }

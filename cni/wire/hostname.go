package wire

import (
	"crypto/sha256"
	"encoding/hex"
)

// HostNamePrefix begins the name of every host end.
const HostNamePrefix = "slc"

// HostName is the name of the cable's end on the host: the prefix and 12
// hexadecimal digits of a hash over the attachment's whole key, 15 bytes, which
// is the longest that Linux takes (IFNAMSIZ less the terminating zero).
//
// It is part of the contract because DEL must succeed without the agent: the
// executable then finds the link by this name alone. The parts of the key are
// separated by a zero byte, which none of them can hold, so that no two keys are
// written alike. 48 bits make a collision among 1,000 cables on one node a matter
// of one in 500 million.
func HostName(network, containerID, ifName string) string {
	sum := sha256.Sum256([]byte(network + "\x00" + containerID + "\x00" + ifName))
	return HostNamePrefix + hex.EncodeToString(sum[:6])
}

// PassingName is the name of a device that was moved into a container while it is on its way there or
// home: no device has it else.
func PassingName(network, containerID, ifName string) string {
	return "sld" + HostName(network, containerID, ifName)[len(HostNamePrefix):]
}

// LentPrefix begins the alias of a device that was moved into a container; words of the form key=value
// follow, of which net is the network and if the interface's name.
const LentPrefix = "sluice:"

// IsHostName tells whether a link's name has the form that [HostName] gives.
func IsHostName(name string) bool {
	if len(name) != len(HostNamePrefix)+12 || name[:len(HostNamePrefix)] != HostNamePrefix {
		return false
	}
	for _, c := range []byte(name[len(HostNamePrefix):]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

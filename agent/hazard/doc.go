// Package hazard looks for what on this machine hurts pods' traffic and is not ours to
// change: a firewall that drops what the host forwards, strict reverse path filters,
// another user of the tunnel's port, leftovers of another CNI or of kube-proxy. Each is
// named with its cure; nothing is changed.
package hazard

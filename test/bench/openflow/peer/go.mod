module github.com/sluice-cni/sluice/test/bench/openflow/peer

go 1.26.0

require github.com/digitalocean/go-openvswitch v0.0.0-20251118231545-85aec29b8ee6

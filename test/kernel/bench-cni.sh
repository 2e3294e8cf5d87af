#!/usr/bin/env bash
# bench-cni.sh [FLAG...]: measures the CNI verbs on the kernel's datapath in a virtual
# machine (see vm.sh) beside the bridge and ptp plugins, prints a table and writes
# out/bench-kernel-cni.json. Flags are those of test/bench. An emulated processor makes
# everything slower by some factor; the ratios are what counts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/job/bin" "$tmp/job/plugins" out
export CGO_ENABLED=0
go build -trimpath -ldflags '-s -w' -o "$tmp/job/bin/" ./cmd/...
go build -trimpath -ldflags '-s -w' -o "$tmp/job/bench" ./test/bench
plugins=github.com/containernetworking/plugins
version=$(go list -m -f '{{.Version}}' $plugins)
GOFLAGS='' GOBIN="$tmp/job/plugins" go install -trimpath -ldflags '-s -w' \
	$plugins/plugins/{main/bridge,main/ptp,ipam/host-local}@"$version"
cat >"$tmp/job/run" <<RUN
#!/bin/bash
export SLUICE_TEST_SLOW=${SLUICE_TEST_SLOW:-4}
./bench -bin-dir bin -plugins "\$PWD/plugins" -out figures.json -warm-ups 5 -rounds 40 -bursts 2 -phases ${*@Q} && cat figures.json >/dev/ttyS1
RUN
chmod +x "$tmp/job/run"
SLUICE_VM_LOG=$tmp/figures SLUICE_VM_LIMIT=${SLUICE_VM_LIMIT:-1200} "$here/vm.sh" "$tmp/job"
# The machine has neither disk nor network: the figures come by its serial line.
tr -d '\r' <"$tmp/figures" >"$tmp/figures.json"
[ -s "$tmp/figures.json" ] || { echo "bench-cni.sh: the machine wrote no figures" >&2; exit 1; }
cp "$tmp/figures.json" out/bench-kernel-cni.json

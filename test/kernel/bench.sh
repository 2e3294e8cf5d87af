#!/usr/bin/env bash
# bench.sh [FLAG...]: measures throughput on the kernel's datapath in a virtual machine
# (see vm.sh), within one boot, prints a table and writes out/bench-kernel.json. Flags
# are those of ./bench. It fails only when it cannot measure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/job/bin" out
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$tmp/job/bin/" ./cmd/...
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$tmp/job/bench" ./test/kernel/bench
cat >"$tmp/job/run" <<RUN
#!/bin/bash
export SLUICE_TEST_SLOW=${SLUICE_TEST_SLOW:-4}
./bench -bin-dir bin -out figures.json ${*@Q} && cat figures.json >/dev/ttyS1
RUN
chmod +x "$tmp/job/run"
SLUICE_VM_LOG=$tmp/figures SLUICE_VM_LIMIT=${SLUICE_VM_LIMIT:-1200} "$here/vm.sh" "$tmp/job"
# The machine has neither disk nor network: the figures come by its serial line.
tr -d '\r' <"$tmp/figures" >"$tmp/figures.json"
[ -s "$tmp/figures.json" ] || { echo "bench.sh: the machine wrote no figures" >&2; exit 1; }
cp "$tmp/figures.json" out/bench-kernel.json

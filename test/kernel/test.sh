#!/usr/bin/env bash
# test.sh [smoke | PACKAGE...]: runs tests of this repository in a virtual machine
# with the distribution's kernel and its Open vSwitch datapath (see vm.sh).
#
# Without arguments these are all packages whose tests make network namespaces,
# Open vSwitch or labs; PACKAGE is one of them, as ./ovs/db. smoke is no test but a
# lab in which all must reach all. SLUICE_TEST_RUN runs only the tests that match it,
# as `go test -run` does. What failed is printed, everything is in out/kernel.log.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# Without cgo they are static: the machine has no Go and few libraries.
export CGO_ENABLED=0
seconds() { echo "kernel: $1 in $(($(date +%s) - began)) s"; }

began=$(date +%s)
mkdir -p "$tmp/bin" "$tmp/tests" out
go build -trimpath -ldflags '-s -w' -o "$tmp/bin/" ./cmd/...
go build -trimpath -ldflags '-s -w' -tags pipeline_next -o "$tmp/bin/sluice-agent-next" ./cmd/sluice-agent
# The reference plugins that ours is chained with, of the version that go.mod names.
plugins=github.com/containernetworking/plugins
version=$(go list -m -f '{{.Version}}' "$plugins")
GOBIN="$tmp/plugins" GOFLAGS='' go install -trimpath -ldflags '-s -w' \
	"$plugins/plugins/"{main/loopback,meta/portmap,meta/tuning,meta/firewall,meta/bandwidth,ipam/host-local,ipam/static,ipam/dhcp}"@$version"
packages=()
case ${1:-} in
smoke) ;;
'')
	# Whoever tests with the kernel imports one of these; what is in cmd builds itself.
	touches='[^ ]*/(ovs/(ovstest|netns|daemon)|test/lab|plugins/pkg/testutils) '
	mapfile -t packages < <(go list -tags kernel -f '{{.Dir}} {{join .TestImports " "}} {{join .XTestImports " "}} ' ./... |
		grep -E " $touches" | grep -v "^$PWD/cmd/" | cut -d' ' -f1 | sed "s|^$PWD|.|")
	;;
*) packages=("$@") ;;
esac
if [ ${#packages[@]} -gt 0 ]; then
	mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
	go test -c -tags kernel -trimpath -ldflags '-s -w' -o "$tmp/tests/" "${packages[@]}"
fi
for package in "${packages[@]}"; do
	# A test runs in its package's directory and reads what lies there.
	mkdir -p "$tmp/tests/$package"
	find "$package" -type f ! -name '*.go' -exec cp --parents -t "$tmp/tests/" {} +
	echo "$package"
done >"$tmp/packages"
# What is rendered is put into a switch by ovs/openflow, too; the docs have what a test saw.
mkdir -p "$tmp/tests"
find flows/render/testdata docs -type f -exec cp --parents -t "$tmp/tests/" {} +
cp "$here/run" "$tmp/run"
cat >"$tmp/settings" <<SETTINGS
export SLUICE_TEST_SLOW=${SLUICE_TEST_SLOW:-4}
run=${SLUICE_TEST_RUN:+-test.run=$(printf %q "$SLUICE_TEST_RUN")}
SETTINGS
seconds built

began=$(date +%s)
: >out/kernel.log
status=0
SLUICE_VM_LOG=$PWD/out/kernel.log SLUICE_VM_LIMIT=${SLUICE_VM_LIMIT:-9000} "$here/vm.sh" "$tmp" || status=$?
if [ $status = 124 ] || [ $status = 125 ]; then
	echo "kernel: out/kernel.log ends:"
	tail -50 out/kernel.log
fi
[ $status != 0 ] || seconds passed
exit $status

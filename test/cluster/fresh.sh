#!/bin/sh
# Runs `make cluster` and `make cluster-down` on a machine that has nothing yet: a Debian
# made by debootstrap, with make and this machine's Go, in which scripts/deps.sh installs the
# rest. usage: fresh.sh [--warm]: with this machine's caches of Go and of the cluster's
# programs; without, all is built, which takes ten minutes on two processors.
set -eu

# outside makes the directory, and removes it where nothing is mounted in it: mounts are made
# by inside, in a namespace of their own.
outside() {
	cd "$(dirname "$0")/../.."
	root=$(mktemp -d /var/tmp/sluice-fresh.XXXXXX)
	chmod 755 "$root"
	trap 'rm -rf "$root"' EXIT
	trap 'exit 1' INT TERM
	unshare --mount --propagation private test/cluster/fresh.sh --inside "$root" "$@"
}

inside() {
	root=$1
	echo "a Debian of today ..."
	debootstrap --variant=minbase --include=make,ca-certificates bookworm "$root" http://deb.debian.org/debian >"$root/log" 2>&1 || {
		tail "$root/log" >&2
		exit 1
	}
	mkdir -p "$root/src" "$root/usr/local/go" "$root/home/.cache/sluice-cluster" "$root/home/.cache/go-build" "$root/home/go/pkg/mod"
	git ls-files -z | tar --null --files-from=- -c | tar -x -C "$root/src"
	cp /etc/resolv.conf "$root/etc/"
	mount --bind "$root" "$root"
	for dir in proc sys dev; do
		mount --rbind "/$dir" "$root/$dir"
	done
	mount -t tmpfs run "$root/run"
	mount --bind -o ro "$(go env GOROOT)" "$root/usr/local/go"
	if [ "${2:-}" = --warm ]; then
		mount --bind "${XDG_CACHE_HOME:-$HOME/.cache}/sluice-cluster" "$root/home/.cache/sluice-cluster"
		mount --bind "$(go env GOMODCACHE)" "$root/home/go/pkg/mod"
		mount --bind "$(go env GOCACHE)" "$root/home/.cache/go-build"
	fi
	proxy=$(go env GOPROXY)
	# Not only chroot: who enters a node's mount namespace finds himself in that one's root.
	cd "$root"
	mkdir old
	pivot_root . old
	exec chroot . env -C /src HOME=/home "GOPROXY=$proxy" PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		sh -c "$there"
}

# there is what runs in the Debian, in its copy of the checkout.
there='
umount --lazy /old
began=$(date +%s) status=0
make cluster || {
	status=$?
	tail -n 20 /run/sluice-cluster/*/*.log /run/sluice-cluster/*/nodes/*/*.log
}
echo "make cluster took $(($(date +%s) - began)) s"
make cluster-down || status=$?
exit $status
'

if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
else
	outside "$@"
fi

#!/bin/sh
# Installs what Sluice's lab and tests need and this machine lacks, from the
# distribution (Debian, Ubuntu); with --kernel also what test/kernel needs, with --cluster what
# test/cluster needs, with --dockerfile its dockerfile.sh. With --check it only says what is missing.
set -eu

# program:package
needs='ovs-vswitchd:openvswitch-switch ovsdb-server:openvswitch-switch ovs-ofctl:openvswitch-switch ovs-vsctl:openvswitch-switch
ip:iproute2 nft:nftables iptables-legacy-save:iptables udhcpd:udhcpd'
kernel='qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio modprobe:kmod conntrack:conntrack
ethtool:ethtool ping:iputils-ping tcpdump:tcpdump'
cluster='etcd:etcd-server runc:runc busybox:busybox-static nsenter:util-linux mount:mount'
dockerfile='buildah:buildah debootstrap:debootstrap'
PATH=$PATH:/usr/sbin:/sbin
check='' options="$*"
for option; do
	case $option in
	--kernel) needs="$needs $kernel" ;;
	--cluster) needs="$needs $cluster" ;;
	--dockerfile) needs="$needs $dockerfile" ;;
	--check) check=yes ;;
	*)
		echo "usage: deps.sh [--kernel] [--cluster] [--dockerfile] [--check]" >&2
		exit 2
		;;
	esac
done
# has tells whether a program is here. A busybox must be static, as it runs where no library is: the
# package that udhcpd brings along is not.
has() {
	at=$(command -v "$1") || return 1
	[ "$1" != busybox ] || ! ldd "$at" >/dev/null 2>&1
}
missing=
for n in $needs; do
	has "${n%%:*}" || missing="$missing ${n#*:}"
done
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
[ -n "${missing% }" ] || exit 0
if [ -n "$check" ]; then
	echo "missing packages: $missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps: must be root to install: $missing" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "deps: no apt-get here; install by hand: $missing" >&2
	exit 1
fi
echo "deps: installing $missing"
export DEBIAN_FRONTEND=noninteractive
# What is installed is run here in namespaces, with other settings: no daemon is started by
# its installation, which asks this file (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
# The lists may be missing or old; a mirror that fails is told by the install.
apt-get -qq update || true
# shellcheck disable=SC2086 # a list
apt-get -qq install -y --no-install-recommends $missing >/dev/null
# shellcheck disable=SC2086 # a list
"$0" $options --check

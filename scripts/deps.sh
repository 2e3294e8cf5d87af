#!/bin/sh
# Installs what Sluice's lab and tests need and this machine lacks, from the
# distribution (Debian, Ubuntu). With --check it only says what is missing.
set -eu

# program:package
needs='ovs-vswitchd:openvswitch-switch ovsdb-server:openvswitch-switch ovs-ofctl:openvswitch-switch ovs-vsctl:openvswitch-switch
ip:iproute2 nft:nftables'
PATH=$PATH:/usr/sbin:/sbin
missing=
for n in $needs; do
	command -v "${n%%:*}" >/dev/null || missing="$missing ${n#*:}"
done
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
[ -n "${missing% }" ] || exit 0
if [ "${1:-}" = --check ]; then
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
# The lists may be missing or old; a mirror that fails is told by the install.
apt-get -qq update || true
# shellcheck disable=SC2086 # a list
apt-get -qq install -y --no-install-recommends $missing >/dev/null
"$0" --check

#!/usr/bin/env bash
# image.sh: prints the directory that holds vmlinuz and base.cpio, a kernel and a
# root file system for vm.sh, and makes them first if need be. The kernel is the
# distribution's own (Debian's linux-image-cloud-amd64), fetched once by `apt-get
# download` and never installed; the programs are this machine's.
#
#   SLUICE_VM_CACHE       where both are kept (default: ${XDG_CACHE_HOME:-~/.cache}/sluice-vm);
#                         remove it to get a newer kernel
#   SLUICE_VM_KERNEL_DEB  another linux-image-*.deb with its modules
set -euo pipefail
die() { echo "image.sh: $*" >&2; exit 126; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SLUICE_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice-vm}
PATH=$PATH:/usr/sbin:/sbin

# What tests run, and what helps to look around.
programs='bash sh unshare ip tc ss bridge nft iptables-nft iptables-nft-save ip6tables-nft ip6tables-nft-save
iptables ip6tables iptables-legacy iptables-legacy-save ip6tables-legacy ip6tables-legacy-save conntrack ethtool ping tcpdump udhcpd
ovsdb-server ovsdb-tool ovsdb-client ovs-vswitchd ovs-vsctl ovs-ofctl ovs-appctl ovs-dpctl'
# What they need of the kernel; modprobe finds what these need.
modules='openvswitch vport-geneve vport-vxlan veth bridge vxlan geneve dummy tun
nf_conntrack nf_conntrack_netlink nf_nat nfnetlink_cttimeout nf_tables nft_ct nft_nat nft_masq nft_chain_nat
nft_reject nft_reject_inet nft_fib_inet nft_log nft_limit nft_redir nft_numgen nft_hash
ip_tables iptable_filter iptable_nat ip6_tables ip6table_filter nft_compat xt_conntrack xt_comment xt_mark xt_tcpudp ipt_REJECT
sch_htb sch_tbf sch_ingress sch_netem sch_fq_codel act_police act_gact act_mirred cls_basic cls_u32
cls_matchall cls_flower cls_bpf ifb sctp psample drop_monitor'

# kernel_deb prints the path of the kernel's package.
kernel_deb() {
	local package deb
	if [ -n "${SLUICE_VM_KERNEL_DEB:-}" ]; then
		echo "$SLUICE_VM_KERNEL_DEB"
		return
	fi
	for deb in "$cache"/linux-image-*.deb; do
		[ -f "$deb" ] && { echo "$deb"; return; }
	done
	echo "image.sh: fetching the kernel's package" >&2
	# A machine's package lists may be missing, or older than what the mirror has.
	download || { apt-get -qq update >&2 && download; } ||
		die "cannot fetch Debian's linux-image-cloud-amd64; give a kernel's package by SLUICE_VM_KERNEL_DEB"
	kernel_deb
}

download() {
	local package
	# The name without a version is only a package that depends on the newest one.
	package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
	[ -n "$package" ] && (cd "$cache" && apt-get -qq -o APT::Sandbox::User=root download "$package" >&2)
}

# build DEB DIR makes DIR/vmlinuz and DIR/base.cpio.
build() {
	local kernel=$2/kernel root=$2/root version program path
	mkdir -p "$kernel" "$root"
	dpkg-deb -x "$1" "$kernel"
	version=$(basename "$kernel"/boot/vmlinuz-*)
	version=${version#vmlinuz-}
	depmod -b "$kernel" "$version"
	cp "$kernel/boot/vmlinuz-$version" "$2/vmlinuz"

	mkdir -p "$root"/{dev,etc,modules,proc,root,run,sys,tmp,usr/{bin,sbin,lib,lib64},usr/share/openvswitch,var/log}
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root/"
	ln -s /run "$root/var/run"
	# Everything has the path that it has here; then busybox has what is not there.
	for program in $programs; do
		path=$(command -v "$program")
		cp "$path" "$root$path"
		# Each library with its path; the loader's line has no "=>".
		ldd "$path" | grep -o '/[^ )]*' || true
	done | sort -u | while read -r path; do
		mkdir -p "$root$(dirname "$path")"
		cp "$path" "$root$path"
	done
	# What iptables knows of matches and targets.
	cp -r --parents /usr/lib/x86_64-linux-gnu/xtables "$root/"
	cp "$(command -v busybox)" "$root/bin/busybox"
	for program in $(busybox --list); do
		[ -e "$root/bin/$program" ] || [ -e "$root/sbin/$program" ] || ln -s busybox "$root/bin/$program"
	done
	cp /usr/share/openvswitch/vswitch.ovsschema "$root/usr/share/openvswitch/"
	echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	echo '127.0.0.1 localhost' >"$root/etc/hosts"
	cp "$here/init" "$root/init"

	# In the order in which they can be inserted.
	for program in $modules; do
		modprobe -S "$version" -d "$kernel" --show-depends "$program" || die "kernel $version has no module $program"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r path; do
		cp "$path" "$root/modules/"
		basename "$path"
	done >"$2/list"
	mv "$2/list" "$root/modules/list"
	# Not compressed: without KVM the guest would take seconds to undo that.
	(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$2/base.cpio"
	rm -rf "$kernel" "$root"
}

[ "$(uname -m)" = x86_64 ] || die "only on x86_64 yet"
for program in $programs busybox cpio depmod modprobe dpkg-deb; do
	command -v "$program" >/dev/null || die "no $program: run scripts/deps.sh --kernel"
done
if ldd "$(command -v busybox)" >/dev/null 2>&1; then
	die "busybox is not static: run scripts/deps.sh --kernel (package busybox-static)"
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
deb=$(kernel_deb)
# The image has the name of all that it is made of.
paths=$(for program in $programs busybox; do readlink -f "$(command -v "$program")"; done)
# shellcheck disable=SC2086 # a list
image=$cache/$(cat "$here/image.sh" "$here/init" $paths "$deb" | sha256sum | cut -c1-16)
if [ ! -d "$image" ]; then
	rm -rf "$cache/new"
	build "$deb" "$cache/new"
	mv "$cache/new" "$image"
fi
echo "$image"

#!/usr/bin/env bash
# vm.sh DIR: boots the distribution's kernel, with Open vSwitch's module, in QEMU,
# and runs the program DIR/run there, with all of DIR as /job. What it prints comes
# out here as it is printed; what it writes to /dev/ttyS1 goes to SLUICE_VM_LOG.
# Needs no root and no KVM; there is no network and no disk.
#
# Exit status: that of DIR/run; 124: the time limit; 125: the machine stopped before
# DIR/run ended (a panic); 126: something is missing on this host.
#
#   SLUICE_VM_LIMIT    seconds for all of it (default 600)
#   SLUICE_VM_LOG      a file (default /dev/null)
#   SLUICE_VM_SMP      CPUs (default 2)        SLUICE_VM_MEMORY  MiB (default 3072)
#   SLUICE_VM_ACCEL    tcg (default) or kvm    SLUICE_VM_APPEND  more kernel arguments
#   SLUICE_VM_VERBOSE  if set, the kernel's messages are shown too
# and those of image.sh.
set -euo pipefail
die() { echo "vm.sh: $*" >&2; exit 126; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
limit=${SLUICE_VM_LIMIT:-600} accel=${SLUICE_VM_ACCEL:-tcg}
[ $# = 1 ] && [ -x "$1/run" ] || die "usage: vm.sh DIR, which holds the program run"
command -v qemu-system-x86_64 >/dev/null || die "no qemu-system-x86_64: run scripts/deps.sh --kernel"
image=$("$here/image.sh")

tmp=$(mktemp -d)
# Whatever ends this script ends the machine; QEMU removes its file when it ends.
trap '[ ! -s "$tmp/pid" ] || kill "$(cat "$tmp/pid")" || true; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
# The kernel unpacks one archive over the other.
mkdir "$tmp/root"
ln -s "$(cd "$1" && pwd)" "$tmp/root/job"
(cd "$tmp/root" && find -L . | cpio --quiet -o -L -H newc -R 0:0) | cat "$image/base.cpio" - >"$tmp/initrd"

append="console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off nopti"
[ "$accel" = kvm ] || append+=" tsc=reliable"
status=125 begun='' qemu=''
while IFS= read -r line; do
	line=${line//$'\r'/}
	case $line in
	@@begin) begun=yes ;;
	"@@end "*) status=${line#* } begun='' ;;
	"@@qemu "*) qemu=${line#* } ;;
	*)
		if [ -n "$begun" ] || [ -n "${SLUICE_VM_VERBOSE:-}" ] || [[ $line == init:* || $line == *"Kernel panic"* ]]; then
			printf '%s\n' "$line"
		fi
		;;
	esac
done < <(
	timeout --foreground -k 5 "$limit" qemu-system-x86_64 -accel "$accel" -cpu max -smp "${SLUICE_VM_SMP:-2}" -m "${SLUICE_VM_MEMORY:-3072}" \
		-pidfile "$tmp/pid" -display none -monitor none -net none -no-reboot -serial stdio -serial "file:${SLUICE_VM_LOG:-/dev/null}" \
		-kernel "$image/vmlinuz" -initrd "$tmp/initrd" -append "$append ${SLUICE_VM_APPEND:-}" </dev/null 2>&1 && s=0 || s=$?
	echo "@@qemu $s"
)
case $status,$qemu in
125,124 | 125,137)
	echo "vm.sh: not done after $limit s (SLUICE_VM_LIMIT)" >&2
	status=124
	;;
125,*) echo "vm.sh: the machine stopped before $1/run ended (SLUICE_VM_VERBOSE=1 shows its messages)" >&2 ;;
esac
exit "$status"

#!/bin/sh
# Builds build/Dockerfile as it is with buildah, and compares Sluice's files in the image
# with those that the cluster's image has. Registries are not asked: the two base images
# are stand-ins, a Debian made by debootstrap and this machine's Go in it, and Go modules
# come from this machine's cache. usage: dockerfile.sh VERSION
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d /var/tmp/sluice-dockerfile.XXXXXX)
buildah="buildah --root $work/store --runroot $work/run --storage-driver vfs"
finish() {
	$buildah rm --all >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

echo "a Debian of today ..."
debootstrap --variant=minbase bookworm "$work/debian" http://deb.debian.org/debian >"$work/log" 2>&1 || {
	tail "$work/log" >&2
	exit 1
}
base=$($buildah from scratch)
$buildah add --quiet "$base" "$work/debian" / >/dev/null
$buildah commit --quiet "$base" docker.io/library/debian:bookworm-slim >/dev/null
$buildah add --quiet "$base" "$(go env GOROOT)" /usr/local/go >/dev/null
# The modules of both builds are in this machine's cache: go.sum and the proxy's own sums
# were checked when they came.
$buildah config --env PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin --env GOTOOLCHAIN=local \
	--env GOPROXY=file:///modules --env GOSUMDB=off "$base"
$buildah commit --quiet "$base" docker.io/library/golang:1.26-bookworm >/dev/null
$buildah rm "$base" >/dev/null

echo "build/Dockerfile ..."
mkdir "$work/context"
git ls-files -z | tar --null --files-from=- -c | tar -x -C "$work/context"
$buildah bud --quiet --pull-never --isolation chroot --network host --build-arg "VERSION=$1" \
	--volume "$(go env GOMODCACHE)/cache/download:/modules:ro" \
	--tag localhost/sluice:dockerfile --file "$work/context/build/Dockerfile" "$work/context" >"$work/log" 2>&1 || {
	tail "$work/log" >&2
	exit 1
}
image=$($buildah from --pull-never localhost/sluice:dockerfile)
root=$($buildah mount "$image")
bin/sluice-cluster compare "$root"
chroot "$root" /usr/sbin/nft --version
$buildah inspect --format '{{.OCIv1.Config.Entrypoint}}' "$image" | grep -qx '\[/usr/local/bin/sluice-agent\]'
$buildah umount "$image" >/dev/null
echo "ok: build/Dockerfile gives what the cluster runs"

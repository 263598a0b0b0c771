#!/bin/sh
# A real kube-apiserver for the integration tests, built with Go from its module and kept outside the repository, where
# the tests look for it. Takes long the first time (a quarter of an hour on two cores), nothing when it is there.
#
#   tools/kube_apiserver.sh            build it, unless it is there
#   tools/kube_apiserver.sh --where    print the folder it belongs into
#
# KUBEBUILDER_ASSETS names a folder that has kube-apiserver (and etcd) already: nothing is built then.
set -eu
version=1.37.2
assets="${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/certwatch/kubebuilder}"
if [ "${1:-}" = --where ]; then
    echo "$assets"
    exit 0
fi
[ -x "$assets/kube-apiserver" ] && exit 0
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    echo "$assets: no kube-apiserver in it. Put one there, or unset KUBEBUILDER_ASSETS to have one built" >&2
    exit 1
fi
command -v go >/dev/null 2>&1 || {
    echo "kube-apiserver is not built: there is no Go here. The tests that need it are left out" >&2
    exit 1
}
work="$assets/build"
mkdir -p "$work"
cd "$work"
# Two builds at once would only be slower: the second waits, and finds what the first has made.
exec 9>"$work/lock"
flock 9
[ -x "$assets/kube-apiserver" ] && exit 0
module="certwatch.test/kubebuilder"
printf 'module %s\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v%s\n' "$module" "$version" >go.mod
# The module names its own parts by folders of its repository, which count only there: here by their releases.
mod="$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/^.*"GoMod": "\(.*\)".*$/\1/p')"
sed -n 's|^\t\(k8s.io/[a-z0-9-]*\) => ./staging.*$|\1|p' "$mod" | sort -u | while read -r part; do
    echo "replace $part => $part v0.${version#1.}"
done >>go.mod
printf 'package main\n\nimport _ "k8s.io/kubernetes/cmd/kube-apiserver/app"\n\nfunc main() {}\n' >main.go
flags="-X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1"
flags="$flags -X k8s.io/component-base/version.gitMinor=$(echo "$version" | cut -d. -f2)"
CGO_ENABLED=0 nice go build -p "${CERTWATCH_BUILD_JOBS:-1}" -mod=mod -trimpath -ldflags "-s -w $flags" \
    -o kube-apiserver.new k8s.io/kubernetes/cmd/kube-apiserver
mv kube-apiserver.new "$assets/kube-apiserver"

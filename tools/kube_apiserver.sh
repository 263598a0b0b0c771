#!/bin/sh
# A real kube-apiserver, and helm, for the tests: built with Go from their modules and kept outside the repository, where
# the tests look for them. Takes long the first time (a quarter of an hour on two cores), nothing when they are there.
#
#   tools/kube_apiserver.sh            build what is not there
#   tools/kube_apiserver.sh --begin    the same beside whatever follows, at the lowest priority; the log is build/log
#   tools/kube_apiserver.sh --where    print the folder that they belong into
#
# KUBEBUILDER_ASSETS names a folder that has kube-apiserver (and etcd) already: nothing is built then.
set -eu
version=1.37.2
helm=4.3.1
assets="${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/certwatch/kubebuilder}"
work="$assets/build"
if [ "${1:-}" = --where ]; then
    echo "$assets"
    exit 0
fi
[ -x "$assets/kube-apiserver" ] && [ -x "$assets/helm" ] && exit 0
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    [ -x "$assets/kube-apiserver" ] && exit 0
    echo "$assets: no kube-apiserver in it. Put one there, or unset KUBEBUILDER_ASSETS to have one built" >&2
    exit 1
fi
command -v go >/dev/null 2>&1 || {
    echo "kube-apiserver is not built: there is no Go here. The tests that need it are left out" >&2
    exit 1
}
mkdir -p "$work"
if [ "${1:-}" = --begin ]; then
    echo "building kube-apiserver and helm for the tests, beside them: $work/log" >&2
    : >"$work/log"
    # Away from the caller's terminal and pipes: who reads those waits for their end.
    setsid nohup "$0" >"$work/log" 2>&1 </dev/null &
    # The tests tell a build by its lock.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        flock -n "$work/lock" true || break
        sleep 0.2
    done
    exit 0
fi
cd "$work"
# Two builds at once would only be slower: the second waits, and finds what the first has made.
exec 9>"$work/lock"
flock 9

# Go's proxy is asked again: a build of a quarter of an hour does not fail by a connection that was cut.
again() {
    "$@" || { sleep 5 && "$@"; } || { sleep 30 && "$@"; }
}

# The module names its own parts by folders of its repository, which count only there: here by their releases.
parts() {
    mod="$(again go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/^.*"GoMod": "\(.*\)".*$/\1/p')"
    sed -n 's|^\t\(k8s.io/[a-z0-9-]*\) => ./staging.*$|\1|p' "$mod" | sort -u | while read -r part; do
        echo "replace $part => $part v0.${version#1.}"
    done
}

# build FOLDER MODULE VERSION PACKAGE NAME FLAGS…
build() {
    folder="$1" module="$2" release="$3" package="$4" name="$5" flags="$6"
    mkdir -p "$folder"
    {
        printf 'module certwatch.test/kubebuilder\n\ngo 1.26.0\n\nrequire %s v%s\n' "$module" "$release"
        parts
    } >"$folder/go.mod"
    printf 'package main\n\nimport _ "%s"\n\nfunc main() {}\n' "$7" >"$folder/main.go"
    (
        cd "$folder"
        again env CGO_ENABLED=0 GOFLAGS=-mod=mod GOGC=400 nice go build -p "${CERTWATCH_BUILD_JOBS:-2}" -trimpath \
            -ldflags "-s -w $flags" -o "$name.new" "$package"
    ) 9>&-
    mv "$folder/$name.new" "$assets/$name"
}

at="-X k8s.io/component-base/version"
[ -x "$assets/kube-apiserver" ] || build "$work" k8s.io/kubernetes "$version" k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver \
    "$at.gitVersion=v$version $at.gitMajor=1 $at.gitMinor=$(echo "$version" | cut -d. -f2)" k8s.io/kubernetes/cmd/kube-apiserver/app
# Of the same parts, so that little of it is compiled anew.
[ -x "$assets/helm" ] || build "$work/helm" helm.sh/helm/v4 "$helm" helm.sh/helm/v4/cmd/helm helm \
    "-X helm.sh/helm/v4/internal/version.version=v$helm" helm.sh/helm/v4/pkg/cmd

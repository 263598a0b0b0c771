#!/bin/sh
# TesseraCT, a real log of static-ct-api on a file system, for the tests: built with Go from its module and kept outside the
# repository, where the tests look for it. Takes some two minutes the first time, nothing when it is there.
#
#   tools/tesseract.sh            build it, if it is not there
#   tools/tesseract.sh --where    print where it belongs
set -eu
version=0.1.1
folder="${XDG_CACHE_HOME:-$HOME/.cache}/certwatch/tesseract-$version"
if [ "${1:-}" = --where ]; then
    echo "$folder/tesseract"
    exit 0
fi
[ -x "$folder/tesseract" ] && exit 0
command -v go >/dev/null 2>&1 || {
    echo "TesseraCT $version is not built: there is no Go here. The test that needs it is left out" >&2
    exit 1
}
mkdir -p "$folder"
cd "$folder"
# Who comes second waits, and finds what the first has made.
exec 9>lock
flock 9
[ -x tesseract ] && exit 0

# Go's proxy is asked again: a build does not fail by a connection that was cut.
again() {
    "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }
}

cat >go.mod <<END
module certwatch.test/tesseract

go 1.24.2

require github.com/transparency-dev/tesseract v$version
END
printf 'package main\n\nimport _ "github.com/transparency-dev/tesseract"\n\nfunc main() {}\n' >main.go
(
    again env CGO_ENABLED=0 GOFLAGS=-mod=mod GOGC=400 nice go build -p "${CERTWATCH_BUILD_JOBS:-2}" -trimpath -buildvcs=false \
        -ldflags "-s -w" -o tesseract.new github.com/transparency-dev/tesseract/cmd/tesseract/posix
) 9>&-
mv tesseract.new tesseract

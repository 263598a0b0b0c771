#!/bin/sh
# A lego that follows ARI (RFC 9773), for the tests: Debian's is older. Built with Go from its module and kept outside the
# repository, where the tests look for it. Takes about a minute the first time, nothing when it is there.
#
#   tools/lego.sh            build it, if it is not there
#   tools/lego.sh --where    print where it belongs
#
# Its DNS providers (two hundred SDKs, most of the time that it takes) are left out: challenges are answered by HTTP here.
set -eu
version=4.31.0
folder="${XDG_CACHE_HOME:-$HOME/.cache}/certwatch/lego-$version"
if [ "${1:-}" = --where ]; then
    echo "$folder/lego"
    exit 0
fi
[ -x "$folder/lego" ] && exit 0
command -v go >/dev/null 2>&1 || {
    echo "lego $version is not built: there is no Go here. The test that needs it is left out" >&2
    exit 1
}
mkdir -p "$folder"
cd "$folder"
# Who comes second waits, and finds what the first has made.
exec 9>lock
flock 9
[ -x lego ] && exit 0

# Go's proxy is asked again: a build does not fail by a connection that was cut.
again() {
    "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }
}

module="$(GOFLAGS=-mod=mod again go mod download -json "github.com/go-acme/lego/v4@v$version" | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')"
rm -rf source
cp -r "$module" source
chmod -R u+w source
cat >source/providers/dns/zz_gen_dns_providers.go <<'END'
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
)

// NewDNSChallengeProviderByName has none: the tests need none.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("%s: DNS providers are left out of this build", name)
}
END
(
    cd source
    again env CGO_ENABLED=0 GOFLAGS=-mod=readonly GOGC=400 nice go build -p "${CERTWATCH_BUILD_JOBS:-2}" -trimpath \
        -buildvcs=false -ldflags "-s -w -X main.version=v$version" -o "$folder/lego.new" ./cmd/lego
) 9>&-
mv lego.new lego
rm -rf source

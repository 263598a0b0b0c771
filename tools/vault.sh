#!/bin/sh
# Builds a real Vault (in memory, unsealed) from HashiCorp's modules, for tests/integration/test_ca_vault.py: some ten minutes
# and 3 GB the first time, so that no test run does it by itself. Vault is under the Business Source License: it is built
# and used on this machine for tests, and is no part of certwatch.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/certwatch/test-vault}
mkdir -p "$(dirname "$target")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$here"/tests/data/vault_server/main.go "$here"/tests/data/vault_server/go.mod "$folder"
cd "$folder"
GOFLAGS=-mod=mod go build -tags minimal -o "$target" .
echo "$target"

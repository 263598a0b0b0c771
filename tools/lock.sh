#!/bin/sh
# Renews the hash-pinned requirements from pyproject.toml (needs uv). They name no index, so any mirror serves.
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml "$@"; }
lock --extra build --extra dev -o requirements-dev.txt
# The same versions in both, so that extras fit beside what runs without them.
lock --extra build --constraint requirements-dev.txt -o requirements.txt

# make run    set up and start the daemon on the embedded default
# make test   set up and run all tests
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
SOURCES := certwatch collectors rules exporters tests tools

.PHONY: run test setup check bench package lock clean

run: setup
	$(BIN)/certwatch run

test: .venv/ready-dev
	tools/servers.sh
	-@tools/kube_apiserver.sh --begin
	$(BIN)/python -m pytest $(PYTEST)

setup: .venv/ready

check: .venv/ready-dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready-dev
	tools/servers.sh
	-@tools/kube_apiserver.sh
	$(BIN)/python -m tests.bench $(BENCH)

# A wheel that runs from pipx, and the manual page: in dist/.
package: .venv/ready-dev
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	$(BIN)/python -m tools.man_page dist/certwatch.1

# Renews the pinned requirements after a change of the dependencies in pyproject.toml.
lock:
	tools/lock.sh

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "certwatch needs Python 3.11 or newer, and none was found. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/ready: requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/ready-dev: requirements-dev.txt .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
